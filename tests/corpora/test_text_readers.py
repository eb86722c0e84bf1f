"""Parallel text and treebanks: a few literal lines in, the exact examples out; bad files named."""

import pytest

from t2t_mm.corpora.example import CorpusError, Report, TooManyBadExamples
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.treebank import Treebank, delinearise

TREE = """
( (S
    (NP-SBJ-1 (DT The) (NN cat) )
    (VP (VBD was)
      (VP (VBN seen)
        (NP (-NONE- *-1) )))
    (. .) ))
"""


def pairs(tmp_path, english, german):
    folder = tmp_path / "wmt" / "en-de"
    folder.mkdir(parents=True)
    for split in ("train", "dev"):
        (folder / f"{split}.en").write_bytes(english)
        (folder / f"{split}.de").write_bytes(german)
    return ParallelText(str(tmp_path), "wmt/en-de", "en", "de")


def test_parallel_text(tmp_path):
    source = pairs(tmp_path, "A cat.\n\nA dog\u2028runs.\n".encode(), b"Eine Katze.\nLeer.\nEin Hund rennt.\n")
    train = source.examples("train", Report("x"))
    assert [(e.inputs, e.targets) for e in train] == [
        ("A cat.", "Eine Katze."),
        ("A dog\u2028runs.", "Ein Hund rennt."),
    ]
    assert len(source.examples("dev", Report("x"))) == 3  # blank lines count in evaluation


def test_unequal_sides_name_both_counts(tmp_path):
    source = pairs(tmp_path, b"a\nb\nc\n", b"a\nb\n")
    with pytest.raises(CorpusError, match="3.*2"):
        source.examples("train", Report("x"))


def test_invalid_utf8_is_reported_with_its_line(tmp_path):
    source, report = pairs(tmp_path, b"a\n\xff\nc\n", b"a\nb\nc\n"), Report("x")
    assert len(source.examples("train", report)) == 2
    (origin,) = report.skipped
    assert origin.endswith("train.en:2")
    with pytest.raises(TooManyBadExamples, match="train.en:2"):
        source.examples("train", Report("x", max_bad=0))


def treebank(tmp_path, text):
    folder = tmp_path / "ptb" / "wsj" / "02"
    folder.mkdir(parents=True)
    (folder / "wsj_0201.mrg").write_text(text)
    return Treebank(str(tmp_path))


def test_treebank_is_cleaned_and_linearised(tmp_path):
    (example,) = treebank(tmp_path, TREE).examples("train", Report("x"))
    assert example.inputs == "The cat was seen ."
    assert example.targets == "(S (NP DT NN )NP (VP VBD (VP VBN )VP )VP . )S"
    _, repaired = delinearise(example.targets.split(), example.inputs.split())
    assert not repaired


def test_an_unbalanced_tree_is_reported_where_it_begins(tmp_path):
    report = Report("x")
    examples = treebank(tmp_path, TREE + "\n( (S (NP (NN dog) )\n").examples("train", report)
    assert len(examples) == 1
    (origin,) = report.skipped
    assert origin.endswith("wsj_0201.mrg:9")


def test_deep_nesting_does_not_overflow(tmp_path):
    depth = 20000
    text = TREE + "( " + "(S " * depth + "(NN x)" + ")" * depth + " )\n"
    assert treebank(tmp_path, text).examples("train", Report("x"))


@pytest.mark.parametrize("source", [Treebank("nowhere"), ParallelText("nowhere", "wmt/en-de", "en", "de")])
def test_a_missing_corpus_says_what_to_do(source):
    with pytest.raises(CorpusError, match="nowhere.*make_mini"):
        source.examples("train", Report("x"))
