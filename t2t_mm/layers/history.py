"""What step-by-step decoding remembers, and where each hypothesis finds its own past in it."""

from collections.abc import Callable
from typing import Any

from keras import ops

from t2t_mm.layers.tensors import Tensor
from t2t_mm.layers.timing import timing_signal


def scatter(memory: Tensor, rows: Tensor, values: Tensor) -> Tensor:  # [N, ...], [n], [n, ...] -> [N, ...]
    """`memory` with `values` in its `rows`."""
    return ops.scatter_update(memory, rows[:, None], values)


class History:
    """One position of step-by-step decoding, common to all layers.

    A layer's memory is written at each position and never moved: hypothesis j of an example writes to slot j. When a
    search goes on from another hypothesis' past, only `ancestors` changes, and every layer reads through it.

    Args:
      position: the position now, an int or a scalar tensor.
      ancestors: [B, K, L] int32: `ancestors[b, k, t]` is the slot that hypothesis k's past wrote to at position t
        (its own, k, at this position and later). None where each example has one hypothesis.
      write: how memory is written, `scatter` or what does the same faster.
    """

    def __init__(self, position: Tensor, ancestors: Tensor = None, write: Callable = scatter):
        self.position, self.ancestors, self._write = ops.cast(position, "int32"), ancestors, write
        self.width = 1 if ancestors is None else ancestors.shape[1]  # K
        self._found: dict = {}  # what several layers ask for is computed once

    def _once(self, key, make):
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]

    def timing(self, depth: int, dtype: Any) -> Tensor:  # -> [1, D]
        """The timing signal of this position."""
        return self._once(("timing", depth, dtype), lambda: timing_signal(1, depth, start=self.position, dtype=dtype))

    def remember(self, ring: Tensor, x: Tensor) -> Tensor:  # [M, B·K, D], [B·K, D] -> [M, B·K, D]
        """`ring` with this position's input in place of the one M positions ago."""
        slots = ring.shape[0]
        place = self._once(("place", slots), lambda: ops.reshape(ops.mod(self.position, slots), [1]))
        return self._write(ring, place, x[None])

    def convolve(self, ring: Tensor, kernel: Tensor, dilation: int) -> Tensor:  # [M, B·K, D], [k, D] -> [B·K, D]
        """The kernel over the inputs k − 1, …, 1 times `dilation` positions ago and now; zeros before the first."""
        count, slots = kernel.shape[0], ring.shape[0]
        if self.ancestors is None and count == slots:
            # All of the ring is wanted: turn the kernel, which is smaller.
            turned = self._once(
                ("turned", slots),
                lambda: slots - 1 - ops.mod(self.position - ops.arange(slots, dtype="int32"), slots),
            )
            return ops.sum(ring * ops.take(kernel, turned, axis=0)[:, None], axis=0)
        return ops.sum(self._taps(ring, count, dilation) * kernel[:, None], axis=0)

    def _taps(self, ring, count, distance):  # -> [count, B·K, D]
        slots, rows = ring.shape[0], ops.shape(ring)[1]
        if self.ancestors is None:
            places = self._once((count, distance), lambda: ops.mod(self._times(count, distance), slots))
            return ops.take(ring, places, axis=0)
        places = self._once(
            (count, distance),
            lambda: ops.mod(self._times(count, distance), slots)[:, None] * rows + self._rows(count, distance),
        )
        return ops.take(ops.reshape(ring, [-1, ring.shape[2]]), places, axis=0)

    def _times(self, count, distance):  # -> [count]
        return self.position - distance * ops.arange(count - 1, -1, -1, dtype="int32")

    def _rows(self, count, distance):  # -> [count, B·K], the row of each hypothesis' ancestor
        slots = ops.take(self.ancestors, ops.maximum(self._times(count, distance), 0), axis=2)  # [B, K, count]
        rows = slots + self.width * ops.arange(ops.shape(slots)[0], dtype="int32")[:, None, None]
        return ops.reshape(ops.transpose(rows, [2, 0, 1]), [count, -1])

    def append(self, cache: Tensor, x: Tensor) -> Tensor:  # [B, G, L, K, D/G], [B, G, K, D/G] -> [B, G, L, K, D/G]
        """`cache` with this position's keys or values."""
        shape = ops.shape(cache)
        length, width, depth = shape[2], cache.shape[3], cache.shape[4]
        rows = self._once(
            ("append", cache.shape[1]),
            lambda: ops.arange(shape[0] * shape[1], dtype="int32") * length + self.position,
        )
        flat = self._write(ops.reshape(cache, [-1, width, depth]), rows, ops.reshape(x, [-1, width, depth]))
        return ops.reshape(flat, [-1, cache.shape[1], length, width, depth])

    def blocked(self, length: Tensor) -> Tensor:  # -> boolean, broadcasting to [B, 1, K, length·K]
        """True where a slot is not of a hypothesis' past."""
        return self._once("blocked", lambda: self._blocked(length))

    def _blocked(self, length):
        later = ops.arange(length, dtype="int32") > self.position
        if self.ancestors is None:
            return later[None, None, None, :]
        slots = ops.arange(self.width, dtype="int32")
        other = self.ancestors[:, :, :length, None] != slots  # [B, K, L, K]
        blocked = ops.logical_or(other, later[:, None])
        return ops.reshape(blocked, [-1, 1, self.width, length * self.width])
