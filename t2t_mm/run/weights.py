"""Selects the weights of a run that are evaluated, decoded with and exported."""

import dataclasses

from t2t_mm.common.errors import RunError


@dataclasses.dataclass(frozen=True)
class Weights:
    """A choice of checkpoints of a run, which an experiment contains for all commands. Default: the newest checkpoint.

    Attributes:
      best: whether to use the checkpoint with the best evaluation during training (`settings.Evaluation.best_metric`).
      step: the step of the checkpoint to use.
      average: number of checkpoints whose weights are averaged: the newest ones, or the best ones with `best`. At least as
        many must be kept (`settings.Checkpointing.keep` and `keep_best`).
      moving_average: whether to use the exponential moving averages of the weights, which training with
        `settings.Optimizer.ema` saves with them. The evaluation during training then uses them, too.

    Raises:
      RunError: both `best` and `step` are given, `average` is less than 1, or it is more than 1 with `step`.
    """

    best: bool = False
    step: int | None = None
    average: int = 1
    moving_average: bool = False

    def __post_init__(self):
        if self.best and self.step is not None:
            raise RunError(f"Both the best checkpoint and step {self.step} are requested; drop --best or --step.")
        if self.average < 1:
            raise RunError(f"Weights.average is {self.average}; it must be at least 1.")
        if self.average > 1 and self.step is not None:
            raise RunError(f"Weights.average is {self.average}, but step {self.step} is one checkpoint. Drop one of the two.")
