"""The random numbers of layers: seeds that differ between replicas, and dropout."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import share
from t2t_mm.layers.tensors import Tensor

_REPLICA: contextvars.ContextVar[Any] = contextvars.ContextVar("replica", default=None)
_DRAWS: contextvars.ContextVar["Draws | None"] = contextvars.ContextVar("draws", default=None)


@contextlib.contextmanager
def of_replica(index: int | Tensor | None) -> Iterator[None]:
    """Makes layers that are traced in this context draw the random numbers of this replica.

    Args:
      index: an int or a scalar tensor, 0 for the first replica.
    """
    token = _REPLICA.set(index)
    try:
        yield
    finally:
        _REPLICA.reset(token)


def multiplier(index: int) -> int:
    """Returns an odd signed 32-bit number that looks random: the element `index` of the splitmix64 sequence."""
    z = (index * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    # Odd, because a multiplication modulo 2^32 is only invertible for odd factors (see `drop`).
    odd = (z ^ (z >> 31)) % 2**32 | 1
    # As a signed number, because the random bits are int32, and the product wraps around in the same way.
    return odd - 2**32 if odd >= 2**31 else odd


class Draws:
    """The seeds of the operations traced in this context, all derived from one seed without reading or writing a state.

    With a common state, problems whose gradients are computed at the same time would draw in an arbitrary order.
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
        # Operations differ in the second element of the seed and replicas in the first (see `SeedGenerator.next`), so that no
        # operation of one replica draws the numbers of another operation on another replica.
        return ops.cast(self._seed, dtype) + ops.convert_to_tensor([0, mixed % 2**30], dtype)


class SeedGenerator(keras.random.SeedGenerator):
    """Keras's seed generator, with a different seed on each replica.

    Keras's own generator has one state for all replicas, so that all of them would drop the same units of different
    examples and add the same noise to the gates of different tokens. The first replica draws the same numbers as a single
    device.
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
        # Replica 0 adds nothing, and therefore draws the numbers of a single device.
        return seed + ops.stack([ops.cast(index, dtype), ops.zeros((), dtype)])


def is_random_state(variable: keras.Variable) -> bool:
    """Says whether a variable of a model is the state of a generator of random numbers, and not a weight."""
    return variable.path.endswith("/seed_generator_state")


def looks_like_random_state(dtype: str, shape: Sequence[int]) -> bool:
    """Says whether a stored array, which has no path, is the state of a generator: two integers of Keras's types for seeds."""
    return dtype in ("int64", "uint32") and tuple(shape) == (2,)


def drop(x: Tensor, bits: Tensor, factor: Tensor, rate: float) -> Tensor:
    """Sets a fraction `rate` of x [N, D] to zero, and scales up the rest to compensate for it.

    Drawing random numbers is more expensive than using them, so that all dropouts of a batch share one draw: `bits`, int32
    numbers of the whole range. Each dropout multiplies them with its own odd `factor`. Modulo 2^32 this is a bijection, so
    that the products are as uniform as the draw, and the upper digits of two such products are nearly independent.
    """
    # The products are uniform over all signed 32-bit numbers, of which a fraction `rate` is below this one.
    least = round(rate * 2**32) - 2**31
    kept = ops.cast(bits * factor >= least, "float32")
    # Scaled in training and not in inference, so that exported graphs contain nothing of dropout. In float32, because bfloat16
    # would round the factor of a rate of 0.4, 1.6667, to 1.6641 in each of the model's dropouts.
    return ops.cast(ops.cast(x, "float32") * (kept * (1.0 / (1.0 - rate))), x.dtype)


@keras.saving.register_keras_serializable(package="t2t_mm")
class Dropout(keras.layers.Layer):
    """Dropout that each replica draws for itself, in float32 even if the compute type is another one.

    Uniform numbers in bfloat16 are multiples of 1/128, so that a rate of 0.1 would drop a fraction of 0.1016 but scale the
    rest for 0.1.

    Args:
      rate: fraction that is dropped in training, at least 0 and less than 1.
    """

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = share(rate, "dropout")
        # A generator has a state, which would be a variable of the model that nothing uses.
        if rate:
            self.seed_generator = SeedGenerator()

    def get_config(self) -> dict:
        return super().get_config() | {"rate": self.rate}

    def call(self, x: Tensor, training: bool = False) -> Tensor:  # any shape
        if not training or not self.rate:
            return x
        return ops.cast(keras.random.dropout(ops.cast(x, "float32"), self.rate, seed=self.seed_generator), x.dtype)

    def bits(self, positions: Any, depth: int, training: bool = False) -> tuple[Tensor | None, Tensor | None]:
        """Returns the random bits and the factor with which `drop` drops from x [N, D], or two Nones to drop nothing.

        Args:
          positions: the `Positions` of x.
        """
        if not training or not self.rate:
            return None, None
        # The first dropout that draws for a depth uses its own generator; the others only multiply what it has drawn.
        bits, index = positions.random_bits(depth, self.seed_generator)
        return bits, ops.convert_to_tensor(multiplier(index), "int32")
