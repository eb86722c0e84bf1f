"""Prepared examples in the format of TFDS: tokenised, in TFRecord shards, and read with `tfds.builder_from_directory`.

`prepare` writes them, and the source `PreparedRecords` reads them, a few records at a time regardless of their number.
"""

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format

from t2t_mm.common.writing import without_nodes
from t2t_mm.corpora.corpus_files import MissingCorpus, check_split
from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.split import Streamed

VERSION = "1.0.0"  # TFDS version of the record format
DESCRIPTION = "prepared.json"
_LACKING = r"\.tfrecord|expected to contain"  # in messages about a file of records, or about their number
_SHUFFLE_BYTES = 32 << 20  # limit of a problem's shuffle buffer, because every checkpoint contains the buffer
_READ_BYTES = 1 << 18  # read buffer per open shard
_OPEN_SHARDS = 16
_TRAINING = ("targets", "index", "origin")


def features(inputs: str | Sequence[str], targets: str, image_size: int, class_names: list[str]) -> tfds.features.FeaturesDict:
    """Returns the features of a record.

    "inputs" are token ids `[L]`, an image `[image_size, image_size, 3]`, or 16-bit samples `[N]` at the prepared rate.
    "targets" are token ids `[L]` or a class. "index" is the position of the example in its split. "origin",
    "input_text", "target_text" and "references" are the example as in its corpus, which error messages and metrics
    need. If there are several inputs, the others are "inputs_2" and so on, and "input_text" is a sequence.

    Raises:
      CorpusError: an input has a custom modality, for which there is no record format.
    """
    text = tfds.features.Text()
    forms = {
        "language": tfds.features.Tensor(shape=(None,), dtype=np.int32),
        # PNG, which loses nothing: pixels are the same as those read from the corpus.
        "image": tfds.features.Image(shape=(image_size, image_size, 3), encoding_format="png"),
        "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="zlib"),
    }
    names = [inputs] if isinstance(inputs, str) else list(inputs)
    for name in names:
        if name not in forms:
            raise CorpusError(
                f"Prepared records only support {', '.join(forms)}; train the problem with the modality {name} on its corpus."
            )
    labels = tfds.features.ClassLabel(names=class_names) if targets == "class" else forms["language"]
    return tfds.features.FeaturesDict(
        {
            **{key: forms[name] for key, name in zip(input_keys(len(names)), names)},
            "targets": labels, "index": tfds.features.Scalar(np.int64), "origin": text,
            "input_text": text if isinstance(inputs, str) else tfds.features.Sequence(text),
            "target_text": text, "references": tfds.features.Sequence(text),
        }
    )  # fmt: skip


def input_keys(count: int) -> list[str]:
    """Returns the names of the inputs in a record."""
    return ["inputs", *(f"inputs_{number}" for number in range(2, count + 1))]


class PreparedRecords:
    """A source of prepared examples for any problem.

    Args:
      folder: folder of the records of one problem, which contains `1.0.0/`.
    """

    def __init__(self, folder: str):
        self.folder = os.path.join(folder, VERSION)

    def class_names(self) -> list[str]:
        """Returns the names of the classes in the order of their indices."""
        return self.description()["class_names"]

    def examples(self, split: str, report: Report) -> "PreparedExamples":
        """Returns the examples of a split, which are read when they are needed.

        Raises:
          CorpusError: there are no prepared records, or this split was not prepared.
        """
        check_split(split)
        description = self.description()
        if split not in description["splits"]:
            reason = description["absent"].get(split, "it was not requested")
            raise MissingCorpus(f"{self.folder}: split {split} was not prepared: {reason}")
        return PreparedExamples(self.folder, split, description)

    def description(self) -> dict:
        """Returns the description that `prepare` wrote: settings, counts, checksums and dropped examples."""
        path = os.path.join(self.folder, DESCRIPTION)
        if not os.path.isfile(path):
            raise MissingCorpus(
                f"There are no prepared records in {self.folder}: {DESCRIPTION} is missing. Write them with "
                "`python bin/prepare_data.py --gin_file=... --output=...`, or use the corpus directly."
            )
        description = read_json(path)
        if missing := {"splits", "absent", "vocabulary"} - set(description):
            raise CorpusError(
                f"{path}: is damaged: it has no {', '.join(sorted(missing))}. Delete {self.folder} and prepare it again."
            )
        return description


@contextlib.contextmanager
def damage_is_told(name: str) -> Iterator[None]:
    """Turns an error of TensorFlow about damaged, shortened or missing records into a CorpusError.

    Args:
      name: what is read, for the message.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.FailedPreconditionError) as error:
        if not isinstance(error, tf.errors.DataLossError) and not re.search(_LACKING, error.message):
            raise
        raise CorpusError(
            f"{name}: damaged records: {without_nodes(error.message)}. Find them with bin/prepare_data.py --verify, delete "
            "their folder and prepare it again."
        ) from error


def read_json(path: str) -> Any:
    """Returns the content of a file that `prepare` wrote.

    Raises:
      CorpusError: it is damaged.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise CorpusError(f"{path}: invalid JSON: {error}. Delete {os.path.dirname(path)} and prepare it again.") from error


