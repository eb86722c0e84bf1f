"""Tests that the examples of a split have one type, whether a source returns a list or streams them."""

import numpy as np
import pytest

from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.image_folders import ImageFolders
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.source import LineSource
from t2t_mm.corpora.split import First, InMemory, examples_of
from t2t_mm.corpora.subset import Subset
from t2t_mm.input.pipeline import load_examples
from t2t_mm.problem import Problem

WORDS = [Example(f"in {i}", f"out {i}", f"words:{i}") for i in range(5)]


class Words:
    def examples(self, split, report):
        return WORDS

    def class_names(self):
        return ["a", "b"]


def elements(data):
    return list(data.as_numpy_iterator())


def test_a_list_becomes_examples_in_memory():
    found = examples_of(WORDS)
    assert type(found) is InMemory and found == WORDS and found.form == "files" and examples_of(found[:2]) == WORDS[:2]
    assert found.first(2) == WORDS[:2] and type(found.first(2)) is InMemory and len(found.first(9)) == 5
    assert load_examples(Problem("x", Words(), "language", "text", "c"), "dev", Report("x")) == WORDS
    assert type(Subset(Words(), 3).examples("train", Report("x"))) is InMemory


def test_their_dataset_is_in_order_and_in_training_endless_and_shuffled_by_the_seed():
    found = examples_of(WORDS)
    assert elements(found.dataset(False, 0, 8)) == [
        {"inputs": e.inputs.encode(), "targets": e.targets.encode(), "origin": e.origin.encode(), "index": i}
        for i, e in enumerate(WORDS)
    ]
    order = lambda seed: [e["index"] for e in elements(found.dataset(True, seed, 8).take(12))]  # noqa: E731
    assert order(1) == order(1) != order(2) and sorted(order(1)[:5]) == list(range(5)) and len(order(1)) == 12
    classes = examples_of([Example("a.png", 3, "x"), Example("b.png", 1, "y")]).dataset(False, 0, 8)
    np.testing.assert_array_equal([e["targets"] for e in elements(classes)], [3, 1])


def test_a_problem_tells_its_class_names():
    assert Problem("x", Words(), "image", "class", "c").class_names() == ["a", "b"]


def test_which_sources_go_through_their_examples_in_bounded_memory(tmp_path):
    assert isinstance(ParallelText(str(tmp_path), "", "en", "de"), LineSource)
    assert not isinstance(ImageFolders(str(tmp_path)), LineSource) and not isinstance(Words(), LineSource)


def test_training_on_the_first_of_a_stream_is_refused():
    few = First(InMemory(WORDS), 3)
    assert list(few) == WORDS[:3] and len(few) == 3 and few.form == "files"
    assert [e["index"] for e in elements(few.dataset(False, 0, 8))] == [0, 1, 2]
    with pytest.raises(ValueError, match="for evaluation"):
        few.dataset(True, 0, 8)
