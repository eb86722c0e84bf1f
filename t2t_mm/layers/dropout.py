"""Dropout."""

import keras
from keras import ops


class Dropout(keras.layers.Dropout):
    """Keras's dropout, drawn in float32 whatever the compute type.

    Uniform numbers in bfloat16 are multiples of 1/128, and a share of 0.1 would drop 0.1016 without making up for it.
    """

    def call(self, x, training=False):  # any shape
        return ops.cast(super().call(ops.cast(x, "float32"), training=training), x.dtype)
