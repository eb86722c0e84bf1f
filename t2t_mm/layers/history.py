"""The memory of step-by-step decoding, and how each hypothesis finds its own past in it."""

from collections.abc import Callable
from typing import Any

from keras import ops

from t2t_mm.layers.tensors import Tensor
from t2t_mm.layers.timing import timing_signal


def scatter(memory: Tensor, rows: Tensor, values: Tensor) -> Tensor:  # [N, ...], [n], [n, ...] -> [N, ...]
    """Returns `memory` with its `rows` replaced by `values`."""
    return ops.scatter_update(memory, rows[:, None], values)


class History:
    """One position of step-by-step decoding, which all layers share.

    At each position, hypothesis j of an example writes to slot j of each layer's memory, and what is written is never
    moved. When a search continues the past of another hypothesis, only `ancestors` changes, through which all layers read.

    Args:
      position: the current position, an int or a scalar tensor.
      ancestors: [B, K, L] int32. `ancestors[b, k, t]` is the slot to which the past of hypothesis k wrote at position t.
        At the current position and later it is k. Default: each example has only one hypothesis.
      write: the function that writes to the memory, `scatter` or a faster equivalent.
    """

    def __init__(self, position: Tensor, ancestors: Tensor = None, write: Callable = scatter):
        self.position, self.ancestors, self._write = ops.cast(position, "int32"), ancestors, write
        self.width = 1 if ancestors is None else ancestors.shape[1]  # K
        self._found: dict = {}  # what several layers need is computed once

    def _once(self, key, make):
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]

    def timing(self, depth: int, dtype: Any) -> Tensor:  # -> [1, D]
        """The timing signal of this position."""
        return self._once(("timing", depth, dtype), lambda: timing_signal(1, depth, start=self.position, dtype=dtype))

    def remember(self, ring: Tensor, x: Tensor) -> Tensor:  # [M, B·K, D], [B·K, D] -> [M, B·K, D]
        """Returns `ring` with the input of this position in place of the one from M positions before."""
        slots = ring.shape[0]
        place = self._once(("place", slots), lambda: ops.reshape(ops.mod(self.position, slots), [1]))
        return self._write(ring, place, x[None])

    def convolve(self, ring: Tensor, kernel: Tensor, dilation: int) -> Tensor:  # [M, B·K, D], [k, D] -> [B·K, D]
        """Applies the kernel to the inputs at this position and 1, …, k − 1 times `dilation` positions before it.

        Inputs before the first position are zero.
        """
        count, slots = kernel.shape[0], ring.shape[0]
        if self.ancestors is None and count == slots:
            # The whole ring is needed. The kernel is rotated instead of the ring, because it is smaller.
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
        """Returns `cache` with the keys or values of this position."""
        shape = ops.shape(cache)
        length, width, depth = shape[2], cache.shape[3], cache.shape[4]
        rows = self._once(
            ("append", cache.shape[1]),
            lambda: ops.arange(shape[0] * shape[1], dtype="int32") * length + self.position,
        )
        flat = self._write(ops.reshape(cache, [-1, width, depth]), rows, ops.reshape(x, [-1, width, depth]))
        return ops.reshape(flat, [-1, cache.shape[1], length, width, depth])

    def blocked(self, length: Tensor) -> Tensor:  # -> boolean, broadcasting to [B, 1, K, length·K]
        """Returns True for each slot that does not belong to a hypothesis' past."""
        return self._once("blocked", lambda: self._blocked(length))

    def _blocked(self, length):
        later = ops.arange(length, dtype="int32") > self.position
        if self.ancestors is None:
            return later[None, None, None, :]
        slots = ops.arange(self.width, dtype="int32")
        other = self.ancestors[:, :, :length, None] != slots  # [B, K, L, K]
        blocked = ops.logical_or(other, later[:, None])
        return ops.reshape(blocked, [-1, 1, self.width, length * self.width])
