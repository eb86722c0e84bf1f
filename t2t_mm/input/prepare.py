"""Converts corpus files to prepared records, in several processes, and resumes after an interruption.

A shard is the unit of work. Its examples, in the order of the corpus (for training, in a fixed random order if the reader
returns a list), are tokenised, decoded and written together with a note about their source. A shard is not written again if
its note is still valid, that is, if the source files are unchanged and the examples that could not be read still cannot be
read. When all shards are complete, they get their final names, and the folder loses the suffix `.incomplete`.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import itertools
import multiprocessing
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm

from t2t_mm.common.command import load_tensorflow
from t2t_mm.common.files import file_digest, write_json
from t2t_mm.common.writing import writing
from t2t_mm.corpora import pictures, sounds
from t2t_mm.corpora.corpus_files import SPLITS, MissingCorpus, stream
from t2t_mm.corpora.example import CorpusError, Example, MediaError, Report
from t2t_mm.corpora.source import LineSource
from t2t_mm.corpora.tars import state_of
from t2t_mm.input import records
from t2t_mm.input.tokenizer import END_ID, Tokenizer, as_tokenized
from t2t_mm.problem import Problem

_SHARD_EXAMPLES = {"language": 16384, "image": 1024, "audio": 512}  # about a hundred megabytes at most
_PLAN, _NOTES = "plan.json", "shards"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The settings of the records of one problem. A setting that does not affect the records is None.

    Attributes:
      vocabulary: the SHA-256 checksum of the SentencePiece model.
      image_size: number of rows and columns of images.
      sample_rate: sample rate of audio in Hz.
      words_in_trees: whether each leaf of a tree follows its word (see `Problem`).
    """

    problem: str
    inputs: str | list[str]
    targets: str
    class_names: list[str] | None
    vocabulary: str | None
    image_size: int | None
    sample_rate: int | None
    shard_examples: int | None
    words_in_trees: bool | None = None  # in the older plans that have no such setting, too

    def features(self) -> tfds.features.FeaturesDict:
        return records.features(self.inputs, self.targets, self.image_size or 0, self.class_names or [])


def make_plan(
    problem: Problem, tokenizer: Tokenizer, image_size: int, sample_rate: int, shard_examples: int | None = None
) -> Plan:
    """Returns the settings that the records of a problem depend on. Without `shard_examples`, their writer sizes the shards.

    Raises:
      CorpusError: an input has a custom modality.
    """
    names = [modality.name for modality in problem.modalities]
    plan = Plan(
        problem.name,
        names if len(names) > 1 else names[0],
        problem.targets,
        problem.class_names() if problem.targets == "class" else None,
        tokenizer.fingerprint if "language" in names or problem.targets != "class" else None,
        image_size if "image" in names else None,
        sample_rate if "audio" in names else None,
        shard_examples,
        problem.words_in_trees or None,
    )
    plan.features()  # rejects unsupported modalities before anything is written
    return plan


def prepare(
    problem: Problem,
    vocabulary: str,
    output: str,
    image_size: int,
    sample_rate: int,
    workers: "ShardWriters",
    splits: Sequence[str] = SPLITS,
    max_bad_examples: int = 100,
    shard_examples: int | None = None,
) -> dict:
    """Writes the records of one problem below `output` atomically, and returns their description.

    A split that the corpus does not have is recorded as absent. If the training split is requested, it must exist.

    Raises:
      CorpusError: a corpus is missing or damaged, a process died, or there is unfinished work with other settings.
      TooManyBadExamples: a split has more unusable examples than `max_bad_examples`.
    """
    final = os.path.join(output, problem.name, records.VERSION)
    shard_examples = shard_examples or min(_SHARD_EXAMPLES.get(one.name, 1024) for one in problem.modalities)
    plan = make_plan(problem, Tokenizer(vocabulary), image_size, sample_rate, shard_examples)
    # The final name is only given to complete records, so its existence is enough.
    if os.path.exists(final):
        return done_before(final, plan, problem, vocabulary, splits)
    folder = final + ".incomplete"
    _begin(folder, plan)
    done, dropped, left_out, absent = {}, {}, {}, {}
    for split in splits:
        report = Report(f"{problem.name} {split}", max_bad_examples)
        try:
            done[split] = list(_shards(problem, plan, vocabulary, split, folder, report, workers))
        except MissingCorpus as error:
            # A corpus may lack a dev or test set, but records without a training set are of no use.
            if split == "train":
                raise
            absent[split] = str(error)
        dropped[split], left_out[split] = report.skipped, len(report.left_out)
    more = {"dropped": dropped, "left_out": left_out, "absent": absent}
    return _finish(folder, final, plan, done, more)