class PreparedExamples(Streamed):
    """The prepared examples of a split."""

    form = "prepared"

    def __init__(self, folder: str, split: str, description: dict):
        self.origin = f"{folder} {split}"
        self._description, self._split = description, split
        try:
            self._builder = tfds.builder_from_directory(folder)
            self._info = self._builder.info.splits[split]
        except (KeyError, ValueError, OSError, AttributeError, json_format.ParseError) as error:
            raise CorpusError(f"{folder}: cannot be read as a TFDS data set: {error}. Prepare it again.") from error

    def __len__(self) -> int:
        return self._info.num_examples

    def __iter__(self) -> Iterator[Example]:
        wanted = {"input_text", "target_text", "references", "origin", "targets"}
        data = self._builder.as_dataset(self._split, read_config=_reading(False), decoders=_only(wanted))
        read = iter(tfds.as_numpy(data))
        while True:
            with damage_is_told(self.origin):
                record = next(read, None)
            if record is None:
                return
            text = {name: record[name].decode() for name in ("target_text", "origin")}
            targets = int(record["targets"]) if self._description["targets"] == "class" else text["target_text"]
            references = tuple(reference.decode() for reference in record["references"])
            given = record["input_text"]
            inputs = given.decode() if isinstance(given, bytes) else tuple(part.decode() for part in given)
            yield Example(inputs, targets, text["origin"], references)

    def check(self, vocabulary: str, image_size: int, sample_rate: int, words_in_trees: bool = False) -> None:
        """Raises CorpusError if the records were prepared with settings that differ from those of this run."""
        now = {"vocabulary": vocabulary, "image_size": image_size, "sample_rate": sample_rate}
        for name, value in now.items():
            prepared = self._description[name]
            if prepared is not None and prepared != value:
                raise CorpusError(
                    f"{self.origin}: prepared with {name} {str(prepared)[:12]}, but this run has {str(value)[:12]}. "
                    "Prepare it again with bin/prepare_data.py, or use the setting it was prepared with."
                )
        # Missing in the descriptions of earlier versions, which had no words in trees.
        if (prepared := bool(self._description.get("words_in_trees"))) != words_in_trees:
            raise CorpusError(
                f"{self.origin}: prepared with words_in_trees {prepared}, but this run has {words_in_trees}. Prepare it again "
                "with bin/prepare_data.py, or use the setting it was prepared with."
            )

    def dataset(self, training: bool, seed: int, shuffle: int) -> tf.data.Dataset:
        """Returns a dataset with {"inputs", "targets", "index", "origin"} of each example.

        In training, it is shuffled with `seed` and repeats indefinitely. Images are still encoded, so that `shuffle`
        records fit into memory.
        """
        names = self._modalities()
        keys = input_keys(len(names))
        joined = functools.partial(_joined, keys=keys)
        # The reader of images decodes them after the shuffle buffer (see `modalities.features`).
        encoded = {key: tfds.decode.SkipDecoding() for key, name in zip(keys, names) if name == "image"}
        decoders = _only((*keys, *_TRAINING), encoded)
        data = self._builder.as_dataset(
            self._split, shuffle_files=training, read_config=_reading(training, seed), decoders=decoders
        )
        if training:
            # The mean size of a record, by which the buffer is limited in bytes.
            size = max(int(self._info.num_bytes) // max(len(self), 1), 1)
            # TensorFlow requires a buffer of at least 1, and one of 1 does not shuffle.
            data = data.shuffle(max(min(len(self), shuffle, _SHUFFLE_BYTES // size), 2), seed=seed).repeat()
            return data.map(joined) if len(names) > 1 else data
        # The index must be the position in `__iter__`; the one stored in the record also counts dropped examples.
        data = data.enumerate().map(lambda index, record: dict(record, index=index))
        return data.map(joined) if len(names) > 1 else data

    def _modalities(self) -> list[str]:
        names = self._description["inputs"]
        return [names] if isinstance(names, str) else names


def _joined(record: dict, keys: Sequence[str]) -> dict:
    """Returns a record with its inputs, whose names are `keys`, joined to one tuple."""
    rest = {name: value for name, value in record.items() if name not in keys}
    return rest | {"inputs": tuple(record[key] for key in keys)}


def _only(names: Iterable[str], decoders: dict | None = None) -> tfds.decode.PartialDecoding:
    return tfds.decode.PartialDecoding(dict.fromkeys(names, True), decoders or None)


def _reading(training: bool, seed: int = 0) -> tfds.ReadConfig:
    """Returns how records are read: in training many shards at once in an order that depends on the seed, otherwise in order.

    Buffers are small and nothing is cached, because several problems are read at the same time.
    """
    options = tf.data.Options()
    options.deterministic = True
    return tfds.ReadConfig(
        options=options, try_autocache=False, shuffle_seed=seed, shuffle_reshuffle_each_iteration=True,
        interleave_cycle_length=_OPEN_SHARDS if training else 1, num_parallel_calls_for_decode=2, skip_prefetch=True,
        num_parallel_calls_for_interleave_files=2 if training else 1, override_buffer_size=_READ_BYTES,
    )  # fmt: skip
