"""Corpus files to prepared records with Apache Beam, for corpora beyond one machine.

The records are those of `prepare`, made by the same `RecordMaker`; Beam's runner spreads the work, and TFDS's Beam
support sorts the records, cuts them into shards and writes them. The runner's workers need what a local process needs:
this package, and the corpora, the vocabulary and the output under the same paths, on a file system they share.
"""

import glob
import json
import os
import shutil
import sys
from collections.abc import Sequence

import apache_beam as beam
import tensorflow_datasets as tfds

from t2t_mm.corpora.corpus_files import SPLITS, MissingCorpus
from t2t_mm.corpora.example import CorpusError, Example, MediaError, Report
from t2t_mm.input import records
from t2t_mm.input.prepare import Plan, RecordMaker, describe, done_before, file_digest, make_plan, ordered
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.problem import Problem

_NOTES = "notes"  # the output of a step that tells of what is left out, as (what, origin, reason)
_SHARD_BYTES = (8 << 20, 128 << 20)  # least and most; many shards shuffle better in training than few


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
    """`prepare.prepare` on a Beam runner; a run that fails begins again.

    Args:
      options: of the Beam pipeline, e.g. ("--runner=FlinkRunner", "--flink_master=host:8081").

    Raises:
      CorpusError: a corpus is missing or damaged, a worker failed, or finished records of other settings are there.
      TooManyBadExamples: more unusable examples than `max_bad_examples` in one split.
    """
    final = os.path.join(output, problem.name, records.VERSION)
    plan = make_plan(problem, Tokenizer(vocabulary), image_size, sample_rate)
    if os.path.exists(final):
        return done_before(final, plan)
    absent = _absent(problem, splits)
    present = [split for split in splits if split not in absent]
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
    """Split -> why it is not there; looked at before any worker starts."""
    absent = {}
    for split in splits:
        try:
            next(ordered(problem, split, Report(f"{problem.name} {split}")), None)
        except MissingCorpus as error:
            if split == "train":
                raise
            absent[split] = str(error)
    return absent


def _build(problem, plan, vocabulary, folder, splits, options) -> tfds.core.DatasetBuilder:
    """Runs the pipeline; TFDS's builder knows the splits it wrote below `folder`."""
    config = tfds.download.DownloadConfig(
        beam_options=beam.options.pipeline_options.PipelineOptions(list(options)),
        min_shard_size=_SHARD_BYTES[0], max_shard_size=_SHARD_BYTES[1],
    )  # fmt: skip
    try:
        return tfds.dataset_builders.store_as_tfds_dataset(
            name=plan.problem, version=records.VERSION, features=plan.features(), data_dir=folder,
            split_datasets={split: _Split(problem, plan, vocabulary, split, folder) for split in splits},
            download_config=config, disable_shuffling=True,
        )  # fmt: skip
    except Exception as error:  # whatever a runner raises for a worker's error
        raise CorpusError(f"{problem.name}: the Beam pipeline failed: {error}. Mend that and start again.") from error


def _report(folder: str, split: str, report: Report) -> Report:
    """The report with what the workers noted about a split."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), _NOTES, f"{split}-*.jsonl"))):
        with open(path, encoding="utf-8") as file:
            for what, origin, reason in map(json.loads, file):
                getattr(report, what)(origin, reason)
    return report


class _Split(beam.PTransform):
    """(index, record) of each usable example of a split; the others go to a file of notes."""

    def __init__(self, problem: Problem, plan: Plan, vocabulary: str, split: str, folder: str):
        super().__init__()
        self._read = beam.ParDo(_Read(problem))
        self._make = beam.ParDo(_Make(plan, vocabulary))
        self._split, self._notes = split, os.path.join(folder, _NOTES, split)

    def expand(self, pipeline):
        read = pipeline | beam.Create([self._split]) | self._read.with_outputs(_NOTES, main="examples")
        made = read.examples | beam.Reshuffle() | self._make.with_outputs(_NOTES, main="records")
        notes = (read[_NOTES], made[_NOTES]) | beam.Flatten() | beam.Map(json.dumps)
        _ = notes | beam.io.WriteToText(self._notes, file_name_suffix=".jsonl")
        return made.records


class _Read(beam.DoFn):
    """A split's name -> (index, example) of all its examples: lists are short work, pictures and sounds are not."""

    def __init__(self, problem: Problem):
        self._problem = problem

    def process(self, split: str):
        # What is too much is decided where the notes of all workers are.
        report = Report(f"{self._problem.name} {split}", max_bad=sys.maxsize)
        yield from enumerate(ordered(self._problem, split, report))
        for what, found in (("skip", report.skipped), ("leave_out", report.left_out)):
            for origin, reason in found.items():
                yield beam.pvalue.TaggedOutput(_NOTES, (what, origin, reason))


class _Make(beam.DoFn):
    """(index, example) -> (index, record)."""

    def __init__(self, plan: Plan, vocabulary: str):
        self._plan, self._vocabulary = plan, vocabulary

    def setup(self) -> None:
        self._record = RecordMaker(self._plan, self._vocabulary)

    def process(self, numbered: tuple[int, Example]):
        index, example = numbered
        try:
            yield index, self._record(example, index)
        except MediaError as error:
            yield beam.pvalue.TaggedOutput(_NOTES, ("skip", example.origin, str(error)))