def verify(output: str, name: str) -> dict:
    """Compares every shard of a problem with its checksum, and returns the description of the records.

    Raises:
      CorpusError: a shard is missing or has changed.
    """
    folder = os.path.join(output, name, records.VERSION)
    description = records.PreparedRecords(os.path.join(output, name)).description()
    for file, expected in description["checksums"].items():
        path = os.path.join(folder, file)
        if not os.path.isfile(path) or file_digest(path) != expected:
            raise CorpusError(f"{path}: missing or changed (checksum). Delete {folder} and prepare it again.")
    return description


def done_before(final: str, plan: Plan, problem: Problem, vocabulary: str, splits: Sequence[str]) -> dict:
    """Returns the description of finished records.

    Raises:
      CorpusError: there is no description, the records were made with another plan or lack one of `splits`, or an example or
        a split that could not be read then can be read now.
    """
    path = os.path.join(final, records.DESCRIPTION)
    if not os.path.isfile(path):
        raise CorpusError(f"{final}: exists, but has no {records.DESCRIPTION}. Delete it or choose another output.")
    description = records.read_json(path)
    _check_plan({name: description.get(name) for name in dataclasses.asdict(plan)}, plan, final)
    for split in splits:
        if split in description["splits"]:
            continue
        if split in description["absent"] and absence(problem, split):
            continue
        raise CorpusError(f"{final}: lacks the split {split}, which exists. Delete the folder and prepare all splits again.")
    # Made only if some example was dropped, because it loads the vocabulary.
    record = functools.cache(lambda: RecordMaker(plan, vocabulary))
    for split, dropped in description["dropped"].items():
        if not dropped:
            continue
        # Without a limit, because the bad examples were counted when the records were made.
        for example in stream(problem.source, split, Report(f"{problem.name} {split}", max_bad=1 << 60)):
            if example.origin in dropped and _is_readable(example, record()):
                raise CorpusError(
                    f"{final}: lacks {example.origin}, which could not be read when the records were made, but can be read "
                    "now. Delete the folder and prepare it again."
                )
    return description


def absence(problem: Problem, split: str) -> MissingCorpus | None:
    """Returns the error of a corpus that does not have a split, otherwise None."""
    try:
        # The first example is enough to know whether there is a corpus.
        next(ordered(problem, split, Report(f"{problem.name} {split}", max_bad=1 << 60)), None)
    except MissingCorpus as error:
        return error
    return None


def _check_plan(old: dict, plan: Plan, folder: str) -> None:
    for name, value in dataclasses.asdict(plan).items():
        if old.get(name) != value:
            raise CorpusError(
                f"{folder}: holds records made with {name} {str(old.get(name))[:60]}; now it is {str(value)[:60]}. Delete "
                "the folder or choose another output."
            )


def _begin(folder: str, plan: Plan) -> None:
    """Creates the folder, or checks that the unfinished work in it has the same plan."""
    path = os.path.join(folder, _PLAN)
    if os.path.exists(path):
        _check_plan(records.read_json(path), plan, folder)
    os.makedirs(os.path.join(folder, _NOTES), exist_ok=True)
    write_json(path, dataclasses.asdict(plan), indent=1)


def _shards(problem, plan, vocabulary, split, folder, report, workers) -> Iterator[dict]:
    """Yields the notes of the shards of a split in order, after writing the missing shards."""
    # Read twice, because the total is only needed for the progress, and a stream does not know its length.
    examples, total = ordered(problem, split, report), _count(problem, split, report)
    waiting: collections.deque[Written] = collections.deque()
    retry = functools.cache(lambda: RecordMaker(plan, vocabulary))
    with tqdm.tqdm(total=total, desc=f"{problem.name} {split}", unit=" examples", smoothing=0.05) as progress:

        def take() -> dict:
            note = _result(waiting.popleft())
            for origin, reason in note["dropped"].items():
                report.skip(origin, reason)
            progress.update(note["read"])
            return note

        for number in itertools.count():
            part = list(itertools.islice(examples, plan.shard_examples))
            if not part:
                break
            path = os.path.join(folder, _NOTES, f"{split}-{number:05d}")
            first = number * plan.shard_examples
            # An existing shard is checked against the corpus as it is now, and written again if anything has changed.
            note = _note(path, part, retry)
            waiting.append(_Done(note) if note else workers.submit(plan, vocabulary, path, part, first))
            # Enough for every process to have the next shard waiting, without all examples of a corpus in memory.
            while len(waiting) > 2 * workers.processes:
                yield take()
        while waiting:
            yield take()


