"""Tests that groups of settings reject invalid values, stating name and value."""

import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.training.settings import Checkpointing, Evaluation, Numerics, Objective, Observation, Optimizer


@pytest.mark.parametrize(
    "group, settings, message",
    [
        (Optimizer, {"beta_2": 1.0}, "Optimizer.beta_2 is 1.0; it must be from 0 to below 1"),
        (Optimizer, {"clip_norm": 0.0}, "Optimizer.clip_norm is 0.0; it must be above 0"),
        (Optimizer, {"clip_norm": float("inf")}, "Optimizer.clip_norm is inf; it must be a finite number"),
        (Optimizer, {"weight_decay": float("nan")}, "Optimizer.weight_decay is nan; it must be a finite number"),
        (Objective, {"loss_weights": {"coco": float("inf")}}, "Objective.loss_weights of coco is inf; it must be a finite"),
        (Objective, {"loss_weights": {"coco": "1"}}, "Objective.loss_weights of coco is '1'; it must be a finite number"),
        (Objective, {"label_smoothing": 1.0}, "Objective.label_smoothing is 1.0"),
        (Objective, {"contrast_weight": -0.5}, "Objective.contrast_weight is -0.5; it must be at least 0"),
        (Objective, {"loss_weights": {"coco": -1.0}}, "Objective.loss_weights of coco is -1.0"),
        (Evaluation, {"every_steps": -1}, "Evaluation.every_steps is -1; it must be at least 0"),
        (Evaluation, {"examples": 0}, "Evaluation.examples is 0; it must be at least 1"),
        (Evaluation, {"best_metric": "coco/cider"}, "Evaluation.best_metric is 'coco/cider', without evaluations; set Eval"),
        (Checkpointing, {"keep": 0}, "Checkpointing.keep is 0; it must be at least 1"),
        (Checkpointing, {"every_steps": 0}, "Checkpointing.every_steps is 0"),
        (Numerics, {"precision": "float16"}, "precision is 'float16'.*; it must be one of float32, mixed_bfloat16, mixed_f"),
        (Numerics, {"precision": "flaot32"}, r"precision is 'flaot32' \(did you mean float32\?\); it must be one of"),
        (Numerics, {"not_finite": "skipp"}, r"not_finite is 'skipp' \(did you mean skip\?\)"),
        (Observation, {"log_steps": 0}, "Observation.log_steps is 0; it must be at least 1"),
        (Observation, {"cosine_steps": -1}, "Observation.cosine_steps is -1; it must be at least 0"),
        (Observation, {"profile_steps": -1}, "Observation.profile_steps is -1; it must be at least 0"),
        (Numerics, {"not_finite": "go on"}, 'not_finite is \'go on\'; it must be "stop" or "skip"'),
    ],
)
def test_what_cannot_be_meant_is_refused(group, settings, message):
    with pytest.raises(RunError, match=message):
        group(**settings)


def test_loss_weights_are_one_where_nothing_is_said():
    assert Objective({"b": 3}).weights(["a", "b"]) == {"a": 1.0, "b": 3.0}
    with pytest.raises(RunError, match="loss_weights names c; the problems of this run are a, b"):
        Objective({"c": 2.0}).weights(["a", "b"])
    with pytest.raises(RunError, match=r"loss_weights names coc \(did you mean coco\?\); the problems of this run are coco"):
        Objective({"coc": 2.0}).weights(["coco"])


def test_the_optimizer_is_that_of_the_2017_release_where_nothing_is_said():
    """Its Adam and its clipping, and nothing that it did not have."""
    found = Optimizer()
    assert (found.beta_1, found.beta_2, found.epsilon, found.clip_norm) == (0.85, 0.997, 1e-6, 2.0)
    assert (found.clip_each, found.rates, found.weight_decay, found.accumulate, found.ema) == (False, None, 0.0, 1, 0.0)
    objective = Objective()
    assert (objective.label_smoothing, objective.balance_weight, objective.contrast_weight) == (0.1, 0.01, 0.0)
