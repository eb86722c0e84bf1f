"""The memory of step-by-step decoding, and how each hypothesis finds its own past there."""

from collections.abc import Callable

from keras import ops

from t2t_mm.layers.convolution import depthwise_conv
from t2t_mm.layers.tensors import Tensor
from t2t_mm.layers.timing import timing_signal


def scatter(memory: Tensor, rows: Tensor, values: Tensor, after: Tensor) -> Tensor:  # [N, ...], [n], [n, ...] -> [N, ...]
    """Returns `memory` with its `rows` replaced by `values`.

    Args:
      after: a tensor that must have been computed from `memory` before. Only an implementation that writes in place must
        wait for it.
    """
    # A functional update ignores `after`: it leaves the old memory to whoever still reads it.
    return ops.scatter_update(memory, rows[:, None], values)


class History:
    """One position of step-by-step decoding, which all layers share.

    At each position, hypothesis j of an example writes to slot j of each layer's memory, and nothing in the memory is ever
    moved. When a search continues the past of another hypothesis, only `ancestors` changes, through which all layers read.

    The inputs of a convolution with k taps and dilation d are stored as [d, k − 1, B·K, C]. Position t is in phase t mod d,
    at place (t // d) mod (k − 1), where it replaces the input (k − 1)·d positions earlier. One phase contains everything
    that the convolution reads.

    Args:
      position: the current position, an int or a scalar tensor.
      ancestors: [B, K, L] int32. `ancestors[b, k, t]` is the slot to which the past of hypothesis k wrote at position t.
        At the current position and later it is k. Default: each example has only one hypothesis.
      write: the function that writes to the memory, `scatter` or a faster equivalent.
    """

    def __init__(self, position: Tensor, ancestors: Tensor = None, write: Callable = scatter):
        self.position, self.ancestors, self._write = ops.cast(position, "int32"), ancestors, write
        self.width = 1 if ancestors is None else ancestors.shape[1]  # K
        self._found: dict = {}  # results that several layers need, each computed once

    def _once(self, key, make):
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]

    def timing(self, depth: int, scale: float) -> Tensor:  # -> [1, D]
        """Returns the timing signal of this position, times `scale`."""
        return self._once(("timing", depth, scale), lambda: scale * timing_signal(1, depth, start=self.position))

    def past(self, inputs: Tensor, kernels: Tensor) -> Tensor:  # [d, k − 1, B·K, C], [2(k − 1), 1, C, 1] -> [B·K, C]
        """Returns the contribution of the inputs before this position to the convolution at this position.

        Args:
          inputs: the stored inputs, which are zero before the first position.
          kernels: all taps except the last, twice in succession, so that a slice can begin with any tap.
        """
        dilation, taps = inputs.shape[:2]
        phase, place = self._where(dilation, taps)
        # The k − 1 places of a phase form a ring. Instead of rotating the ring, which would copy it, the kernel is read from a
        # rotated offset of its doubled form.
        recent = inputs[phase]  # [k − 1, B·K, C]
        # A hypothesis may continue another one, in whose slots its own past lies; without a beam, every slot is its own.
        if self.ancestors is not None:
            rows = self._once(("rows", dilation, taps), lambda: self._rows(dilation, taps))
            recent = ops.take(ops.reshape(recent, [-1, recent.shape[2]]), rows, axis=0)
        kernel = ops.slice(kernels, (taps - place, 0, 0, 0), (taps, *kernels.shape[1:]))
        # A native convolution with a kernel as high as its input. A product and a sum would pass over the memory three times.
        return ops.reshape(depthwise_conv(ops.expand_dims(recent, 0), kernel), [-1, recent.shape[2]])

    def remember(self, inputs: Tensor, x: Tensor, past: Tensor) -> Tensor:
        """Returns `inputs` with the input x [B·K, C] of this position stored. `past` is the result of the method `past`."""
        dilation, taps, _, channels = inputs.shape
        phase, place = self._where(dilation, taps)
        # As one axis of rows, so that the update replaces a single row, whatever the phase and the place.
        flat = ops.reshape(inputs, [dilation * taps, -1, channels])
        flat = self._write(flat, ops.reshape(phase * taps + place, [1]), ops.expand_dims(x, 0), past)
        return ops.reshape(flat, [dilation, taps, -1, channels])

    def _where(self, dilation, taps):
        make = lambda: (self.position % dilation, self.position // dilation % taps)  # noqa: E731
        return self._once(("where", dilation, taps), make)

    def _rows(self, dilation, taps):  # -> [k − 1, B·K], the rows of the inputs of each hypothesis' ancestors
        place = self._where(dilation, taps)[1]
        slots = ops.arange(taps, dtype="int32")
        # The position at which each place was written last: place − 1 one dilation ago, `place` itself, which is about to be
        # replaced, k − 1 dilations ago.
        times = self.position - dilation * (taps - (slots - place) % taps)
        batch = ops.shape(self.ancestors)[0]
        # Places with negative times have not been written and are zero in all slots, so any slot will do.
        found = ops.take(self.ancestors, ops.maximum(times, 0), axis=2)  # [B, K, k − 1]
        rows = found + self.width * ops.arange(batch, dtype="int32")[:, None, None]
        rows = ops.reshape(ops.transpose(rows, [2, 0, 1]), [taps, -1])
        return rows + slots[:, None] * (batch * self.width)

    def append(self, cache: Tensor, x: Tensor) -> Tensor:  # [2, N, L, K·C], [2·N, K·C] -> [2, N, L, K·C]
        """Returns `cache` with the keys and values x of this position, for the N heads of all examples."""
        # The length is dynamic, because the room of the cache grows during a search (see `IncrementalDecoder.extend`).
        length, channels = ops.shape(cache)[2], cache.shape[3]
        rows = self._once("append", lambda: self._append_rows(cache))
        # This overwrites the slots of a position that nobody has read yet.
        flat = self._write(ops.reshape(cache, [-1, channels]), rows, x, x)
        return ops.reshape(flat, [2, -1, length, channels])

    def _append_rows(self, cache):
        heads, length = ops.shape(cache)[1:3]
        return ops.arange(2 * heads, dtype="int32") * length + self.position

    def unseen(self, length: Tensor, heads: int) -> Tensor:  # -> float32, broadcasting to [B·G, K, length·K]
        """Returns the mask for the logits of G heads: −1e9 for each slot outside the past of a hypothesis, otherwise 0."""
        return self._once("unseen", lambda: self._unseen(length, heads))

    def _unseen(self, length, heads):
        # The cache has room for later positions, which contain zeros. A zero key would still get a weight.
        later = ops.arange(length, dtype="int32") > self.position
        if self.ancestors is None:
            return ops.cast(later, "float32") * -1e9
        slots = ops.arange(self.width, dtype="int32")
        # At each position, a hypothesis sees exactly one of the K slots of its example: the one to which its past wrote.
        other = self.ancestors[:, :, :length, None] != slots  # [B, K, L, K]
        blocked = ops.cast(ops.logical_or(other, later[:, None]), "float32") * -1e9
        blocked = ops.reshape(blocked, [-1, 1, self.width, length * self.width])
        return ops.reshape(ops.repeat(blocked, heads, axis=1), [-1, self.width, length * self.width])
