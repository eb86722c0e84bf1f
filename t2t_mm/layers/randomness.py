"""Where layers draw random numbers: seeds that differ between replicas, and dropout."""

import contextlib
import contextvars

import keras
from keras import ops

from t2t_mm.layers.checks import share

_REPLICA = contextvars.ContextVar("replica", default=None)


@contextlib.contextmanager
def of_replica(index):
    """What is traced inside draws the numbers of this replica; `index` is an int or a scalar tensor, 0 for the first."""
    token = _REPLICA.set(index)
    try:
        yield
    finally:
        _REPLICA.reset(token)


class SeedGenerator(keras.random.SeedGenerator):
    """Keras's, with another seed on each replica.

    Keras's has one state for all replicas, so that they drop the same units of different examples and add the same noise
    to different tokens' gates. The first replica draws what one device alone does.
    """

    def next(self, ordered=True):
        seed = super().next(ordered)
        index = _REPLICA.get()
        if index is None:
            return seed
        dtype = keras.backend.standardize_dtype(seed.dtype)
        return seed + ops.stack([ops.cast(index, dtype), ops.zeros((), dtype)])


class Dropout(keras.layers.Layer):
    """Dropout, drawn in float32 whatever the compute type, by each replica for itself.

    Uniform numbers in bfloat16 are multiples of 1/128, and a share of 0.1 would drop 0.1016 without making up for it.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = share(rate, "dropout")
        if rate:
            self.seed_generator = SeedGenerator()

    def call(self, x, training=False):  # any shape
        if not training or not self.rate:
            return x
        return ops.cast(keras.random.dropout(ops.cast(x, "float32"), self.rate, seed=self.seed_generator), x.dtype)
