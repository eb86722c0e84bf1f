"""The model of a run with what trains it: the optimizer, the scale of the loss and the training step."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from t2t_mm.model import MultiModel, path_below
from t2t_mm.training import parts
from t2t_mm.training.loss_scale import LossScale
from t2t_mm.training.optimizer import FusedAdam
from t2t_mm.training.plan import TrainingPlan
from t2t_mm.training.step import TrainStep, split_batch


@dataclasses.dataclass(frozen=True, eq=False)
class Trainee:
    """A model and what trains it.

    Attributes:
      distribution: the tf.distribute strategy.
      network: the model.
      trained: the weights that are trained, in the order of the optimizer.
      frozen: the paths of the frozen weights.
      adam: the optimizer.
      loss_scale: the scale of the loss, if the model computes in float16.
      train_step: the training step.
    """

    distribution: tf.distribute.Strategy
    network: MultiModel
    trained: Sequence[keras.Variable]
    frozen: list[str]
    adam: FusedAdam
    loss_scale: LossScale | None
    train_step: TrainStep

    def make_step(self, micro_batches: Sequence[dict], cosines: bool = False) -> tuple[dict[str, dict], tf.Tensor]:
        """Makes one update with the micro-batches of a step, and returns what `TrainStep` returns.

        Args:
          micro_batches: one or more dicts of problem -> global batch.
          cosines: whether to measure the cosines between the gradients of the problems.
        """
        shares = [split_batch(self.distribution, batch) for batch in micro_batches]
        return self.train_step(shares if len(shares) > 1 else shares[0], cosines)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Replaces the weights by their moving averages in this context."""
        before = [variable.numpy() for variable in self.trained]
        for variable, average in zip(self.trained, self.adam.averages()):
            variable.assign(average.numpy())
        try:
            yield
        finally:
            for variable, value in zip(self.trained, before):
                variable.assign(value)


def build_trainee(plan: TrainingPlan, description: dict, signatures: Mapping[str, Any]) -> Trainee:
    """Builds the model, the optimizer and the training step, and logs the number of parameters and what is frozen.

    Args:
      plan: the settings of the run.
      description: the description of the model, see `Experiment.describe`.
      signatures: problem -> element spec of its batches.

    Raises:
      RunError: a setting of the model is invalid, or `Optimizer.rates` does not fit the model.
    """
    optimizer, objective, numerics = plan.optimizer, plan.objective, plan.numerics
    with plan.distribution.scope():
        network = plan.experiment.build_model(description, numerics.precision)
        factors = parts.rate_factors(network, optimizer.rates)
        # Before the optimizer is built, so that frozen weights have no gradient, no moments and no part in the norm.
        frozen = parts.freeze(network, factors)
        trained = network.trainable_variables
        adam = optimizer.adam(plan.learning_rate, [factors[path_below(v)] for v in trained])
        adam.build(trained)
    loss_scale = LossScale() if numerics.precision == "mixed_float16" else None
    logging.info("%d problems, %d parameters", len(plan.names), network.count_params())
    for line in parts.describe(network, factors):
        logging.info("%s", line)
    train_step = TrainStep(
        plan.distribution, network, adam, plan.experiment.problems, plan.loss_weights,
        optimizer.clip_norm, objective.label_smoothing, objective.balance_weight, dict(signatures),
        plan.experiment.batches.static_shapes, numerics.jit_compile, plan.seed, accumulate=optimizer.accumulate,
        clip_each=optimizer.clip_each, loss_scale=loss_scale, contrast_weight=objective.contrast_weight,
    )  # fmt: skip
    return Trainee(plan.distribution, network, trained, frozen, adam, loss_scale, train_step)
