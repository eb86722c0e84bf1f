"""Tests that Apache Beam's local runner writes the same records as processes do."""

import json
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds

from t2t_mm.corpora.corpus_files import MissingCorpus
from t2t_mm.corpora.example import CorpusError, Report, TooManyBadExamples
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.speech_folders import SpeechFolders
from t2t_mm.corpora.sphere import encode_sphere
from t2t_mm.input.prepare import ShardWriters, prepare, verify
from t2t_mm.input.tokenizer import train_vocabulary
from t2t_mm.problem import Problem
from t2t_mm.problems.prepared import problems

pytest.importorskip("apache_beam", reason="Apache Beam is not installed (pip install -e '.[beam]')")
from t2t_mm.input import prepare_beam  # noqa: E402

LOCAL = ("--runner=FnApiRunner",)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Sentence pairs with a blank and an invalid line, and recordings of which one is damaged, without a test set."""
    root = tmp_path_factory.mktemp("corpora")
    (root / "wmt").mkdir()
    (root / "speech").mkdir()
    for split, count in (("train", 30), ("dev", 4), ("test", 3)):
        for language in ("en", "de"):
            lines = [f"{language} sentence number {i} of {split}".encode() for i in range(count)]
            if split == "train":
                lines[5:7] = [b"", b"\xff"] if language == "en" else lines[5:7]
            (root / "wmt" / f"{split}.{language}").write_bytes(b"\n".join(lines) + b"\n")
    for split in ("train", "dev"):
        (root / "speech" / f"{split}.tsv").write_text("".join(f"{split}{i}.wv1\tsome words\n" for i in range(4)))
        for i in range(4):
            samples = np.random.default_rng(i).integers(-9999, 9999, 800).astype(np.int16)
            (root / "speech" / f"{split}{i}.wv1").write_bytes(encode_sphere(samples, 16000))
    (root / "speech" / "train2.wv1").write_bytes(b"no sound")
    train_vocabulary(["some words of a sentence number 0 1 2 3"] * 9, [], str(root / "v.model"), 285)
    return root


@pytest.fixture(scope="module")
def declared(corpora):
    return [
        Problem("translation", ParallelText(str(corpora), "wmt", "en", "de"), "language", "text", "c"),
        Problem("speech", SpeechFolders(str(corpora), "speech"), "audio", "text", "c"),
    ]


def on_beam(problem, corpora, output, **more):
    return prepare_beam.prepare(problem, str(corpora / "v.model"), str(output), 8, 16000, LOCAL, **more)


def records(output, name, split):
    data = tfds.builder_from_directory(os.path.join(output, name, "1.0.0")).as_dataset(
        split, read_config=tfds.ReadConfig(interleave_cycle_length=1)
    )
    return list(tfds.as_numpy(data))


@pytest.mark.parametrize("number", range(2))
def test_the_same_records_counts_and_report(number, corpora, declared, tmp_path):
    problem = declared[number]
    on_beam(problem, corpora, tmp_path / "beam")
    with ShardWriters(1) as workers:
        prepare(problem, str(corpora / "v.model"), str(tmp_path / "processes"), 8, 16000, workers)
    folders = (tmp_path / how / problem.name / "1.0.0" for how in ("beam", "processes"))
    beam, processes = (json.loads((folder / "prepared.json").read_text()) for folder in folders)
    for name in beam.keys() - {"splits", "checksums", "shard_examples"}:
        assert beam[name] == processes[name], name
    for split, counts in processes["splits"].items():
        for name in ("examples", "dropped", "left out"):
            assert beam["splits"][split][name] == counts[name]
        one, other = (records(tmp_path / how, problem.name, split) for how in ("beam", "processes"))
        assert len(one) == counts["examples"]
        for a, b in zip(one, other, strict=True):
            for name in a:
                np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert verify(str(tmp_path / "beam"), problem.name) == beam
    assert [p.name for p in (tmp_path / "beam" / problem.name).iterdir()] == ["1.0.0"]
    again = problems(declared, str(tmp_path / "beam"))[number].source.examples("dev", Report("x"))
    assert list(again) == list(problem.source.examples("dev", Report("x")))
    assert on_beam(problem, corpora, tmp_path / "beam") == beam  # done before


def test_what_fails_is_one_error_and_leaves_nothing_that_looks_finished(corpora, declared, tmp_path):
    with pytest.raises(TooManyBadExamples, match="train2.wv1"):
        on_beam(declared[1], corpora, tmp_path, max_bad_examples=0)
    with pytest.raises(MissingCorpus, match="nowhere"):
        on_beam(Problem("x", ParallelText("nowhere", "", "en", "de"), "language", "text", "c"), corpora, tmp_path)
    for language, text in (("en", "a\nb\n"), ("de", "a\n")):
        (tmp_path / f"train.{language}").write_text(text)
    uneven = Problem("uneven", ParallelText(str(tmp_path), "", "en", "de"), "language", "text", "c")
    with pytest.raises(CorpusError, match="uneven: the Beam pipeline failed: .*has 2 lines and .* has 1"):
        on_beam(uneven, corpora, tmp_path, splits=["train"])
    assert not list(tmp_path.rglob("1.0.0/prepared.json"))
