"""Which weights of a run are evaluated, decoded with and exported."""

import dataclasses

from t2t_mm.run.errors import RunError


@dataclasses.dataclass(frozen=True)
class Weights:
    """A choice among the checkpoints of a run, the newest without one; an experiment holds it for all commands.

    Attributes:
      best: the checkpoint of the best evaluation during training (`settings.Evaluation.best_metric`).
      step: the checkpoint of this step.

    Raises:
      RunError: both `best` and `step` are given.
    """

    best: bool = False
    step: int | None = None

    def __post_init__(self):
        if self.best and self.step is not None:
            raise RunError(f"Either the best checkpoint or that of step {self.step}, not both: drop --best or --step.")
