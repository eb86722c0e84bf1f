"""Timing of compiled functions, and the machine's own limits to compare with."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf


def seconds(*functions: Callable, repeats: int = 9) -> list[float]:
    """Median seconds of a call of each, the functions taking turns, so that a drifting machine is fair to all."""
    for function in functions:
        wait(function())
        wait(function())
    found = np.empty([repeats, len(functions)])
    for row in found:
        for index, function in enumerate(functions):
            start = time.perf_counter()
            wait(function())
            row[index] = time.perf_counter() - start
    return list(np.median(found, axis=0))


def wait(result) -> None:
    """Returns when every tensor of `result` is there."""
    for tensor in tf.nest.flatten(result):
        tensor.numpy()


def both_passes(call: Callable, weights: Sequence, signature: Sequence[tf.TensorSpec] = ()) -> Callable:
    """A compiled forward and backward pass of `call`: the gradients of the weights and of floating-point arguments.

    The loss is the sum of squares, whose gradient differs from place to place, as that of a real one.
    """

    @tf.function(autograph=False, input_signature=signature)
    def passes(*arguments):
        watched = [argument for argument in arguments if argument.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            loss = tf.reduce_sum(tf.square(tf.cast(call(*arguments), tf.float32)))
        gradients = tape.gradient(loss, [*watched, *(weight.value for weight in weights)])
        return [tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]

    return passes


def matmul_peak(dtype: str, rows: int = 2048, inner: int = 2048, columns: int = 2048) -> float:
    """FLOP/s of products of matrices [rows, inner] and [inner, columns], the best of five times.

    Of small ones several are computed in one call, whose own cost then counts little.
    """
    count = min(64, max(1, 2048**3 // (rows * inner * columns) // 4))
    factors = [tf.cast(tf.random.normal([rows, inner]), dtype) for _ in range(count)]
    b = tf.cast(tf.random.normal([inner, columns]), dtype)
    products = tf.function(lambda: [tf.matmul(a, b)[0, 0] for a in factors])
    wait(products())
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        wait(products())
        best = min(best, time.perf_counter() - start)
    return 2.0 * rows * inner * columns * count / best


def memory_bandwidth(megabytes: int = 256) -> float:
    """Bytes/s read and written while a large array is copied, the best of five."""
    source = np.ones(megabytes * 2**17)
    target = np.empty_like(source)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2.0 * source.nbytes / best
