"""The timing signal (paper, 2.2)."""

from typing import Any

import numpy as np
from keras import ops

from t2t_mm.layers.tensors import Tensor


def timing_signal(length: Tensor, depth: int, start: int | Tensor = 0, dtype: Any = "float32") -> Tensor:
    """Returns the timing signal, `[sin(t·Δ(2i)), cos(t·Δ(2i))]` for each frequency `Δ(2i) = 1e4^(−2i/depth)`.

    Args:
      length: number of positions, an int or a scalar tensor.
      depth: number of channels, even.
      start: the first position, an int or a scalar tensor.

    Returns:
      [length, depth] of `dtype`. It is computed in float32, because bfloat16 cannot distinguish position 257 from 256.

    Raises:
      ValueError: the depth is odd.
    """
    if depth % 2:
        raise ValueError(f"timing_signal: depth is {depth}; it must be even (a sine and a cosine for each frequency).")
    delta = ops.convert_to_tensor(1e4 ** (-np.arange(0, depth, 2) / depth), "float32")
    positions = ops.cast(ops.arange(length) + start, "float32")
    angles = positions[:, None] * delta[None, :]  # [L, D/2]
    # The sine and the cosine of a frequency are next to each other, as in the paper's formula. Many implementations
    # put all sines before all cosines instead.
    pairs = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)  # [L, D/2, 2]
    return ops.cast(ops.reshape(pairs, [-1, depth]), dtype)
