"""Timing of compiled functions, and the machine's own limits to compare with."""

import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf


def seconds(*functions: Callable, repeats: int = 9) -> list[float]:
    """Median seconds of a call of each, the functions taking turns, so that a drifting machine is fair to all."""
    for function in functions:
        _wait(function())
        _wait(function())
    found = np.empty([repeats, len(functions)])
    for row in found:
        for index, function in enumerate(functions):
            start = time.perf_counter()
            _wait(function())
            row[index] = time.perf_counter() - start
    return list(np.median(found, axis=0))


def _wait(result) -> None:
    for tensor in tf.nest.flatten(result):
        tensor.numpy()


def matmul_peak(dtype: str, size: int = 2048) -> float:
    """FLOP/s of the product of two square matrices, the best of five."""
    a = tf.cast(tf.random.normal([size, size]), dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.cast(tf.matmul(a, a)[:1], tf.float32)))
    _wait(product())
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        _wait(product())
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


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
