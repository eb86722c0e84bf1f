"""Adam with TensorFlow's fused kernel, for gradients that have already been summed over all replicas."""

from collections.abc import Sequence

import keras
import tensorflow as tf


class OfWholeBatch:
    """An optimizer mixin that does not sum gradients over the replicas.

    The training step clips by the norm of the gradient of the whole batch, so it has to sum the gradients itself before
    it passes them on.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars


class FusedAdam(OfWholeBatch, keras.optimizers.Adam):
    """Keras's Adam, with a single kernel for the update of each variable.

    Keras itself uses about twenty small operations per variable, so that tracing the optimizer of a model with hundreds
    of variables takes longer than tracing the model. The results are the same: both add epsilon to the square root of
    the uncorrected second moment (Kingma and Ba 2015, end of section 2).

    Args:
      factors: what the learning rate is multiplied with for each of the variables that the optimizer is built for; 1
        without.
    """

    def __init__(self, learning_rate, factors: Sequence[float] | None = None, **settings):
        super().__init__(learning_rate, **settings)
        # A tuple: Keras would track a list, and make it a part of the checkpoint.
        self._factors = None if factors is None else tuple(factors)

    def build(self, variables):
        if self._factors is not None and len(self._factors) != len(variables):
            raise ValueError(f"There are {len(self._factors)} factors for {len(variables)} variables.")
        super().build(variables)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        step = tf.cast(self.iterations.value + 1, tf.float32)
        corrected = learning_rate * tf.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)
        super()._backend_update_step(grads, trainable_variables, corrected)

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Updates one variable. `learning_rate` already includes the bias correction of the moments."""
        index = self._get_variable_index(variable)
        if self._factors is not None and self._factors[index] != 1:
            learning_rate = learning_rate * self._factors[index]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=0.0,  # 0 disables the bias correction of the kernel
            beta2_power=0.0,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
