"""The plan of a run: its settings, and everything that follows from them without reading the corpora."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.evaluation import periodic
from t2t_mm.experiment import Experiment
from t2t_mm.training import strategy as strategies
from t2t_mm.training.mixing import BySize, problems_of_step
from t2t_mm.training.settings import Checkpointing, Evaluation, Numerics, Objective, Observation, Optimizer


@dataclasses.dataclass(eq=False)
class TrainingPlan:
    """The settings of a run, checked as far as this is possible before the corpora are read.

    Attributes:
      experiment, model_dir, steps, schedule, optimizer, objective, evaluation, checkpointing, numerics, observation, mixing,
        max_bad_examples, init_from: see `t2t_mm.training.loop.train`.
      distribution: the tf.distribute strategy.
      seed: the seed with which the run was begun.
      loss_weights: problem -> weight of its loss.
      metric: the metric that selects the best checkpoint.
      learning_rate: the learning rate schedule.

    Raises:
      RunError: a setting is invalid, or does not fit the problems, the number of replicas or another setting.
    """

    experiment: Experiment
    model_dir: str
    steps: int
    schedule: Callable
    optimizer: Optimizer
    objective: Objective
    evaluation: Evaluation
    checkpointing: Checkpointing
    numerics: Numerics
    observation: Observation
    mixing: str | dict[str, float] | BySize
    max_bad_examples: int
    init_from: str | None
    distribution: tf.distribute.Strategy
    seed: int
    loss_weights: dict[str, float] = dataclasses.field(init=False)
    metric: periodic.Metric = dataclasses.field(init=False)
    learning_rate: Any = dataclasses.field(init=False)

    def __post_init__(self):
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise RunError(f"steps is {self.steps!r}; it must be a number of steps, at least 1.")
        self._check_replicas()
        if not isinstance(self.mixing, BySize):  # whose rates depend on the corpora
            problems_of_step(self.names, self.mixing, 1, self.seed)  # raises an error for an invalid mixing
        self.loss_weights = self.objective.weights(self.names)
        evaluation = self.evaluation
        self.metric = periodic.Metric(evaluation.best_metric, self.names, evaluation.lower_is_better)
        try:
            self.learning_rate = self.schedule()
        except ValueError as error:
            raise RunError(str(error)) from error
        if self.experiment.weights.moving_average and not self.optimizer.ema:
            raise RunError(
                "weights.Weights.moving_average is True, but no moving average is kept; set settings.Optimizer.ema, for "
                "instance to 0.999."
            )

    def _check_replicas(self) -> None:
        images, replicas = self.experiment.batches.images, self.replicas
        modalities = {modality.name for problem in self.experiment.problems for modality in problem.modalities}
        if images < replicas and "image" in modalities:
            raise RunError(
                f"batches.images is {images}, less than the {replicas} replicas; each needs an example. Increase it."
            )
        if self.numerics.jit_compile and replicas > 1:
            raise RunError("jit_compile requires a single device, because XLA cannot compile the exchange between replicas.")
        if self.observation.cosine_steps and replicas > 1:
            raise RunError("cosine_steps requires a single device, because each replica only has its share of a gradient.")
        if self.observation.cosine_steps and self.mixing != "joint" and self.optimizer.accumulate == 1:
            raise RunError(
                f"cosine_steps compares the problems of a step, and with mixing {self.mixing!r} a step takes one. Set "
                "settings.Observation.cosine_steps = 0."
            )

    @property
    def names(self) -> list[str]:
        """The names of the problems, in the order in which they are reported."""
        return [problem.name for problem in self.experiment.problems]

    @property
    def replicas(self) -> int:
        """The number of replicas among which every batch is divided."""
        return self.distribution.num_replicas_in_sync

    @property
    def chief(self) -> bool:
        """Whether this process writes to the folder of the run. Of several workers, only the first one does."""
        return strategies.is_chief(self.distribution)

    def describe(self) -> list[str]:
        """Returns lines that describe the cluster, the replicas, and the batch of each problem."""
        return strategies.describe(self.distribution, self.experiment.problems, self.experiment.batches)
