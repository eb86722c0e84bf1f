"""Times compiled functions, and measures the limits of the machine for comparison."""

import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf


def seconds(*functions: Callable, repeats: int = 9) -> list[float]:
    """Returns the median seconds of a call of each function.

    The functions take turns, so that a change in the machine's speed affects all of them alike.
    """
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


def wait(result: object) -> None:
    """Waits until `result` has been computed, whatever its size.

    It waits for the devices, because reading the tensors would copy them: with many experts, hundreds of megabytes of
    gradients, which is not a part of what is timed.
    """
    tf.test.experimental.sync_devices()


def both_passes(call: Callable, weights: Sequence, signature: Sequence[tf.TensorSpec] = ()) -> Callable:
    """Compiles a forward and backward pass of `call`, with gradients for the weights and the floating-point arguments.

    The loss is the sum of squares, because its gradient varies from element to element like that of a real loss.
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
    """Returns the FLOP/s of products of matrices `[rows, inner]` and `[inner, columns]`, the best of five runs.

    Several small products are computed in one call, so that the overhead of the call matters little. There is at least one
    for each core, because a single product only uses its share of them after `strategy.divide_cores`.
    """
    count = min(64, max(len(os.sched_getaffinity(0)), 2048**3 // (rows * inner * columns) // 4))
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
    """Returns the bytes read and written per second while a large array is copied, the best of five runs."""
    source = np.ones(megabytes * 2**17)
    target = np.empty_like(source)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2.0 * source.nbytes / best
