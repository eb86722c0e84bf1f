"""Tests the mean of an encoded input: what it is, and for which examples it takes the place of the positions."""

import keras
import numpy as np
import pytest
from keras import ops

from t2t_mm.layers.source_mean import SourceMean, pooled

ENCODED = np.array([[[3.0, 0.0], [0.0, 4.0], [50.0, 60.0]], [[7.0, 7.0]] * 3], "float32")
PADDING = np.array([[False, False, True], [True, True, True]])


def test_pooling_leaves_padding_out():
    np.testing.assert_allclose(pooled(ENCODED, PADDING), [[1.5, 2.0], [0.0, 0.0]])


def test_the_mean_is_as_long_as_the_positions_and_stands_at_each_of_them():
    found = np.asarray(SourceMean(always=True)(ENCODED, PADDING))
    # The direction of (1.5, 2), whose length is 2.5, with the root mean square of the lengths 3 and 4.
    expected = np.array([1.5, 2.0]) / 2.5 * np.sqrt((9 + 16) / 2)
    np.testing.assert_allclose(found, [[expected] * 3, [[0.0, 0.0]] * 3], rtol=1e-5)


def test_only_a_fraction_is_replaced_and_only_in_training():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    encoded, padding = rng.normal(size=(2000, 3, 4)).astype("float32"), np.zeros((2000, 3), bool)
    layer, means = SourceMean(0.3), np.asarray(SourceMean(always=True)(encoded, padding))
    np.testing.assert_array_equal(layer(encoded, padding), encoded)
    found = np.asarray(layer(encoded, padding, training=True))
    replaced = (found == means).all(axis=(1, 2))
    np.testing.assert_array_equal(found[~replaced], encoded[~replaced])
    assert 0.25 < replaced.mean() < 0.35
    again = np.asarray(layer(encoded, padding, training=True))
    assert (again != found).any()  # other examples in the next batch
    none = SourceMean(always=True)
    np.testing.assert_array_equal(none(encoded, padding, training=True), encoded)
    assert not none.variables and not SourceMean().variables


def test_in_half_precision_the_mean_is_taken_in_float32():
    encoded = ops.cast(np.random.default_rng(0).normal(1, 1, (4, 30, 64)), "bfloat16")
    padding = np.zeros((4, 30), bool)
    found = SourceMean(always=True, dtype="mixed_bfloat16")(encoded, padding)
    expected = SourceMean(always=True)(ops.cast(encoded, "float32"), padding)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    # The result is rounded once, by at most half of its last digit; sums and quotients that are rounded, too, are farther off.
    np.testing.assert_allclose(ops.cast(found, "float32"), expected, rtol=1.01 * 2**-8)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tapes are TensorFlow's")
def test_a_source_of_padding_alone_has_a_finite_gradient():
    import tensorflow as tf

    encoded = tf.constant(ENCODED)
    with tf.GradientTape() as tape:
        tape.watch(encoded)
        value = ops.sum(SourceMean(always=True)(encoded, PADDING))
    found = tape.gradient(value, encoded).numpy()
    assert np.isfinite(found).all() and np.abs(found[0, :2]).max() > 0.1 and not found[1].any()


def test_the_fraction_is_checked():
    with pytest.raises(ValueError, match="mean_share is 1.0"):
        SourceMean(1.0)
