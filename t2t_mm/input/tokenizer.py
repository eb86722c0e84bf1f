"""The SentencePiece vocabulary that all text shares: three languages, transcripts, captions and parse trees (paper, 2.5)."""

import dataclasses
import functools
import hashlib
import io
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sentencepiece
import tensorflow as tf
import tensorflow_text

from t2t_mm.common.files import write_whole
from t2t_mm.corpora.example import CorpusError, Example

PADDING_ID, END_ID, UNKNOWN_ID = 0, 1, 2


def tree_to_text(linearised: str, sentence: str | None = None) -> str:
    """Converts `(S NN )S` to `<(S><NN><)S>`, in which each symbol is a separate piece that does not occur in any word.

    With the sentence, each tag follows its word, `<(S> dogs<NN><)S>`. The space makes the pieces of a word those that it has in
    the sentence. A word has no angle brackets in the tree, because they would be read as those of a symbol.

    Raises:
      ValueError: the sentence does not have one word for each tag.
    """
    symbols = linearised.split()
    if sentence is None or not symbols:  # without symbols: an input that has no target
        return "".join(f"<{symbol}>" for symbol in symbols)
    words = sentence.split()
    if (leaves := sum(symbol[0] not in "()" for symbol in symbols)) != len(words):
        raise ValueError(f"the sentence has {len(words)} words, but its tree has {leaves} leaves")
    rest = iter(re.sub("[<>]", "", word) for word in words)
    return "".join(f"<{symbol}>" if symbol[0] in "()" else f" {next(rest)}<{symbol}>" for symbol in symbols)


def as_tokenized(example: Example, targets: str, words_in_trees: bool = False) -> Example:
    """Returns an example with its texts as they are tokenized for a `Problem` with these settings.

    Raises:
      CorpusError: `words_in_trees` is set, and the sentence does not have one word for each leaf of its tree.
    """
    if targets != "tree":
        return example
    # Other white space would not divide the pieces of two words.
    inputs = " ".join(example.input_line.split()) if words_in_trees else example.inputs
    try:
        target = tree_to_text(example.target_text, example.input_line if words_in_trees else None)
    except ValueError as error:
        raise CorpusError(f"{example.origin}: {error}.") from error
    return dataclasses.replace(example, inputs=inputs, targets=target)


def text_to_tree(text: str) -> str:
    """Inverts `tree_to_text`, and drops anything between the symbols, such as the words."""
    return " ".join(re.findall(r"<([^<>]+)>", text))


