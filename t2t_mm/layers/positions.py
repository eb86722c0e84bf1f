"""The properties of the sequences of a batch that all layers share. They are computed once for each batch."""

from collections.abc import Callable, Hashable
from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import check_features, check_padding
from t2t_mm.layers.tensors import Tensor
from t2t_mm.layers.timing import timing_signal


class Positions:
    """The sizes, padding, timing signals and masks of the sequences of one batch.

    Layers keep sequences flat, [N, D] with N = B·L. Only the depthwise convolutions and the attention need the two
    dimensions separately, and reshaping for every other operation would need more graph nodes than the operations.

    Args:
      padding: [B, L] boolean. Default: no position is padded, and the sizes are those of `x`.
      x: [B, L, ...]; only needed without `padding`.
    """

    def __init__(self, padding: Tensor, x: Tensor = None):
        # Ints where the shapes are static and tensors elsewhere, so that a graph for one shape contains no computations of
        # sizes.
        self.batch, self.length = ops.shape(x if padding is None else padding)[:2]
        self.padding = ops.zeros([self.batch, self.length], "bool") if padding is None else padding
        # Tensors of the graph that is being traced. An object is therefore made anew in each trace, from the padding.
        self._found: dict = {}
        self._dropouts = 0

    @staticmethod
    def of(padding: Tensor, x: Tensor, names: tuple[str, str] = ("x", "padding"), depth: int | None = None) -> "Positions":
        """Returns the Positions of `padding`, which may be Positions already, so that the parts of a model share them.

        Args:
          padding: [B, L] boolean, Positions, or None if no position is padded.
          x: [B, L, D].
          names: the caller's names of `x` and `padding`, for messages.
          depth: the depth D for which the caller was built.

        Raises:
          ValueError: x is not [B, L, depth], or the padding is not boolean [B, L].
        """
        check_features(x, names[0], "[B, L, D]", depth)
        shared = isinstance(padding, Positions)
        if padding is not None:
            check_padding(padding.padding if shared else padding, names[1], x, axes=2)
        return padding if shared else Positions(padding, x)

    def once(self, key: Hashable, make: Callable) -> Any:
        """Returns `make()`, which is only computed by the first call with this `key`."""
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]

    def flatten(self, x: Tensor) -> Tensor:  # [B, L, D] -> [N, D]
        return ops.reshape(x, [-1, x.shape[-1]])

    def unflatten(self, x: Tensor) -> Tensor:  # [N, D] -> [B, L, D]
        return ops.reshape(x, [-1, self.length, x.shape[-1]])

    def valid(self) -> Tensor:  # -> [N] boolean
        """Returns False where a position is padded, and True elsewhere."""
        return self.once("valid", lambda: ops.reshape(ops.logical_not(self.padding), [-1]))

    def kept(self, dtype: Any) -> Tensor:  # -> [N, 1]
        """Returns 0 where a position is padded, and 1 elsewhere."""
        make = lambda: ops.cast(self.valid(), dtype)[:, None]  # noqa: E731
        return self.once(("kept", keras.backend.standardize_dtype(dtype)), make)

    def timing(self, depth: int, dtype: Any) -> Tensor:  # -> [N, D]
        """Returns the timing signal of every position (paper, 2.2)."""

        def make():
            # Padding gets the signal, too; it does no harm, because padded positions are zeroed or masked wherever they are
            # read.
            signal = timing_signal(self.length, depth, dtype=dtype)
            return ops.reshape(ops.broadcast_to(signal[None], [self.batch, self.length, depth]), [-1, depth])

        return self.once(("timing", depth, keras.backend.standardize_dtype(dtype)), make)

    def unseen(self, causal: bool) -> Tensor:  # -> [B, 1, 1 or L, L] float32
        """Returns the mask that is added to the logits of attention.

        It is −1e9 at the positions that a query must not attend to: padding and, if `causal`, later positions.
        """

        def make():
            blocked = self.padding[:, None, None, :]
            if causal:
                order = ops.arange(self.length)
                # A position may attend to itself: its input is the previous target, not the one that it predicts.
                blocked = ops.logical_or(blocked, order[:, None] < order[None, :])
            # Finite, see `attention_weights`.
            return ops.cast(blocked, "float32") * -1e9

        return self.once(("unseen", causal), make)

    def random_bits(self, depth: int, seed_generator: keras.random.SeedGenerator) -> tuple[Tensor, int]:
        """Returns [N, D] int32, which all dropouts of these positions share, and the number of this dropout among them."""
        make = lambda: keras.random.randint(  # noqa: E731
            [self.batch * self.length, depth], -(2**31), 2**31 - 1, dtype="int32", seed=seed_generator
        )
        bits = self.once(("bits", depth), make)
        # Counted while tracing, so that every trace of the same model gives the same number to the same dropout.
        self._dropouts += 1
        return bits, self._dropouts
