"""The learning rate over the steps."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("t2t_mm")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` over `warmup_steps`, then falls as 1/√step (the 2017 release: 4,000 steps).

    With `decay_steps`, the last of them end linearly at zero from wherever the curve then is.
    """

    def __init__(self, peak: float = 1e-3, warmup_steps: int = 4000, total_steps: int = 0, decay_steps: int = 0):
        if peak <= 0 or warmup_steps < 1:
            raise ValueError(f"InverseSquareRoot: peak {peak} and warmup_steps {warmup_steps} must be positive.")
        if decay_steps and decay_steps > total_steps:
            raise ValueError(f"InverseSquareRoot: decay_steps {decay_steps} is more than total_steps {total_steps}.")
        self.peak, self.warmup_steps, self.total_steps, self.decay_steps = peak, warmup_steps, total_steps, decay_steps

    def __call__(self, step):
        step = ops.cast(step, "float32") + 1.0
        warm = float(self.warmup_steps)
        rate = self.peak * ops.minimum(step / warm, ops.sqrt(warm / step))
        if self.decay_steps:
            left = (self.total_steps + 1.0 - step) / self.decay_steps
            rate = rate * ops.clip(left, 0.0, 1.0)
        return rate

    def get_config(self):
        return {
            "peak": self.peak, "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps, "decay_steps": self.decay_steps,
        }  # fmt: skip