def train_vocabulary(
    texts: Iterable[str], symbols: Sequence[str], path: str, size: int = 8000, normalization: str = "identity"
) -> None:
    """Trains a byte-pair vocabulary with byte fallback and writes it to `path` atomically.

    Args:
      texts: sentences of all problems.
      symbols: parse-tree symbols as `tree_to_text` writes them; each becomes a user-defined piece.
      path: the model file.
      size: number of pieces, including padding, end, unknown, 256 bytes and the symbols.
      normalization: SentencePiece's normalisation rule. With "identity", an answer can be any text, except that several
        spaces become one. SentencePiece's own default, "nmt_nfkc", turns `¾ …` into `3⁄4 ...` and composes letters with
        their accents. A model could then not reproduce such references, and correct words would count as errors.

    Raises:
      CorpusError: the texts do not allow a vocabulary of this size; the message contains SentencePiece's reason.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            # The paper does not say how its 8k subwords are found (2.5).
            model_type="bpe",
            vocab_size=size,
            # Any text can be written, in single bytes if need be, so that no answer needs the unknown piece.
            byte_fallback=True,
            normalization_rule_name=normalization,
            # Every character of the training text is a piece, if the size allows it.
            character_coverage=1.0,
            pad_id=PADDING_ID,
            eos_id=END_ID,
            unk_id=UNKNOWN_ID,
            # No piece for the beginning: decoding starts with a command token instead (paper, 2.4).
            bos_id=-1,
            # A symbol of a tree is never split, so that a tree has one token per symbol.
            user_defined_symbols=list(symbols),
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise CorpusError(f"{path}: no vocabulary of {size} pieces from these texts: {_reason(str(error))}") from error
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    # The model is trained into memory, because SentencePiece itself would leave a partial file after a crash.
    write_whole(path, model.getvalue())


# An empty normalisation map of SentencePiece: the size of a trie, a trie without strings, and their replacements.
_NO_MAP = struct.pack("<I", 1024) + bytes(1024) + b"\0"
_NORMALIZER, _MAP = 3, 2  # fields of sentencepiece_model.proto: ModelProto.normalizer_spec and its precompiled_charsmap
_PIECES, _KIND, _USER_DEFINED = 1, 3, 4  # ModelProto.pieces, their type, and the type of user-defined pieces


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yields (number, content) of the integer and bytes fields (including strings and messages) of a protocol buffer."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            # Seven bits per byte, the lowest first. The highest bit says whether another byte follows.
            value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        # The lowest three bits are the wire type: 0 an integer, 2 bytes, 1 and 5 numbers of 8 and 4 bytes, which are skipped.
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
        elif kind == 2:
            size = varint()
            yield number, message[at : at + size]
            at += size
        else:
            at += {1: 8, 5: 4}[kind]


def _field(number: int, content: bytes) -> bytes:
    """Returns a length-delimited field of a protocol buffer."""
    size, digits = len(content), bytearray()
    while size > 127:
        digits.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *digits, size]) + content


def with_map(model: bytes) -> bytes:
    """Adds an empty normalisation map to a SentencePiece model that normalises nothing, and returns others unchanged.

    For a model without a map, SentencePiece prints "precompiled_charsmap is empty" whenever a graph loads it, in training,
    evaluation and each server. The map can be appended, because protocol buffers merge a field that occurs twice.
    """
    specs = [content for number, content in _fields(model) if number == _NORMALIZER]
    if any(content for spec in specs for number, content in _fields(spec) if number == _MAP):
        return model
    return model + _field(_NORMALIZER, _field(_MAP, _NO_MAP))


def _tokens(ids: Sequence[int]) -> list[int]:
    """Returns the ids up to and including the first end token, without padding."""
    ids = list(map(int, ids))
    if END_ID in ids:
        # Everything after the first end token is what a search has padded with.
        ids = ids[: ids.index(END_ID) + 1]
    return [i for i in ids if i != PADDING_ID]


def _reason(error: str) -> str:
    """Returns what an error of SentencePiece means for the user, without the place and the condition in its C++ source."""
    if found := re.search(r"required_chars\. \d+ vs (\d+)", error):
        return f"at least {found[1]} are needed for their characters, the bytes and the tree symbols."
    if found := re.search(r"a value <= (\d+)", error):
        return f"at most {found[1]} are possible; more need more text."
    return re.sub(r"^[A-Z]+: \S+\(\d+\) \[.*\] ", "", error)


class Tokenizer:
    """Converts text to ids and back in the graph. Every sequence ends with END_ID.

    Attributes:
      model: the serialised model for graphs (see `with_map`).
      size: number of pieces.
      fingerprint: a hash of the file.

    Raises:
      CorpusError: `path` is not a SentencePiece model with the padding and end ids of this package.
    """

    def __init__(self, path: str):
        if not os.path.isfile(path):
            raise CorpusError(f"{path}: there is no vocabulary. Build it first with bin/build_vocabulary.py.")
        with open(path, "rb") as file:
            content = file.read()
        self.processor = processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(content)
        except RuntimeError as error:
            raise CorpusError(f"{path}: not a SentencePiece model: {error}") from error
        if (processor.pad_id(), processor.eos_id()) != (PADDING_ID, END_ID):
            raise CorpusError(
                f"{path}: padding and end ids are {processor.pad_id()} and {processor.eos_id()}; this package needs "
                f"{PADDING_ID} and {END_ID}. Build the vocabulary with bin/build_vocabulary.py."
            )
        self.model, self.size = with_map(content), processor.vocab_size()
        # Of the file as it is on disk, and not of `model`, so that it can be checked with sha256sum.
        self.fingerprint = hashlib.sha256(content).hexdigest()

    def tokenize(self, text: tf.Tensor) -> tf.Tensor:  # [] string -> [L] int32, or [B] -> ragged [B, L]
        # Created in each call, that is, once for each traced graph. An eager tokenizer would lose its resources whenever
        # the random seed is set, because this clears TensorFlow's kernels.
        return tensorflow_text.SentencepieceTokenizer(self.model, add_eos=True).tokenize(text)

    def tree_symbols(self) -> dict[int, str]:
        """Returns a dict of id -> symbol for the symbols of parse trees, such as "(NP" or "NN" (without angle brackets).

        These are the user-defined pieces, so that words of a text in angle brackets are not included.
        """
        return self._tree_symbols

    @functools.cached_property
    def _tree_symbols(self) -> dict[int, str]:
        pieces = [dict(_fields(content)) for number, content in _fields(self.model) if number == _PIECES]
        texts = ((index, piece[1].decode()) for index, piece in enumerate(pieces) if piece.get(_KIND) == _USER_DEFINED)
        return {index: text[1:-1] for index, text in texts if re.fullmatch(r"<[^<>]+>", text)}

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Returns the pieces of a sequence as the vocabulary spells them, up to and including the first end token."""
        return [self.processor.IdToPiece(i) for i in _tokens(ids)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Returns the text of a sequence up to its first end token."""
        return self.processor.DecodeIds([i for i in _tokens(ids) if i != END_ID])
