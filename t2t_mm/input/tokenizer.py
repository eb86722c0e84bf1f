"""The one SentencePiece vocabulary of all text: three languages, transcripts, captions and parse trees (paper, 2.5)."""

import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence

import sentencepiece
import tensorflow as tf
import tensorflow_text

from t2t_mm.corpora.example import CorpusError
from t2t_mm.run.files import write_whole

PADDING_ID, END_ID, UNKNOWN_ID = 0, 1, 2


def tree_to_text(linearised: str) -> str:
    """`(S NN )S` -> `<(S><NN><)S>`: each symbol a piece of its own that no word of any language contains."""
    return "".join(f"<{symbol}>" for symbol in linearised.split())


def text_to_tree(text: str) -> str:
    """The inverse of `tree_to_text`; anything between the symbols is dropped."""
    return " ".join(re.findall(r"<([^<>]+)>", text))


def train_vocabulary(
    texts: Iterable[str], symbols: Sequence[str], path: str, size: int = 8000, normalization: str = "identity"
) -> None:
    """Trains a byte-pair vocabulary with byte fallback and writes it to `path`, complete or not at all.

    Args:
      texts: sentences of every problem.
      symbols: parse-tree symbols as `tree_to_text` writes them; each becomes a user-defined piece.
      path: the model file.
      size: number of pieces, padding, end, unknown, 256 bytes and the symbols included.
      normalization: SentencePiece's rule for what goes in. By "identity" an answer can be any text, letter by
        letter, but for rows of blanks, which become one.
        SentencePiece's own default, "nmt_nfkc", turns `¾ …` into `3⁄4 ...` and joins letters with their accents: then no
        model can answer what a reference says, and the same words count as errors.

    Raises:
      CorpusError: the texts do not allow a vocabulary of this size; the message carries SentencePiece's reason.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            byte_fallback=True,
            normalization_rule_name=normalization,
            character_coverage=1.0,
            pad_id=PADDING_ID,
            eos_id=END_ID,
            unk_id=UNKNOWN_ID,
            bos_id=-1,
            user_defined_symbols=list(symbols),
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise CorpusError(f"{path}: no vocabulary of {size} pieces from these texts: {error}") from error
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    write_whole(path, model.getvalue())


class Tokenizer:
    """Text to ids and back, in the graph; every sequence ends in END_ID.

    Raises CorpusError when `path` is no SentencePiece model with this package's padding and end ids.
    """

    def __init__(self, path: str):
        if not os.path.isfile(path):
            raise CorpusError(f"{path}: no vocabulary here. Build it first with bin/build_vocabulary.py.")
        with open(path, "rb") as file:
            self.model = file.read()
        self.processor = processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(self.model)
        except RuntimeError as error:
            raise CorpusError(f"{path}: not a SentencePiece model: {error}") from error
        if (processor.pad_id(), processor.eos_id()) != (PADDING_ID, END_ID):
            raise CorpusError(
                f"{path}: padding and end ids are {processor.pad_id()} and {processor.eos_id()}; this package needs "
                f"{PADDING_ID} and {END_ID}. Build the vocabulary with bin/build_vocabulary.py."
            )
        self.size = processor.vocab_size()
        self.fingerprint = hashlib.sha256(self.model).hexdigest()

    def tokenize(self, text: tf.Tensor) -> tf.Tensor:  # [] string -> [L] int32, or [B] -> ragged [B, L]
        # Made at each call, that is once for each traced graph: an eager one is deleted under its owner whenever
        # the random seed is set, which clears TensorFlow's kernels and with them their resources.
        return tensorflow_text.SentencepieceTokenizer(self.model, add_eos=True).tokenize(text)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of one sequence, up to its first end token."""
        ids = list(map(int, ids))
        if END_ID in ids:
            ids = ids[: ids.index(END_ID)]
        return self.processor.DecodeIds([i for i in ids if i != PADDING_ID])
