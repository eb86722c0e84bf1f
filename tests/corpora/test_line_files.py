"""Evaluation on a user's own files: line n of every file becomes example n, and unusable lines are reported."""

import pytest

from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.line_files import LineFiles


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**files):
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")

    return write


def test_texts_may_have_several_references(write):
    write(a="One.\nTwo.\n", b="Eins.\nZwei.\n", c="Ein.\n\n")
    assert LineFiles("a", ["b", "c"]).examples("test", Report("x", 0)) == [
        Example("One.", "Eins.", "a:1", ("Eins.", "Ein.")), Example("Two.", "Zwei.", "a:2", ("Zwei.",))
    ]  # fmt: skip


def test_trees_are_linearised(write):
    write(a="the cat sleeps\n", b="( (S (NP-SBJ (DT the) (NN cat)) (VP (VBZ sleeps))))\n")
    (example,) = LineFiles("a", ["b"], "tree").examples("test", Report("x", 0))
    assert (example.inputs, example.targets) == ("the cat sleeps", "(S (NP DT NN )NP (VP VBZ )VP )S")


def test_trees_have_no_tags_where_the_model_learns_none(write):
    write(a="the cat sleeps\n", b="( (S (NP-SBJ (DT the) (NN cat)) (VP (VBZ sleeps))))\n")
    (example,) = LineFiles("a", ["b"], "tree", tags=False).examples("test", Report("x", 0))
    assert example.targets == "(S (NP XX XX )NP (VP XX )VP )S"
    assert example.accepted == ("(S (NP DT NN )NP (VP VBZ )VP )S",)  # for the metrics


def test_classes_are_named(write):
    write(a="x.png\ny.png\n", b="dog\ncat\n")
    found = LineFiles("a", ["b"], "class", classes=["cat", "dog"])
    assert [example.targets for example in found.examples("test", Report("x", 0))] == [1, 0]
    assert found.class_names() == ["cat", "dog"]


def test_several_inputs_are_separated_by_tabs(write):
    write(a="x.png\tWhat is red?\nx.png\n", b="a cup\na cup\n")
    report = Report("x")
    found = LineFiles("a", ["b"], count=2).examples("test", report)
    assert [example.inputs for example in found] == [("x.png", "What is red?")]
    assert report.skipped == {"a:2": "'x.png'; the line must have 2 inputs, separated by tabs."}


@pytest.mark.parametrize(
    "targets, line, reference, message",
    [
        ("text", "", "Eins.", "''; the line must have an input"),
        ("text", "One.", " ", "b:1: the reference is blank"),
        ("class", "x.png", "bird", "b:1: the model has no class 'bird'"),
        ("tree", "cats", "(S (NN cats)", "b:1"),
        ("tree", "cats", "(S (-NONE- *))", "b:1: the tree has no words"),
        ("tree", "cats", "(S (N<N cats))", "b:1: a label has one of the characters"),
    ],
)
def test_unusable_lines_are_reported(write, targets, line, reference, message):
    write(a=f"{line}\n", b=f"{reference}\n")
    report = Report("x")
    with pytest.raises(CorpusError, match="a: none of its lines is usable; a:1: .+"):
        LineFiles("a", ["b"], targets, classes=["cat"]).examples("test", report)
    ((origin, reason),) = report.skipped.items()
    assert origin == "a:1" and message in reason


def test_files_that_do_not_belong_together_are_errors(write):
    write(a="One.\nTwo.\n", b="Eins.\n", c="(S (NN a))\n(S (NN b))\n", empty="")
    with pytest.raises(CorpusError, match="empty: is empty; each line must have an input."):
        LineFiles("empty", ["empty"]).examples("test", Report("x"))
    with pytest.raises(CorpusError, match="a has 2 lines and b has 1"):
        LineFiles("a", ["b"]).examples("test", Report("x"))
    with pytest.raises(CorpusError, match="only texts can have several references"):
        LineFiles("a", ["c", "c"], "tree").examples("test", Report("x"))