def ordered(problem: Problem, split: str, report: Report) -> Iterator[Example]:
    """Yields the examples in the order in which they are written."""
    if isinstance(problem.source, LineSource):
        return stream(problem.source, split, report)
    examples = list(problem.source.examples(split, report))
    if split == "train":  # shuffle, because the images of a class are together in the corpus
        # Always in the same order, so that an interrupted preparation finds its shards again.
        random.Random(0).shuffle(examples)
    return iter(examples)


def _count(problem: Problem, split: str, report: Report) -> int:
    return sum(1 for _ in stream(problem.source, split, report))


def _digest(part: Sequence[Example]) -> str:
    """Returns a digest of the examples and, if their inputs are files, of the sizes and modification times of the files."""
    # Not the contents of the files, which would have to be read completely to find that nothing has changed.
    found = [(dataclasses.astuple(example), *map(state_of, example.input_parts)) for example in part]
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _note(path: str, part: Sequence[Example], retry: "Callable[[], RecordMaker]") -> dict | None:
    """Returns the note of an existing shard if it is valid: it has the same examples, and dropped ones are unreadable."""
    if not os.path.exists(path + ".json"):
        return None
    try:
        note = records.read_json(path + ".json")
    except CorpusError:  # damaged, for instance by a loss of power
        return None
    # The digest of the examples, not their number: the corpus may have changed in the middle.
    if note["source"] != _digest(part):
        return None
    # An interrupted `_finish` has given it a final name, which is another one if the number of shards has changed since then.
    if note["examples"] and not os.path.exists(path + ".tfrecord"):
        return None
    for example in part:
        if example.origin in note["dropped"] and _is_readable(example, retry()):
            return None
    return note


def _is_readable(example: Example, record: "RecordMaker") -> bool:
    try:
        record(example, 0)
    except MediaError:
        return False
    return True


class _Done:
    """A stand-in for a future, which contains the note of a finished shard."""

    def __init__(self, note: dict):
        self._note = note

    def result(self) -> dict:
        return self._note


Written = _Done | concurrent.futures.Future


def _result(written: Written) -> dict:
    try:
        return written.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise CorpusError(
            "A process that prepared records died, perhaps because it ran out of memory. The same command resumes with the "
            "missing shards; fewer --processes need less memory."
        ) from error


class ShardWriters:
    """Processes that write shards, for one problem after another: `with ShardWriters(2) as workers: prepare(...)`.

    With a single process, the current process does the work and no other is started.
    """

    def __init__(self, processes: int):
        self.processes = processes
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def __enter__(self) -> "ShardWriters":
        if self.processes > 1:
            # Spawned rather than forked, because TensorFlow's threads do not survive a fork.
            context = multiprocessing.get_context("spawn")
            self._pool = concurrent.futures.ProcessPoolExecutor(self.processes, context, load_tensorflow)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
        _writers.clear()

    def submit(self, *arguments: Any) -> Written:
        """Writes a shard with the arguments of `_write`. The method `result()` of the return value returns its note."""
        return self._pool.submit(_write, *arguments) if self._pool else _Done(_write(*arguments))


_writers: "dict[tuple[str, str], ShardWriter]" = {}  # the writers of this process, by problem and vocabulary


def _write(plan: Plan, vocabulary: str, path: str, part: Sequence[Example], first: int) -> dict:
    key = (plan.problem, vocabulary)
    if key not in _writers:
        _writers[key] = ShardWriter(plan, vocabulary)
    return _writers[key](path, part, first)


class ShardWriter:
    """Writes examples to a file of records, and a note about it."""

    def __init__(self, plan: Plan, vocabulary: str):
        self._features, self._record = plan.features(), RecordMaker(plan, vocabulary)

    def __call__(self, path: str, part: Sequence[Example], first: int) -> dict:
        """Writes `path`.tfrecord and finally the note `path`.json.

        Returns:
          The note, {"source", "read", "examples", "bytes", "sha256", "dropped"}.
        """
        dropped, written, source = {}, 0, _digest(part)
        # Under another name, so that a file with the final name is always complete.
        with writing(path + ".part"), tf.io.TFRecordWriter(path + ".part") as file:
            for index, example in enumerate(part, start=first):
                try:
                    record = self._record(example, index)
                except MediaError as error:
                    dropped[example.origin] = str(error)
                    continue
                file.write(_in_fixed_order(self._features.serialize_example(record)))
                written += 1
        # The note comes last: a shard without a note was interrupted, and is written again.
        os.replace(path + ".part", path + ".tfrecord")
        note = {
            "source": source, "read": len(part), "examples": written, "dropped": dropped,
            "bytes": os.path.getsize(path + ".tfrecord"), "sha256": file_digest(path + ".tfrecord"),
        }  # fmt: skip
        write_json(path + ".json", note, indent=1)
        return note


