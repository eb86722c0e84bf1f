"""Tests that the benchmark of exports reports where their answers differ."""

import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example
from t2t_mm.lab.benchmarks import export
from t2t_mm.problem import Problem


class Sentences:
    def examples(self, split, report):
        return [Example(text, "", text) for text in ("a b", "c", "d e f")]


PROBLEMS = [
    Problem("wmt_en_de", Sentences(), "language", "text", "To-German"),
    Problem("wsj_parsing", Sentences(), "language", "tree", "To-Parse-Tree"),
]


def test_size_load_time_and_equal_answers(store):
    exports = {"first": str(store / "1"), "second": str(store / "2")}
    found = export.run(exports, PROBLEMS, batch_size=2, repeats=1)
    assert list(found) == ["first", "second"]
    share = "share of {}'s 3 answers equal to first's"
    assert [figures[share.format("wsj_parsing")] for figures in found.values()] == [1.0, 1.0]
    assert [figures[share.format("wmt_en_de")] for figures in found.values()] == [1.0, 0.0]  # they name the version
    assert 0 < found["first"]["MB of weights"] < found["first"]["MB on disk"]
    assert min(found["first"]["load seconds"], found["first"]["warm-up seconds"]) > 0


def test_an_absent_export_is_told(store):
    with pytest.raises(RunError, match=r"absent does not load.*bin/export.py and set export.run.exports"):
        export.run({"first": str(store / "absent")}, PROBLEMS)
