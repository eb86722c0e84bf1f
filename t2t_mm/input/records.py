"""Examples as TFDS keeps them: tokenised, in shards of TFRecords, read with `tfds.builder_from_directory`.

`prepare` writes them, `PreparedRecords` is the source that reads them: a few records at a time, whatever their number.
"""

import json
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from t2t_mm.corpora.corpus_files import MissingCorpus, check_split
from t2t_mm.corpora.example import CorpusError, Example, Report

VERSION = "1.0.0"  # of the format of the records, as TFDS counts it
DESCRIPTION = "prepared.json"
_SHUFFLE_BYTES = 32 << 20  # of one problem's shuffle buffer, which is part of every checkpoint
_READ_BYTES = 1 << 18  # of the buffer of one open shard
_OPEN_SHARDS = 16
_TRAINING = ("inputs", "targets", "index", "origin")


def features(inputs: str, targets: str, image_size: int, class_names: list[str]) -> tfds.features.FeaturesDict:
    """What a record holds.

    "inputs": ids [L], a picture [image_size, image_size, 3] or samples [N] at the prepared rate, 16 bits.
    "targets": ids [L] or a class. "index": the example's place in its split. "origin", "input_text", "target_text" and
    "references": the example as its corpus states it, which errors and metrics need.
    """
    text = tfds.features.Text()
    forms = {
        "language": tfds.features.Tensor(shape=(None,), dtype=np.int32),
        "image": tfds.features.Image(shape=(image_size, image_size, 3), encoding_format="png"),
        "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="zlib"),
    }
    labels = tfds.features.ClassLabel(names=class_names) if targets == "class" else forms["language"]
    return tfds.features.FeaturesDict(
        {
            "inputs": forms[inputs], "targets": labels, "index": tfds.features.Scalar(np.int64), "origin": text,
            "input_text": text, "target_text": text, "references": tfds.features.Sequence(text),
        }
    )  # fmt: skip


class PreparedRecords:
    """A source of prepared examples, for any problem.

    Args:
      folder: that of one problem's records, with `1.0.0/` in it.
    """

    def __init__(self, folder: str):
        self.folder = os.path.join(folder, VERSION)

    def class_names(self) -> list[str]:
        """The names of the classes in the order of their indices."""
        return self.description()["class_names"]

    def examples(self, split: str, report: Report) -> "PreparedExamples":
        """The examples of a split, read when they are needed.

        Raises:
          CorpusError: nothing was prepared here, or this split was not.
        """
        check_split(split)
        description = self.description()
        if split not in description["splits"]:
            reason = description["absent"].get(split, "it was not asked for")
            raise MissingCorpus(f"{self.folder}: split {split} was not prepared: {reason}")
        return PreparedExamples(self.folder, split, description)

    def description(self) -> dict:
        """What `prepare` wrote about the records: settings, counts, checksums, dropped examples."""
        path = os.path.join(self.folder, DESCRIPTION)
        if not os.path.isfile(path):
            raise MissingCorpus(
                f"Looked for prepared records at {self.folder}: no {DESCRIPTION} there. Write them with "
                "`python bin/prepare_data.py --gin_file=... --output=...`, or read the corpus itself."
            )
        try:
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        except ValueError as error:
            raise CorpusError(f"{path}: not JSON: {error}. Delete {self.folder} and prepare it again.") from error


class PreparedExamples:
    """The examples of a split. `form` tells `make_batches` what the elements of `dataset` are."""

    form = "prepared"

    def __init__(self, folder: str, split: str, description: dict):
        self.origin = f"{folder} {split}"
        self._description, self._split = description, split
        try:
            self._builder = tfds.builder_from_directory(folder)
            self._info = self._builder.info.splits[split]
        except (KeyError, ValueError, OSError, AttributeError) as error:
            raise CorpusError(f"{folder}: not readable as a TFDS data set: {error}. Prepare it again.") from error

    def __len__(self) -> int:
        return self._info.num_examples

    def __iter__(self) -> Iterator[Example]:
        wanted = {"input_text", "target_text", "references", "origin", "targets"}
        data = self._builder.as_dataset(self._split, read_config=_reading(False), decoders=_only(wanted))
        for record in tfds.as_numpy(data):
            text = {name: record[name].decode() for name in ("input_text", "target_text", "origin")}
            targets = int(record["targets"]) if self._description["targets"] == "class" else text["target_text"]
            references = tuple(reference.decode() for reference in record["references"])
            yield Example(text["input_text"], targets, text["origin"], references)

    def check(self, vocabulary: str, image_size: int, sample_rate: int) -> None:
        """CorpusError when the records were prepared with other settings than those they are now used with."""
        now = {"vocabulary": vocabulary, "image_size": image_size, "sample_rate": sample_rate}
        for name, value in now.items():
            prepared = self._description[name]
            if prepared is not None and prepared != value:
                raise CorpusError(
                    f"{self.origin}: prepared with {name} {str(prepared)[:12]}, this run has {str(value)[:12]}. Prepare it "
                    "again with bin/prepare_data.py, or use what it was prepared with."
                )

    def dataset(self, training: bool, seed: int, shuffle: int) -> tf.data.Dataset:
        """{"inputs", "targets", "index", "origin"} of each example; shuffled by `seed` and endless in training.

        Pictures are encoded still, so that `shuffle` records of them fit the memory.
        """
        decoders = _only(_TRAINING, {"inputs": tfds.decode.SkipDecoding()} if self._is_image() else {})
        data = self._builder.as_dataset(
            self._split, shuffle_files=training, read_config=_reading(training, seed), decoders=decoders
        )
        if training:
            size = max(int(self._info.num_bytes) // max(len(self), 1), 1)
            return data.shuffle(max(min(len(self), shuffle, _SHUFFLE_BYTES // size), 2), seed=seed).repeat()
        # The place among those that iterate: the record's own counts the dropped ones too.
        return data.enumerate().map(lambda index, record: dict(record, index=index))

    def _is_image(self) -> bool:
        return self._description["inputs"] == "image"


def _only(names, decoders=None) -> tfds.decode.PartialDecoding:
    return tfds.decode.PartialDecoding(dict.fromkeys(names, True), decoders or None)


def _reading(training: bool, seed: int = 0) -> tfds.ReadConfig:
    """Many shards at once in the order of the seed, or one after the other; with small buffers, and no copy in memory."""
    options = tf.data.Options()
    options.deterministic = True
    return tfds.ReadConfig(
        options=options, try_autocache=False, shuffle_seed=seed, shuffle_reshuffle_each_iteration=True,
        interleave_cycle_length=_OPEN_SHARDS if training else 1, num_parallel_calls_for_decode=2, skip_prefetch=True,
        num_parallel_calls_for_interleave_files=2 if training else 1, override_buffer_size=_READ_BYTES,
    )  # fmt: skip
