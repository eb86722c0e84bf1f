"""Compares the mixture-of-experts layer with a dense feed-forward layer that has as many active parameters."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from t2t_mm.lab.benchmarks.timing import both_passes, memory_bandwidth, seconds
from t2t_mm.layers.moe import MixtureOfExperts


def run(
    depth: int = 256,
    hidden: int = 512,
    chosen: int = 2,
    experts: Sequence[int] = (4, 16, 60, 240, 512),
    tokens: int = 1024,
    token_counts: Sequence[int] = (256, 1024, 4096, 8192),
    token_experts: int = 16,
    repeats: int = 9,
) -> dict[str, dict[str, float]]:
    """Times the forward and backward pass of one layer in training mode, with random gates.

    The dense layer has `chosen · hidden` hidden units, so that a token uses the same number of weights in both layers.

    Args:
      experts: numbers of experts, each measured with `tokens` tokens.
      token_counts: numbers of tokens, each measured with `token_experts` experts.

    Returns:
      For each case, the milliseconds of both layers and their ratio, and the ratio that memory traffic alone would
      cause: the experts' weights are read in both passes and their gradients written, at the speed of a plain copy.
    """
    bandwidth = memory_bandwidth()
    cases = {(pool, tokens) for pool in experts} | {(token_experts, count) for count in token_counts}
    return {
        f"{pool} experts, {count} tokens": _case(depth, hidden, chosen, pool, count, repeats, bandwidth)
        for pool, count in sorted(cases)
    }


def _case(depth, hidden, chosen, pool, count, repeats, bandwidth) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    x = tf.random.normal([1, count, depth])
    mixture = MixtureOfExperts(pool, chosen, hidden)
    mixture.build((None, None, depth))
    mixture.gate.assign(tf.random.normal(mixture.gate.shape) * depth**-0.5)
    dense = keras.Sequential(
        [keras.layers.Dense(chosen * hidden, activation="relu", use_bias=False), keras.layers.Dense(depth, use_bias=False)]
    )
    dense.build((None, None, depth))
    signature = [tf.TensorSpec([1, None, depth])]
    sparse = both_passes(
        lambda x: mixture(x, tf.zeros(tf.shape(x)[:2], tf.bool), training=True)[0], mixture.trainable_weights, signature
    )
    fixed = both_passes(dense, dense.trainable_weights, signature)
    sparse_seconds, dense_seconds = seconds(lambda: sparse(x), lambda: fixed(x), repeats=repeats)
    moved = 3 * 4 * pool * 2 * depth * hidden  # bytes: two reads and one write of two float32 matrices per expert
    return {
        "milliseconds": 1e3 * sparse_seconds,
        "dense_milliseconds": 1e3 * dense_seconds,
        "over_dense": sparse_seconds / dense_seconds,
        "weights_moved_over_dense": moved / bandwidth / dense_seconds,
    }
