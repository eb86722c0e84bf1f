"""What an evaluation refuses before it computes anything."""

import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example
from t2t_mm.evaluation.evaluate import Evaluator
from t2t_mm.problem import Problem


class Animals:
    def class_names(self):
        return ["cat", "dog"]

    def examples(self, split, report):
        return [Example("x.jpg", 0, "x.jpg")]


def test_classes_other_than_those_of_the_model_are_refused():
    evaluator = Evaluator.__new__(Evaluator)  # nothing of the model is reached
    evaluator._max_bad, evaluator._description = 0, {"class_names": {"animals": ["dog", "cat"]}}
    with pytest.raises(RunError, match="animals: the classes of the corpus are not those that the model was trained on"):
        evaluator(Problem("animals", Animals(), "image", "class", "To-Class"), "dev")
