"""Adam with TensorFlow's fused kernel, for gradients that are the whole batch's."""

import keras
import tensorflow as tf


class OfWholeBatch:
    """Mixed into an optimizer: its gradients are those of all replicas already, and it does not sum them once more.

    The norm to clip by is that of the whole batch's gradient, so that a step has reduced them before.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars


class FusedAdam(OfWholeBatch, keras.optimizers.Adam):
    """Keras's Adam, the update of a variable being one kernel.

    As Keras writes it, an update is some twenty small operations for each variable; a model of hundreds of variables
    then spends longer tracing its optimizer than tracing itself. The figures are the same: both add epsilon to the
    square root of the uncorrected second moment (Kingma and Ba 2015, the end of section 2).
    """

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        step = tf.cast(self.iterations.value + 1, tf.float32)
        corrected = learning_rate * tf.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)
        super()._backend_update_step(grads, trainable_variables, corrected)

    def update_step(self, gradient, variable, learning_rate):
        """One variable's update; `learning_rate` has the moments' bias correction in it already."""
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=0.0,  # the kernel's own bias correction, switched off
            beta2_power=0.0,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
