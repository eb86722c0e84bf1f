"""Tests layer normalisation and its handwritten gradients against automatic differentiation of its formula."""

import keras
import numpy as np
import pytest
from keras import ops

from t2t_mm.layers.normalization import EPSILON, normalise, scale_and_shift


def plain(x, gamma, beta):
    variance = ops.mean(ops.square(x - ops.mean(x, axis=-1, keepdims=True)), axis=-1, keepdims=True)
    return (x - ops.mean(x, axis=-1, keepdims=True)) / ops.sqrt(variance + EPSILON) * gamma + beta


def gradients(function, up, *given):
    """The gradients of sum(up · function(*given)) with respect to each argument."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda *given: ops.sum(up * function(*given)), tuple(range(len(given))))(*given)
    import tensorflow as tf

    given = [tf.constant(one) for one in given]
    with tf.GradientTape() as tape:
        tape.watch(given)
        total = tf.reduce_sum(up * function(*given))
    return tape.gradient(total, given)


@pytest.fixture
def some():
    """x [N, D] whose positions have different means and scales, gamma, beta, and the gradient of the output."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 5)) * rng.uniform(0.1, 4.0, (7, 1)) + rng.normal(size=(7, 1))
    return [one.astype("float32") for one in (x, rng.normal(size=5), rng.normal(size=5), rng.normal(size=(7, 5)))]


def test_the_gradients_of_a_norm_are_those_of_its_formula(some):
    *given, up = some
    np.testing.assert_allclose(normalise(*map(ops.convert_to_tensor, given)), plain(*given), atol=1e-5)
    for found, expected in zip(gradients(normalise, up, *given), gradients(plain, up, *given), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_gradients_behind_a_centring_kernel_are_those_of_the_formula_without_padding(some):
    x, gamma, beta, up = some
    kept = np.array([[1], [1], [0], [1], [0], [1], [1]], "float32")
    centred = lambda x: x - ops.mean(x, axis=-1, keepdims=True)  # noqa: E731

    def by_hand(x, gamma, beta):
        return scale_and_shift(centred(x), ops.convert_to_tensor(kept), gamma, beta)

    given = x, gamma, beta
    np.testing.assert_allclose(by_hand(*map(ops.convert_to_tensor, given)), plain(*given) * kept, atol=1e-5)
    formula = gradients(lambda *given: plain(*given) * kept, up, *given)
    for found, expected in zip(gradients(by_hand, up, *given), formula, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
