"""What an evaluation decides before it computes anything."""

import types

import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example
from t2t_mm.evaluation import evaluate
from t2t_mm.evaluation.evaluate import Evaluator
from t2t_mm.inference.search import Decoding
from t2t_mm.problem import Problem


class Animals:
    def class_names(self):
        return ["cat", "dog"]

    def examples(self, split, report):
        return [Example("x.jpg", 0, "x.jpg")]


@pytest.mark.parametrize(
    "known, differing",
    [
        (["dog", "cat"], "their order differs"), (["cat"], "it has dog in addition"),
        (["bird", "cat"], "it has dog in addition and it lacks bird"), (["bird", "cat", "dog"], "it lacks bird"),
    ],
)  # fmt: skip
def test_classes_other_than_those_of_the_model_are_refused(known, differing):
    evaluator = Evaluator.__new__(Evaluator)  # nothing of the model is reached
    evaluator._max_bad, evaluator._description = 0, {"class_names": {"animals": known}}
    with pytest.raises(
        RunError, match=f"animals: the classes of the corpus are not those .* trained on: {differing}. Evaluate"
    ):
        evaluator(Problem("animals", Animals(), "image", "class", "To-Class"), "dev")


def test_answers_may_be_as_long_as_the_targets_of_the_run(monkeypatch):
    used = []
    monkeypatch.setattr(evaluate, "load_trained", lambda *_: (None, {"seed": 0}, {"step": 1, "seconds": 0.0}))
    monkeypatch.setattr(evaluate, "Evaluator", lambda *arguments, **_: used.append(arguments[3]))
    run = types.SimpleNamespace(problems=[], longest_answer=160)
    evaluate.evaluate(run, "folder")
    evaluate.evaluate(run, "folder", decoding=Decoding(max_length=5))
    assert [one.max_length for one in used] == [160, 5]