def _in_fixed_order(serialized: bytes) -> bytes:
    """Serialises a tf.train.Example in a fixed order. The order of a protobuf map would depend on the process."""
    return tf.train.Example.FromString(serialized).SerializeToString(deterministic=True)


class RecordMaker:
    """Turns an example into the content of its record."""

    def __init__(self, plan: Plan, vocabulary: str):
        self._plan = plan
        # SentencePiece itself and no graph, because a worker handles one example after the other.
        self._tokenizer = Tokenizer(vocabulary).processor if plan.vocabulary else None

    def __call__(self, example: Example, index: int) -> dict:
        """Returns a record with the features of `records.features`.

        Raises:
          MediaError: the image or audio cannot be decoded.
        """
        is_class = self._plan.targets == "class"
        names = [self._plan.inputs] if isinstance(self._plan.inputs, str) else self._plan.inputs
        if len(names) != len(example.input_parts):
            raise CorpusError(
                f"{example.origin}: {len(example.input_parts)} input(s); {self._plan.problem} takes {len(names)}."
            )
        keys = records.input_keys(len(names))
        spelled = as_tokenized(example, self._plan.targets, bool(self._plan.words_in_trees))
        return {
            **{key: self._input(name, part) for key, name, part in zip(keys, names, spelled.input_parts)},
            "targets": example.target_class if is_class else self._ids(spelled.target_text),
            "index": index,
            "origin": example.origin,
            "input_text": example.inputs if isinstance(example.inputs, str) else list(example.inputs),
            "target_text": "" if is_class else example.target_text,
            "references": list(example.references),
        }

    def _input(self, modality: str, text: str) -> np.ndarray:
        if modality == "language":
            return self._ids(text)
        if modality == "image":
            return pictures.load_image(text, self._plan.image_size).astype(np.uint8)  # Pillow returns whole numbers
        assert self._plan.sample_rate is not None  # `make_plan` sets it for audio
        # Samples and not spectrograms, whose settings can then still be changed without preparing the corpus again.
        samples = sounds.load_audio(text, self._plan.sample_rate)
        # A sample of exactly 1 would overflow to the lowest number.
        return np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1).astype(np.int16)

    def _ids(self, text: str) -> np.ndarray:
        assert self._tokenizer is not None  # `make_plan` sets the vocabulary for text
        return np.array(self._tokenizer.EncodeAsIds(text) + [END_ID], np.int32)


def _finish(folder: str, final: str, plan: Plan, done: dict, more: dict) -> dict:
    """Gives the shards their final names, writes TFDS's metadata and the description, and renames the folder.

    If it is interrupted at any point, it can be repeated.
    """
    infos, checksums, counts = [], {}, {}
    for split, notes in done.items():
        # A shard may be empty, if none of its examples could be read; TFDS does not expect empty shards.
        kept = [(number, note) for number, note in enumerate(notes) if note["examples"]]
        if not kept:
            raise CorpusError(f"{plan.problem}: no example of split {split} is usable.")
        for place, (number, note) in enumerate(kept):
            name = f"{plan.problem}-{split}.tfrecord-{place:05d}-of-{len(kept):05d}"
            os.replace(os.path.join(folder, _NOTES, f"{split}-{number:05d}.tfrecord"), os.path.join(folder, name))
            checksums[name] = note["sha256"]
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name=plan.problem, split=split, filetype_suffix="tfrecord"
        )
        sizes, size = [note["examples"] for _, note in kept], sum(note["bytes"] for _, note in kept)
        infos.append(tfds.core.SplitInfo(split, sizes, size, template))
        counts[split] = {
            "examples": sum(sizes), "dropped": len(more["dropped"][split]), "left out": more["left_out"][split],
            "shards": len(sizes), "bytes": size,
        }  # fmt: skip
    for name in os.listdir(folder):  # left by an earlier attempt with other shards
        if ".tfrecord-" in name and name not in checksums:
            os.remove(os.path.join(folder, name))
    description = describe(folder, plan, infos, counts, checksums, more)
    # The rename makes the records visible all at once; the notes are of no use any more and are removed after it.
    os.replace(folder, final)
    shutil.rmtree(os.path.join(final, _NOTES))
    os.remove(os.path.join(final, _PLAN))
    return description


def describe(folder: str, plan: Plan, infos: list, counts: dict, checksums: dict, more: dict) -> dict:
    """Writes TFDS's metadata and the description of the shards in `folder`, and returns the description."""
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=plan.features(), split_infos=infos, version=records.VERSION,
        description=f"{plan.problem}, prepared for the MultiModel",
    )  # fmt: skip
    description = dataclasses.asdict(plan) | {"splits": counts, "checksums": checksums} | more
    write_json(os.path.join(folder, records.DESCRIPTION), description, indent=1)
    return description
