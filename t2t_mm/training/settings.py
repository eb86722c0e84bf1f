"""The settings of a training run, in groups. Each group but the last, `Configuration`, is bound in Gin by its own name.

loop.train.evaluation = @settings.Evaluation()     # once, as gin/runs/joint.gin does for every group
settings.Evaluation.every_steps = 250
"""

import dataclasses
from collections.abc import Callable, Sequence

from t2t_mm.common.errors import RunError, check_at_least, check_finite
from t2t_mm.run.precision import check_precision
from t2t_mm.spelling import near
from t2t_mm.training.optimizer import FusedAdam


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """The optimizer, Adam. The paper gives no constants; the defaults are those of the 2017 release.

    Attributes:
      beta_1, beta_2, epsilon: the decay rates of Adam's two moments, and the term added to the square root of the second
        moment (Kingma and Ba 2015).
      clip_norm: maximum norm of the gradient of all weights together; a larger gradient is scaled down to it.
      clip_each: whether the gradient of each problem is clipped separately before they are summed, as if each problem had
        its own worker (paper, 3). Otherwise, one problem with large gradients reduces those of all others. With several
        replicas, the gradients of every problem are then exchanged instead of their sum.
      rates: part of the model -> factor of the learning rate, for instance {"all": 0.1, "encoder": 0,
        "categorical_out": 1}. 0 freezes a part: its weights, moving statistics and Adam moments do not change.
        `t2t_mm.training.parts.rate_factors` describes the names.
      weight_decay: decoupled weight decay: an update subtracts this fraction of each matrix, times the learning rate
        (Loshchilov and Hutter 2019). Vectors (gains, biases) are not decayed. 0 for none.
      accumulate: number of micro-batches of an update, whose gradients are averaged. A step then takes this many batches of
        its problems in succession, and needs the memory of one.
      ema: decay rate of an exponential moving average of the weights, for instance 0.999; 0 for none. Checkpoints contain
        the average. After t updates, the rate is at most t / (t + 9), so that the first weights are soon forgotten.
        `weights.Weights.moving_average` evaluates and exports the average.

    Raises:
      RunError: a decay rate is not in [0, 1), or another value is out of range or not finite.
    """

    beta_1: float = 0.85
    # In runs of a few hundred updates, 0.98 is better: the first gradients are ten times as large as the later ones, and 0.997
    # remembers them for the whole run (docs/learning.md, "What helps").
    beta_2: float = 0.997
    # 1e-3 helps images, but English to French is then at 2.48 instead of 1.08 nats after 150 updates.
    epsilon: float = 1e-6
    clip_norm: float = 2.0
    # The gradient of ImageNet has a norm of 15 at first, those of the others about 1. Clipped together, the others keep a
    # fifth of their contribution (docs/learning.md, "All eight problems jointly").
    clip_each: bool = False
    rates: dict[str, float] | None = None
    weight_decay: float = 0.0
    accumulate: int = 1
    ema: float = 0.0

    def __post_init__(self):
        check_finite(self, "beta_1", "beta_2", "epsilon", "clip_norm", "weight_decay", "ema")
        check_at_least(0, self, "weight_decay")
        check_at_least(1, self, "accumulate")
        for name in ("beta_1", "beta_2", "ema"):
            # With a decay rate of 1, a moment would take in no gradient, and its bias correction would divide by zero.
            if not 0 <= getattr(self, name) < 1:
                raise RunError(f"Optimizer.{name} is {getattr(self, name)!r}; it must be from 0 to below 1.")
        for name in ("epsilon", "clip_norm"):
            if getattr(self, name) <= 0:
                raise RunError(f"Optimizer.{name} is {getattr(self, name)!r}; it must be above 0.")

    def adam(self, learning_rate: float | Callable, factors: Sequence[float] | None = None) -> FusedAdam:
        """Returns the optimizer.

        Args:
          learning_rate: a number or a schedule.
          factors: factor of the learning rate for each variable. Default: 1.
        """
        # The moving average is kept by the optimizer, which touches every weight in each update anyway.
        return FusedAdam(
            learning_rate, beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon, factors=factors,
            decay=self.weight_decay, ema=self.ema,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Objective:
    """The objective of a step: the weighted sum of the losses of the problems.

    Attributes:
      loss_weights: problem -> weight of its loss. Default: 1.
      label_smoothing: the part of the target's probability that is spread over all tokens or classes. Reported losses do
        not include it.
      balance_weight: weight of the two losses that balance the load of the experts (paper, 2.3).
      contrast_weight: weight of a loss that draws the mean of the encoded input and that of the encoded target of an example
        together, and away from those of the other examples of the batch (Pan et al. 2021, arXiv 2105.09501). The encoder
        then represents what an input means more than its language, which helps pairs of input and command that are not
        trained. It concerns all problems whose targets are text, whose targets are encoded for it, too. 0 for none.

    Raises:
      RunError: a weight is negative or not finite, or `label_smoothing` is not in [0, 1).
    """

    loss_weights: dict[str, float] | None = None
    # This and the next value are those of the 2017 release; the paper gives none.
    label_smoothing: float = 0.1
    balance_weight: float = 0.01
    contrast_weight: float = 0.0

    def __post_init__(self):
        if not 0 <= self.label_smoothing < 1:
            raise RunError(f"Objective.label_smoothing is {self.label_smoothing!r}; it must be from 0 to below 1.")
        check_finite(self, "balance_weight", "contrast_weight", *(["loss_weights"] if self.loss_weights else []))
        check_at_least(0, self, "balance_weight", "contrast_weight")
        for name, weight in (self.loss_weights or {}).items():
            if weight < 0:
                raise RunError(f"Objective.loss_weights of {name} is {weight!r}; it must not be negative.")

    def weights(self, names: Sequence[str]) -> dict[str, float]:
        """Returns a dict of problem -> weight of its loss, for the problems of a run.

        Raises:
          RunError: `loss_weights` names a problem that the run does not have.
        """
        given = self.loss_weights or {}
        if unknown := [name for name in given if name not in names]:
            hints = ", ".join(f"{name}{near(name, names)}" for name in unknown)
            raise RunError(f"Objective.loss_weights names {hints}; the problems of this run are {', '.join(names)}.")
        # Floats, because an int would be a tensor of another type in the signature of the step.
        return {name: float(given.get(name, 1.0)) for name in names}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Evaluation on the dev sets during training.

    Attributes:
      every_steps: number of steps between two evaluations; 0 for no evaluation.
      examples: number of examples of each problem to evaluate, taken from the beginning of its dev set.
      samples: number of these examples that are also decoded and shown in TensorBoard.
      best_metric: the metric that selects the best checkpoint: the mean of a teacher-forced metric over all problems
        ("log_perplexity", "token_accuracy" or "sequence_accuracy"), the same for a single problem ("coco/log_perplexity"),
        or a metric of the decoded answers of a problem ("wmt_en_de/bleu"), in which case all `examples` of this problem
        are decoded greedily.
      lower_is_better: whether lower values of `best_metric` are better. Default: correct for the metrics of the package;
        for any other metric, higher values are better.
      patience: number of successive evaluations without improvement after which the run ends; 0 for no limit. The learning
        rate schedule does not take this into account, so a run that ends early does not reach its decay.

    Raises:
      RunError: a number is out of range, or `best_metric` or `patience` is set without evaluations.
    """

    every_steps: int = 0
    examples: int = 256
    samples: int = 2
    best_metric: str = "log_perplexity"
    lower_is_better: bool | None = None
    patience: int = 0

    def __post_init__(self):
        check_at_least(0, self, "every_steps", "samples", "patience")
        if self.patience and not self.every_steps:
            raise RunError(f"Evaluation.patience is {self.patience}, without evaluations; set Evaluation.every_steps.")
        if self.best_metric != Evaluation.best_metric and not self.every_steps:
            raise RunError(
                f"Evaluation.best_metric is {self.best_metric!r}, without evaluations; set Evaluation.every_steps, or leave "
                "best_metric out."
            )
        check_at_least(1, self, "examples")


@dataclasses.dataclass(frozen=True)
class Checkpointing:
    """Which checkpoints are written and kept, see `t2t_mm.run.checkpoints.Checkpoints`.

    Attributes:
      every_steps: number of steps between two checkpoints. The end of the run writes one, too.
      keep: number of newest checkpoints to keep, besides the best ones.
      keep_best: number of best checkpoints to keep.

    Raises:
      RunError: a number is less than 1.
    """

    every_steps: int = 500
    keep: int = 2
    keep_best: int = 1

    def __post_init__(self):
        check_at_least(1, self, "every_steps", "keep", "keep_best")


@dataclasses.dataclass(frozen=True)
class Numerics:
    """How a step is computed.

    Attributes:
      precision: "float32", "mixed_bfloat16" or "mixed_float16". The last two are Keras's mixed precision, which multiplies
        matrices in bfloat16 or float16; gates, softmax, norms, depthwise convolutions, the gradients of embeddings and the
        loss stay in float32. With "mixed_float16", the loss is scaled (`t2t_mm.training.loss_scale.LossScale`). Weights and
        checkpoints are always float32. Evaluation and export always compute in float32, except that the evaluation during
        training uses the precision of the training.
      jit_compile: whether to compile the step with XLA (on one device; a TPU always does). Also set `static_shapes` of the
        batches.
      not_finite: the response to a loss or gradient that is not finite: "stop" ends the run; "skip" omits the update of
        the step, counts it and logs the name of the problem. A gradient that is too large for float16 is not meant: its
        step is always skipped, and the scale of the loss halved.

    Raises:
      RunError: the precision or `not_finite` has another value.
    """

    precision: str = "float32"
    jit_compile: bool = False
    not_finite: str = "stop"

    def __post_init__(self):
        check_precision(self.precision)
        if self.not_finite not in ("stop", "skip"):
            hint = near(self.not_finite, ("stop", "skip"))
            raise RunError(f'not_finite is {self.not_finite!r}{hint}; it must be "stop" or "skip".')


@dataclasses.dataclass(frozen=True)
class Observation:
    """What a run shows of its progress, on the screen and in TensorBoard. Nothing here changes what the run computes.

    Attributes:
      log_steps: number of steps between two lines of progress. The first and the last step are always reported.
      cosine_steps: number of steps between two measurements of the cosines between the problems' gradients, which show which
        problems help and which hinder each other; 0 measures none. Only with one replica.
      profile_steps: number of steps to profile for TensorBoard, after the first steps of the process (see `profile.Steps`);
        0 for none. `bin/train.py --profile_steps` sets it for one start of a run.

    Raises:
      RunError: a number is out of range.
    """

    log_steps: int = 20
    cosine_steps: int = 0
    profile_steps: int = 0

    def __post_init__(self):
        check_at_least(1, self, "log_steps")
        check_at_least(0, self, "cosine_steps", "profile_steps")


@dataclasses.dataclass(frozen=True)
class Configuration:
    """How the folder of a run records the configuration. It is not bound in Gin; the caller of `loop.train` passes it.

    Attributes:
      text: a function that returns the text of `config.gin`. It is called when everything has been built and nothing has
        been written yet, and an error that it raises stops the run.
      hyper_parameters: a function that returns the hyper-parameters for TensorBoard, name -> number or text. It is called
        after `text`.
    """

    text: Callable[[], str] = lambda: ""
    hyper_parameters: Callable[[], dict[str, bool | int | float | str]] = dict
