"""Convolutions and pooling as sums, products and maxima of shifted inputs, for compilers that fuse such operations.

On a GPU, XLA turns each of them into one kernel with its gradient. The libraries' own kernels for grouped convolutions are
slower, and their gradients become one convolution per group when several models are computed at once (`jax.vmap`).
"""

import functools
from collections.abc import Iterator

import keras
from keras import ops

from t2t_mm.layers.tensors import Tensor


@functools.cache
def preferred() -> bool:
    """Returns whether the layers should use this module: with JAX on an accelerator."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() != "cpu"


def depthwise(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Convolves each channel of x [B, H, W, C] with its own filter of kernel [h, w, C, 1], without padding."""
    rows, columns = kernel.shape[:2]
    taps = [kernel[row, column, :, 0] for row in range(rows) for column in range(columns)]
    products = [part * tap for part, tap in zip(_shifted(x, (rows, columns), (stride, stride)), taps)]
    return functools.reduce(ops.add, products)


def convolve(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Convolves x [B, H, W, C] with kernel [h, w, C, F] as one matrix product for all taps, without padding."""
    rows, columns, channels, filters = kernel.shape
    windows = ops.concatenate(list(_shifted(x, (rows, columns), (stride, stride))), axis=-1)  # [B, H', W', h·w·C]
    return ops.matmul(windows, ops.reshape(kernel, [rows * columns * channels, filters]))


def largest(x: Tensor, size: tuple[int, int], strides: tuple[int, int]) -> Tensor:
    """Returns the maximum of each window of x [B, H, W, C], without padding."""
    return functools.reduce(ops.maximum, _shifted(x, size, strides))


def _shifted(x: Tensor, size: tuple[int, int], strides: tuple[int, int]) -> Iterator[Tensor]:
    """Yields x as it is seen by each place of a window, row by row."""
    (rows, columns), (down, right) = size, strides
    height, width = (ops.shape(x)[1] - rows) // down * down + 1, (ops.shape(x)[2] - columns) // right * right + 1
    for row in range(rows):
        for column in range(columns):
            yield x[:, row : row + height : down, column : column + width : right]
