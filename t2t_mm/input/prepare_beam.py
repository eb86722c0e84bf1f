"""Converts corpus files to prepared records with Apache Beam, for corpora that are too large for one machine.

The records are the same as those of `prepare`, made by the same `RecordMaker`. The Beam runner distributes the work, and the
Beam support of TFDS sorts the records, divides them into shards and writes them. The workers of the runner need this
package, and the corpora, the vocabulary and the output under the same paths on a shared file system.
"""

import glob
import json
import os
import shutil
import sys
from collections.abc import Sequence

import apache_beam as beam
import tensorflow_datasets as tfds

from t2t_mm.common.files import file_digest
from t2t_mm.corpora.corpus_files import SPLITS
from t2t_mm.corpora.example import CorpusError, Example, MediaError, Report
from t2t_mm.input import records
from t2t_mm.input.prepare import Plan, RecordMaker, absence, describe, done_before, make_plan, ordered
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.problem import Problem

_NOTES = "notes"  # the output of a step that lists the examples left out, as (what, origin, reason)
_SHARD_BYTES = (8 << 20, 128 << 20)  # minimum and maximum; more shards make shuffling in training better


def prepare(
    problem: Problem,
    vocabulary: str,
    output: str,
    image_size: int,
    sample_rate: int,
    options: Sequence[str],
    splits: Sequence[str] = SPLITS,
    max_bad_examples: int = 100,
) -> dict:
    """Does the same as `prepare.prepare` on a Beam runner. A failed pipeline must start from the beginning.

    Args:
      options: options of the Beam pipeline, such as ("--runner=FlinkRunner", "--flink_master=host:8081").

    Raises:
      CorpusError: a corpus is missing or damaged, a worker failed, or there are finished records with other settings.
      TooManyBadExamples: a split has more unusable examples than `max_bad_examples`.
    """
    final = os.path.join(output, problem.name, records.VERSION)
    plan = make_plan(problem, Tokenizer(vocabulary), image_size, sample_rate)
    if os.path.exists(final):
        return done_before(final, plan, problem, vocabulary, splits)
    absent = _absent(problem, splits)
    present = [split for split in splits if split not in absent]
    # A pipeline cannot be resumed, so what an earlier attempt has left is removed.
    begun = os.path.join(output, problem.name, "beam.incomplete")
    shutil.rmtree(begun, ignore_errors=True)
    os.makedirs(os.path.join(begun, _NOTES))
    builder = _build(problem, plan, vocabulary, begun, present, options)
    folder, counts, dropped, left_out = os.path.join(begun, plan.problem, records.VERSION), {}, {}, {}
    for split in splits:
        report = _report(begun, split, Report(f"{problem.name} {split}", max_bad_examples))
        dropped[split], left_out[split] = report.skipped, len(report.left_out)
    for split in present:
        info = builder.info.splits[split]
        counts[split] = {
            "examples": info.num_examples, "dropped": len(dropped[split]), "left out": left_out[split],
            "shards": info.num_shards, "bytes": info.num_bytes,
        }  # fmt: skip
    files = sorted(name for name in os.listdir(folder) if ".tfrecord-" in name)
    checksums = {name: file_digest(os.path.join(folder, name)) for name in files}
    more = {"dropped": dropped, "left_out": left_out, "absent": absent}
    description = describe(folder, plan, list(builder.info.splits.values()), counts, checksums, more)
    os.replace(folder, final)
    shutil.rmtree(begun)
    return description


def _absent(problem: Problem, splits: Sequence[str]) -> dict[str, str]:
    """Returns a dict of absent split -> reason. It is computed before any worker starts."""
    absent = {}
    for split in splits:
        if error := absence(problem, split):
            if split == "train":
                raise error
            absent[split] = str(error)
    return absent


def _build(problem, plan, vocabulary, folder, splits, options) -> tfds.core.DatasetBuilder:
    """Runs the pipeline, and returns the TFDS builder with the splits that it wrote below `folder`."""
    config = tfds.download.DownloadConfig(
        beam_options=beam.options.pipeline_options.PipelineOptions(list(options)),
        min_shard_size=_SHARD_BYTES[0], max_shard_size=_SHARD_BYTES[1],
    )  # fmt: skip
    try:
        return tfds.dataset_builders.store_as_tfds_dataset(
            name=plan.problem, version=records.VERSION, features=plan.features(), data_dir=folder,
            split_datasets={split: _Split(problem, plan, vocabulary, split, folder) for split in splits},
            # The key of a record is its index, by which TFDS sorts; the order is that of `ordered`, as without Beam.
            download_config=config, disable_shuffling=True,
        )  # fmt: skip
    except Exception as error:  # runners raise various exceptions for errors of workers
        raise CorpusError(f"{problem.name}: the Beam pipeline failed: {error}. Fix this and start again.") from error


def _report(folder: str, split: str, report: Report) -> Report:
    """Returns the report with the notes of the workers about a split."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), _NOTES, f"{split}-*.jsonl"))):
        with open(path, encoding="utf-8") as file:
            for what, origin, reason in map(json.loads, file):
                getattr(report, what)(origin, reason)
    return report


class _Split(beam.PTransform):
    """Outputs (index, record) of each usable example of a split, and writes notes about the others to a file."""

    def __init__(self, problem: Problem, plan: Plan, vocabulary: str, split: str, folder: str):
        super().__init__()
        self._read = beam.ParDo(_Read(problem))
        self._make = beam.ParDo(_Make(plan, vocabulary))
        self._split, self._notes = split, os.path.join(folder, _NOTES, split)

    def expand(self, pipeline):
        read = pipeline | beam.Create([self._split]) | self._read.with_outputs(_NOTES, main="examples")
        # Reading yields from a single element, so without a reshuffle one worker would also decode everything.
        made = read.examples | beam.Reshuffle() | self._make.with_outputs(_NOTES, main="records")
        notes = (read[_NOTES], made[_NOTES]) | beam.Flatten() | beam.Map(json.dumps)
        _ = notes | beam.io.WriteToText(self._notes, file_name_suffix=".jsonl")
        return made.records


class _Read(beam.DoFn):
    """Maps the name of a split to (index, example) of all its examples. This is fast; decoding images and audio is not."""

    def __init__(self, problem: Problem):
        self._problem = problem

    def process(self, split: str):
        # Whether there are too many is decided later, with the notes of all workers.
        report = Report(f"{self._problem.name} {split}", max_bad=sys.maxsize)
        yield from enumerate(ordered(self._problem, split, report))
        for what, found in (("skip", report.skipped), ("leave_out", report.left_out)):
            for origin, reason in found.items():
                yield beam.pvalue.TaggedOutput(_NOTES, (what, origin, reason))


class _Make(beam.DoFn):
    """Maps (index, example) to (index, record)."""

    def __init__(self, plan: Plan, vocabulary: str):
        self._plan, self._vocabulary = plan, vocabulary

    # Not in the constructor: a DoFn is pickled and sent to the workers, each of which loads the vocabulary itself.
    def setup(self) -> None:
        self._record = RecordMaker(self._plan, self._vocabulary)

    def process(self, numbered: tuple[int, Example]):
        index, example = numbered
        try:
            yield index, self._record(example, index)
        except MediaError as error:
            yield beam.pvalue.TaggedOutput(_NOTES, ("skip", example.origin, str(error)))
