"""Tests that subsets of a corpus are nested, reproducible and only taken from the training set."""

import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.subset import Subset
from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.problem import Problem


class Numbers:
    def examples(self, split, report):
        return [Example(str(i), str(i), f"numbers:{i}") for i in range(50 if split == "train" else 7)]


def part(size, split="train", seed=0):
    return [example.inputs for example in Subset(Numbers(), size, seed).examples(split, Report("numbers"))]


def test_larger_parts_hold_smaller_ones_in_the_order_of_the_corpus():
    parts = [part(size) for size in (5, 20, 50)]
    assert [len(found) for found in parts] == [5, 20, 50]
    assert set(parts[0]) < set(parts[1]) < set(parts[2])
    for found in parts:
        assert found == sorted(found, key=int)
    assert parts[0] == part(5) != part(5, seed=1)
    assert parts[0] != [str(i) for i in range(5)]  # not simply the first


def test_dev_and_test_stay_whole():
    assert len(part(5, "dev")) == len(part(5, "test")) == 7


def test_a_part_larger_than_the_corpus_or_of_a_stream_is_refused():
    with pytest.raises(CorpusError, match="numbers: 51 training examples are requested, but there are only 50"):
        part(51)
    with pytest.raises(ValueError, match="size is 0"):
        part(0)

    class Stream:
        def examples(self, split, report):
            return iter(())

    with pytest.raises(CorpusError, match="prepared records"):
        Subset(Stream(), 1).examples("train", Report("numbers"))


def test_an_experiment_limits_the_problems_it_names():
    problems = [Problem(name, Numbers(), "language", "text", "To-Same") for name in ("first", "second")]
    experiment = Experiment(problems, "none.model", batches=BatchSettings(), limits={"second": 3})
    sizes = [len(p.source.examples("train", Report(p.name))) for p in experiment.problems]
    assert sizes == [50, 3]
    with pytest.raises(RunError, match="Unknown problem 'third'"):
        Experiment(problems, "none.model", limits={"third": 3})
    for limit in (0, 2.5, True):
        with pytest.raises(RunError, match=f"Experiment.limits of second is {limit}; it must be a number of examples"):
            Experiment(problems, "none.model", limits={"second": limit})
    with pytest.raises(RunError, match="A problem is named twice in Experiment.only: second, second."):
        Experiment(problems, "none.model", only=["second", "second"])
