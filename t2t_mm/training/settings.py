"""The settings of a training run, in groups that belong together; each is bound in Gin by its own name.

    loop.train.evaluation = @settings.Evaluation()     # once, as gin/runs/joint.gin does for every group
    settings.Evaluation.every_steps = 250
"""

import dataclasses
from collections.abc import Callable, Sequence

from t2t_mm.run.errors import RunError
from t2t_mm.run.precision import PRECISIONS
from t2t_mm.training.optimizer import FusedAdam


def _at_least(least: float, settings, *names: str) -> None:
    """RunError where one of the named fields is below `least`."""
    for name in names:
        value = getattr(settings, name)
        if value < least:
            raise RunError(f"{type(settings).__name__}.{name} is {value!r}; it must be at least {least}.")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How the gradients of a step change the weights. The paper names no constants; these are the 2017 release's.

    Attributes:
      beta_1, beta_2, epsilon: Adam's decay rates of the two moments, and what is added to the root of the second
        (Kingma and Ba 2015).
      clip_norm: the gradients of all weights together are scaled down to this norm where theirs is greater.
      clip_each: clip the gradient of each problem by itself, before they are summed, as a worker of its own for each
        problem would (paper, 3). Otherwise one problem with large gradients makes those of all others smaller. On
        several replicas every problem's gradients are then exchanged, instead of their sum.
      rates: part of the model -> what the learning rate is multiplied with there, for instance
        {"all": 0.1, "encoder": 0, "categorical_out": 1}. 0 freezes a part: its weights, moving statistics and Adam's
        moments stay as they are. `t2t_mm.training.parts.rate_factors` lists the names.
      weight_decay: the share of each matrix, times the learning rate, that an update takes away (Loshchilov and Hutter
        2019); vectors (gains, biases) are left out. 0 for none.
      accumulate: how many micro-batches make an update: their gradients are averaged. A step is then so many batches of
        its problems one after the other, in the memory of one.
      ema: decay rate of an exponential moving average of the weights, kept in the checkpoints beside them, for instance
        0.999; 0 for none. After t updates it is at most t / (t + 9), so that the beginning is soon forgotten.
        `weights.Weights.moving_average` evaluates and exports it.

    Raises:
      RunError: a rate is not from 0 to below 1, or another value is not positive.
    """

    beta_1: float = 0.85
    beta_2: float = 0.997
    epsilon: float = 1e-6
    clip_norm: float = 2.0
    clip_each: bool = False
    rates: dict[str, float] | None = None
    weight_decay: float = 0.0
    accumulate: int = 1
    ema: float = 0.0

    def __post_init__(self):
        _at_least(0, self, "weight_decay")
        _at_least(1, self, "accumulate")
        for name in ("beta_1", "beta_2", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise RunError(f"Optimizer.{name} is {getattr(self, name)!r}; it must be from 0 to below 1.")
        for name in ("epsilon", "clip_norm"):
            if not getattr(self, name) > 0:
                raise RunError(f"Optimizer.{name} is {getattr(self, name)!r}; it must be above 0.")

    def adam(self, learning_rate: float | Callable, factors: Sequence[float] | None = None) -> FusedAdam:
        """The optimizer.

        Args:
          learning_rate: a number or a schedule.
          factors: what it is multiplied with for each variable; 1 without.
        """
        return FusedAdam(
            learning_rate, beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon, factors=factors,
            decay=self.weight_decay, ema=self.ema,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a step minimises: the weighted sum of the problems' losses.

    Attributes:
      loss_weights: problem -> the weight of its loss; 1 for those that are not named.
      label_smoothing: the share of the target's probability that is spread over all tokens or classes. It is left out
        of every reported figure.
      balance_weight: what the two losses that balance the experts' load are multiplied with (paper, 2.3).

    Raises:
      RunError: a weight is negative, or `label_smoothing` is not from 0 to below 1.
    """

    loss_weights: dict[str, float] | None = None
    label_smoothing: float = 0.1
    balance_weight: float = 0.01

    def __post_init__(self):
        if not 0 <= self.label_smoothing < 1:
            raise RunError(f"Objective.label_smoothing is {self.label_smoothing!r}; it must be from 0 to below 1.")
        _at_least(0, self, "balance_weight")
        for name, weight in (self.loss_weights or {}).items():
            if weight < 0:
                raise RunError(f"Objective.loss_weights of {name} is {weight!r}; it must not be negative.")

    def weights(self, names: Sequence[str]) -> dict[str, float]:
        """Problem -> the weight of its loss, for the problems of a run.

        Raises:
          RunError: `loss_weights` names a problem that the run does not have.
        """
        given = self.loss_weights or {}
        if unknown := [name for name in given if name not in names]:
            raise RunError(
                f"Objective.loss_weights names {', '.join(unknown)}; the problems of this run are {', '.join(names)}."
            )
        return {name: float(given.get(name, 1.0)) for name in names}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Evaluation on the dev sets during training.

    Attributes:
      every_steps: steps between two evaluations; 0 for none.
      examples: how many examples of each problem are evaluated, the first of its dev set.
      samples: how many of these are decoded too and shown in TensorBoard.
      best_metric: what the best checkpoint goes by: a teacher-forced figure ("log_perplexity", "token_accuracy",
        "sequence_accuracy") as the mean of all problems, one of a problem ("coco/log_perplexity"), or a metric of decoded
        answers of a problem ("wmt_en_de/bleu"), of which then all `examples` are decoded greedily.
      lower_is_better: of `best_metric`; None knows the package's own metrics, and takes any other for one whose higher
        values are better.
      patience: how many evaluations in a row may bring nothing better before the run ends; 0 for any number. The
        schedule of the learning rate knows nothing of it: what ends early does not come to its decay.

    Raises:
      RunError: a number is negative, or `patience` is without evaluations.
    """

    every_steps: int = 0
    examples: int = 256
    samples: int = 2
    best_metric: str = "log_perplexity"
    lower_is_better: bool | None = None
    patience: int = 0

    def __post_init__(self):
        _at_least(0, self, "every_steps", "samples", "patience")
        if self.patience and not self.every_steps:
            raise RunError(f"Evaluation.patience is {self.patience}, without evaluations; set Evaluation.every_steps.")
        _at_least(1, self, "examples")


@dataclasses.dataclass(frozen=True)
class Checkpointing:
    """What is saved of a run and kept, see `t2t_mm.run.checkpoints.Checkpoints`.

    Attributes:
      every_steps: steps between two checkpoints; there is one at the end of the run besides.
      keep: how many of the last checkpoints are kept, besides the best.
      keep_best: how many of the best are kept.

    Raises:
      RunError: a number is below 1.
    """

    every_steps: int = 500
    keep: int = 2
    keep_best: int = 1

    def __post_init__(self):
        _at_least(1, self, "every_steps", "keep", "keep_best")


@dataclasses.dataclass(frozen=True)
class Numerics:
    """How a step is computed.

    Attributes:
      precision: "mixed_bfloat16" multiplies matrices in bfloat16, Keras's mixed precision; gates, softmax, norms,
        depthwise convolutions, embeddings' gradients and the loss stay float32. So do weights and checkpoints: evaluation
        and export compute in float32 after either, only the evaluation during training as the training does.
      jit_compile: compile the step with XLA (on one device; a TPU does always). Set `static_shapes` of the batches too.
      not_finite: what a loss or gradient that is not finite does: "stop" ends the run, "skip" leaves the step's update
        out, which is counted and logged with the problem's name.

    Raises:
      RunError: another precision, or another word for `not_finite`.
    """

    precision: str = "float32"
    jit_compile: bool = False
    not_finite: str = "stop"

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise RunError(f"precision is {self.precision!r}; it must be one of {', '.join(PRECISIONS)}.")
        if self.not_finite not in ("stop", "skip"):
            raise RunError(f'not_finite is {self.not_finite!r}; it must be "stop" or "skip".')
