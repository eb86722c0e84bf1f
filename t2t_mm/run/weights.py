"""Which weights of a run are evaluated, decoded with and exported."""

import dataclasses

from t2t_mm.run.errors import RunError


@dataclasses.dataclass(frozen=True)
class Weights:
    """A choice among the checkpoints of a run, the newest without one; an experiment holds it for all commands.

    Attributes:
      best: the checkpoint of the best evaluation during training (`settings.Evaluation.best_metric`).
      step: the checkpoint of this step.
      average: how many checkpoints are averaged, weight by weight: the last ones, or with `best` the best ones. As many
        must be kept (`settings.Checkpointing.keep`, `keep_best`).
      moving_average: take the exponential moving averages of the weights, which a training with `settings.Optimizer.ema`
        keeps beside them. The evaluation during such a training then takes them, too.

    Raises:
      RunError: both `best` and `step` are given, or `average` is below 1, or above it with `step`.
    """

    best: bool = False
    step: int | None = None
    average: int = 1
    moving_average: bool = False

    def __post_init__(self):
        if self.best and self.step is not None:
            raise RunError(f"Either the best checkpoint or that of step {self.step}, not both: drop --best or --step.")
        if self.average < 1:
            raise RunError(f"Weights.average is {self.average}; it must be at least 1.")
        if self.average > 1 and self.step is not None:
            raise RunError(f"Weights.average is {self.average}, but step {self.step} is one checkpoint. Drop one of the two.")
