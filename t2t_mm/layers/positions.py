"""What a batch's sequences fix for all layers, computed once a batch."""

from collections.abc import Callable, Hashable
from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import check_features, check_padding
from t2t_mm.layers.tensors import Tensor
from t2t_mm.layers.timing import timing_signal


class Positions:
    """Sizes, padding as numbers, timing and masks of the sequences of one batch.

    Layers keep sequences flat, [N, D] with N = B·L: only the depthwise convolutions and the attention need the two
    dimensions apart, and reshaping for every other operation would cost more nodes than the operations themselves.

    Args:
      padding: [B, L] boolean, or None where nothing is padded; then `x` says the sizes.
      x: [B, L, ...], only needed without padding.
    """

    def __init__(self, padding: Tensor, x: Tensor = None):
        self.batch, self.length = ops.shape(x if padding is None else padding)[:2]
        self.padding = ops.zeros([self.batch, self.length], "bool") if padding is None else padding
        self._found: dict = {}
        self._dropouts = 0

    @staticmethod
    def of(
        padding: Tensor, x: Tensor, names: tuple[str, str] = ("x", "padding"), depth: int | None = None
    ) -> "Positions":
        """Those of `padding`, which may be Positions already: so that several parts of a model share them.

        Args:
          x: [B, L, D]. names: what the caller calls the two, for messages. depth: the D that the caller was built for.

        Raises:
          ValueError: x is not [B, L, depth], or the padding is not boolean [B, L].
        """
        check_features(x, names[0], "[B, L, D]", depth)
        shared = isinstance(padding, Positions)
        if padding is not None:
            check_padding(padding.padding if shared else padding, names[1], x, axes=2)
        return padding if shared else Positions(padding, x)

    def once(self, key: Hashable, make: Callable) -> Any:
        """`make()`, computed at the first call for `key` only."""
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]

    def flatten(self, x: Tensor) -> Tensor:  # [B, L, D] -> [N, D]
        return ops.reshape(x, [-1, x.shape[-1]])

    def unflatten(self, x: Tensor) -> Tensor:  # [N, D] -> [B, L, D]
        return ops.reshape(x, [-1, self.length, x.shape[-1]])

    def valid(self) -> Tensor:  # -> [N] boolean
        """False where a position is padding."""
        return self.once("valid", lambda: ops.reshape(ops.logical_not(self.padding), [-1]))

    def kept(self, dtype: Any) -> Tensor:  # -> [N, 1]
        """1 for a position, 0 where it is padding."""
        make = lambda: ops.cast(self.valid(), dtype)[:, None]  # noqa: E731
        return self.once(("kept", keras.backend.standardize_dtype(dtype)), make)

    def timing(self, depth: int, dtype: Any) -> Tensor:  # -> [N, D]
        """The timing signal of every position (paper, 2.2)."""

        def make():
            signal = timing_signal(self.length, depth, dtype=dtype)
            return ops.reshape(ops.broadcast_to(signal[None], [self.batch, self.length, depth]), [-1, depth])

        return self.once(("timing", depth, keras.backend.standardize_dtype(dtype)), make)

    def unseen(self, causal: bool) -> Tensor:  # -> [B, 1, 1 or L, L] float32
        """What is added to attention's logits: −1e9 where a query must not look, padding or (causal) a later position."""

        def make():
            blocked = self.padding[:, None, None, :]
            if causal:
                order = ops.arange(self.length)
                blocked = ops.logical_or(blocked, order[:, None] < order[None, :])
            return ops.cast(blocked, "float32") * -1e9

        return self.once(("unseen", causal), make)

    def random_bits(self, depth: int, seed_generator: keras.random.SeedGenerator) -> tuple[Tensor, int]:
        """[N, D] int32, drawn once for all dropouts of these positions, and the number of this one among them."""
        make = lambda: keras.random.randint(  # noqa: E731
            [self.batch * self.length, depth], -(2**31), 2**31 - 1, dtype="int32", seed=seed_generator
        )
        bits = self.once(("bits", depth), make)
        self._dropouts += 1
        return bits, self._dropouts
