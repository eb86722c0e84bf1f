"""Where layers draw random numbers: seeds that differ between replicas, and dropout."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import share
from t2t_mm.layers.tensors import Tensor

_REPLICA: contextvars.ContextVar[Any] = contextvars.ContextVar("replica", default=None)
_DRAWS: contextvars.ContextVar["Draws | None"] = contextvars.ContextVar("draws", default=None)


@contextlib.contextmanager
def of_replica(index: int | Tensor | None) -> Iterator[None]:
    """What is traced inside draws the numbers of this replica; `index` is an int or a scalar tensor, 0 for the first."""
    token = _REPLICA.set(index)
    try:
        yield
    finally:
        _REPLICA.reset(token)


def multiplier(index: int) -> int:
    """An odd number of 32 bits, signed, that looks random: the place of `index` in the sequence of splitmix64."""
    z = (index * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    odd = (z ^ (z >> 31)) % 2**32 | 1
    return odd - 2**32 if odd >= 2**31 else odd


class Draws:
    """Seeds of what is traced inside: all follow from one, so that no state is read or written.

    Problems whose gradients are computed at once would otherwise draw in whatever order they come.
    """

    def __init__(self, seed: Tensor):  # [2] integers
        self._seed, self._count = seed, 0

    def __enter__(self) -> "Draws":
        self._token = _DRAWS.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _DRAWS.reset(self._token)

    def next(self, dtype: Any) -> Tensor:  # -> [2]
        self._count += 1
        mixed = multiplier(self._count)
        return ops.cast(self._seed, dtype) + ops.convert_to_tensor([0, mixed % 2**30], dtype)


class SeedGenerator(keras.random.SeedGenerator):
    """Keras's, with another seed on each replica.

    Keras's has one state for all replicas, so that they drop the same units of different examples and add the same noise
    to different tokens' gates. The first replica draws what one device alone does.
    """

    def next(self, ordered: bool = True) -> Tensor:
        draws = _DRAWS.get()
        if draws is None:
            seed = super().next(ordered)
        else:
            seed = draws.next(keras.backend.standardize_dtype(self.state.dtype))
        index = _REPLICA.get()
        if index is None:
            return seed
        dtype = keras.backend.standardize_dtype(seed.dtype)
        return seed + ops.stack([ops.cast(index, dtype), ops.zeros((), dtype)])


def drop(x: Tensor, bits: Tensor, factor: Tensor, rate: float) -> Tensor:
    """x [N, D] with a share `rate` of it zero and the rest scaled up to make up for it.

    Random numbers cost more than what is done with them, so that all dropouts of a batch share one draw: `bits`, int32
    numbers of the whole range, of which each dropout takes the product with its own odd `factor`. Modulo 2^32 that is a
    bijection, as uniform as the draw, and the upper digits of two such products have next to nothing to do with one
    another.
    """
    least = round(rate * 2**32) - 2**31
    kept = ops.cast(bits * factor >= least, x.dtype)
    return x * (kept * (1.0 / (1.0 - rate)))


@keras.saving.register_keras_serializable(package="t2t_mm")
class Dropout(keras.layers.Layer):
    """Dropout, drawn in float32 whatever the compute type, by each replica for itself.

    Uniform numbers in bfloat16 are multiples of 1/128, and a share of 0.1 would drop 0.1016 without making up for it.
    """

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = share(rate, "dropout")
        if rate:
            self.seed_generator = SeedGenerator()

    def get_config(self) -> dict:
        return super().get_config() | {"rate": self.rate}

    def call(self, x: Tensor, training: bool = False) -> Tensor:  # any shape
        if not training or not self.rate:
            return x
        return ops.cast(keras.random.dropout(ops.cast(x, "float32"), self.rate, seed=self.seed_generator), x.dtype)

    def bits(self, positions: Any, depth: int, training: bool = False) -> tuple[Tensor | None, Tensor | None]:
        """What `drop` needs to drop from x [N, D] of `positions`: random bits and factor, or twice None to drop nothing."""
        if not training or not self.rate:
            return None, None
        bits, index = positions.random_bits(depth, self.seed_generator)
        return bits, ops.convert_to_tensor(multiplier(index), "int32")
