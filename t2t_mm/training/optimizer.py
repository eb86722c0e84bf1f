"""Adam with TensorFlow's fused kernel, for gradients that have already been summed over all replicas."""

from collections.abc import Callable, Sequence
from typing import Any

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
      learning_rate: a number or a schedule.
      factors: factor of the learning rate for each variable of the optimizer. Default: 1.
      decay: decoupled weight decay: before each update, this fraction of each matrix, times its learning rate, is
        subtracted. Vectors are not decayed. Keras's own `weight_decay` does not take the factors into account.
      ema: decay rate of an exponential moving average of each variable; 0 for none. After t updates, the rate is at most
        t / (t + 9). Keras's own `use_ema` has no such start: with 0.999, two thirds of the average would still be the
        weights after the first update when 400 updates have been made.
    """

    def __init__(
        self,
        learning_rate: float | Callable,
        factors: Sequence[float] | None = None,
        decay: float = 0.0,
        ema: float = 0.0,
        **settings: Any,
    ):
        super().__init__(learning_rate, **settings)
        self._decay, self._ema = decay, ema
        # A tuple: Keras would track a list, and make it a part of the checkpoint.
        self._factors = None if factors is None else tuple(factors)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self._factors is not None and len(self._factors) != len(variables):
            raise ValueError(f"There are {len(self._factors)} factors for {len(variables)} variables.")
        super().build(variables)
        if self._ema:
            self._averages = self.add_optimizer_variables(variables, "average")

    def averages(self) -> list[keras.Variable]:
        """Returns the moving averages of the variables, in the same order; an empty list without `ema`."""
        return list(self._averages) if self._ema else []

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        step = tf.cast(self.iterations.value + 1, tf.float32)
        # Kingma and Ba 2015, end of section 2: both bias corrections in one factor of the learning rate.
        corrected = learning_rate * tf.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)
        # The fraction by which the averages move towards the weights; it is 1 in the first update.
        moved = tf.maximum(1.0 - self._ema, 9.0 / (step + 8.0))
        # Keras hands the learning rate on to `update_step` as it is, so that a tuple can carry all three numbers.
        super()._backend_update_step(grads, trainable_variables, (corrected, learning_rate * self._decay, moved))

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tuple) -> None:
        """Updates one variable.

        Args:
          learning_rate: the rate with the bias correction of the moments, the rate times the weight decay, and the
            fraction by which the moving average moves towards the variable.
        """
        rate, decay, moved = learning_rate
        index = self._get_variable_index(variable)
        # The decay is multiplied, too: it is a fraction of the learning rate of the variable.
        if self._factors is not None and self._factors[index] != 1:
            rate, decay = rate * self._factors[index], decay * self._factors[index]
        if self._decay and len(variable.shape) > 1:
            # Decoupled: the decay does not enter the moments (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2).
            value = tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.float32)
            tf.raw_ops.AssignSubVariableOp(resource=variable.handle, value=value * decay)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=0.0,  # 0 disables the bias correction of the kernel
            beta2_power=0.0,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
        if self._ema:
            # After the update, so that the average contains the newest weights.
            average = self._averages[index].value.handle
            value = tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.float32)
            value -= tf.raw_ops.ReadVariableOp(resource=average, dtype=tf.float32)
            tf.raw_ops.AssignAddVariableOp(resource=average, value=value * moved)
