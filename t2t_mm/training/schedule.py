"""The learning rate schedule."""

from typing import Any

import keras
from absl import logging
from keras import ops


@keras.saving.register_keras_serializable("t2t_mm")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` during the warm-up, then falls as 1/√step, and finally decays linearly to zero.

    Args:
      peak: the learning rate at the end of the warm-up.
      warmup_steps: number of steps of the warm-up. Default: `warmup_share` of the run, or the 4,000 steps of the 2017
        release if the length of the run is unknown.
      total_steps: number of steps of the run; 0 if it is unknown.
      decay_steps: number of final steps in which the rate decays to zero from its value at that point; 0 for no decay.
        Default: `decay_share` of the run. If the run is shorter than the decay, the rate decays from the first step on.
      warmup_share, decay_share: fractions of the run, so that runs of any length need no other setting.

    Raises:
      ValueError: an argument is out of range.
    """

    def __init__(
        self,
        peak: float = 1e-3,
        warmup_steps: int | None = None,
        total_steps: int = 0,
        decay_steps: int | None = None,
        warmup_share: float = 0.2,
        decay_share: float = 0.4,
    ):
        if not 0 <= warmup_share <= 1 or not 0 <= decay_share <= 1:
            raise ValueError(
                f"InverseSquareRoot: warmup_share {warmup_share} and decay_share {decay_share} must be from 0 to 1."
            )
        if warmup_steps is None:
            # At least 1, because the rate is divided by it.
            warmup_steps = max(round(warmup_share * total_steps), 1) if total_steps else 4000
        if decay_steps is None:
            decay_steps = round(decay_share * total_steps)
        if peak <= 0 or warmup_steps < 1:
            raise ValueError(f"InverseSquareRoot: peak {peak} and warmup_steps {warmup_steps} must be positive.")
        if decay_steps < 0 or (decay_steps and not total_steps):
            raise ValueError(f"InverseSquareRoot: decay_steps {decay_steps} needs total_steps, and must not be negative.")
        if decay_steps > total_steps:
            logging.info("The learning rate decays over all %d steps, not over %d.", total_steps, decay_steps)
            decay_steps = total_steps
        self.peak, self.warmup_steps, self.total_steps, self.decay_steps = peak, warmup_steps, total_steps, decay_steps

    def __call__(self, step: Any) -> Any:
        # Keras counts updates from 0, but the first one must have a learning rate above 0.
        step = ops.cast(step, "float32") + 1.0
        warm = float(self.warmup_steps)
        # Vaswani et al. 2017 (arXiv 1706.03762), eq. 3, with the peak instead of the depth as its scale.
        rate = self.peak * ops.minimum(step / warm, ops.sqrt(warm / step))
        if self.decay_steps:
            # In the last step, 1 / decay_steps is left and not 0, which would make the step useless.
            left = (self.total_steps + 1.0 - step) / self.decay_steps
            rate = rate * ops.clip(left, 0.0, 1.0)
        return rate

    def get_config(self) -> dict:
        return {
            "peak": self.peak, "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps, "decay_steps": self.decay_steps,
        }  # fmt: skip
