"""The scale of the loss with which gradients in float16 neither vanish nor overflow (Micikevicius et al. 2018, 3.2)."""

import tensorflow as tf

_LARGEST = 2.0**24  # without a limit, a run without overflows would double the scale until it is infinite in float32


class LossScale(tf.Module):
    """A factor of the loss, by which its gradients are divided again. A checkpoint saves it.

    After a step whose gradients are not finite, the scale is halved, but it is at least 1; after `growth_steps` successive
    steps with finite gradients, it is doubled. The rule and the defaults are those of keras.optimizers.LossScaleOptimizer,
    which cannot be used here: it divides the gradients when it applies them, and the step clips their norm before.

    Args:
      initial: the first scale. A scale that is too high is lowered more quickly than one that is too low is raised.
      growth_steps: number of successive finite steps after which the scale is doubled.

    Attributes:
      halved: whether the last step has halved the scale.
    """

    def __init__(self, initial: float = 2.0**15, growth_steps: int = 2000):
        super().__init__()
        self._growth_steps = growth_steps
        self.scale = tf.Variable(initial, dtype=tf.float32, trainable=False)
        self.finite_steps = tf.Variable(0, dtype=tf.int64, trainable=False)  # since the last change of the scale
        self.halved = False

    def count(self, finite: bool) -> None:
        """Counts a step, whose gradients were finite or not, and changes the scale if it is due."""
        steps, scale = int(self.finite_steps) + 1 if finite else 0, float(self.scale)
        # At a scale of 1, halving cannot help any more: the gradients are not finite for another reason than float16, and the
        # run responds as `settings.Numerics.not_finite` says.
        self.halved = not finite and scale > 1
        if self.halved:
            scale = max(scale / 2, 1.0)
        elif steps >= self._growth_steps:
            # Powers of two only change the exponent of a gradient, so that scaling rounds nothing.
            steps, scale = 0, min(2 * scale, _LARGEST)
        self.finite_steps.assign(steps)
        self.scale.assign(scale)
