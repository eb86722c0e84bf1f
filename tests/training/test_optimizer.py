"""The fused Adam against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.training.optimizer import FusedAdam


def test_it_is_adam():
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype("float32") for shape in ((3, 4), (5,), ())]
    gradients = [[rng.normal(size=v.shape).astype("float32") for v in start] for _ in range(4)]
    results = []
    for kind in (keras.optimizers.Adam, FusedAdam):
        variables = [keras.Variable(value) for value in start]
        optimizer = kind(0.01, beta_1=0.85, beta_2=0.997, epsilon=1e-3)
        optimizer.build(variables)
        step = tf.function(optimizer.apply)
        for of_step in gradients:
            step([tf.constant(gradient) for gradient in of_step])
        results.append([v.numpy() for v in (*variables, *optimizer._momentums, *optimizer._velocities)])
    for expected, found in zip(*results):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(results[0][0] - start[0]).max() > 0.01


def applied(optimizer, start, gradients):
    """The variables after an update for each list of gradients, and the optimizer's own."""
    variables = [keras.Variable(value) for value in start]
    optimizer.build(variables)
    step = tf.function(optimizer.apply)
    for of_step in gradients:
        step([tf.constant(gradient) for gradient in of_step])
    return [v.numpy() for v in variables]


START = [np.full((2, 2), 0.5, "float32"), np.full((2, 2), 0.5, "float32")]
GRADIENTS = [[np.full((2, 2), 0.1 * (i + 1), "float32")] * 2 for i in range(3)]


def test_a_factor_multiplies_the_learning_rate_of_its_variable_alone():
    plain = applied(FusedAdam(0.01), START, GRADIENTS)
    tenth = applied(FusedAdam(0.001), START, GRADIENTS)
    both = applied(FusedAdam(0.01, factors=[1.0, 0.1]), START, GRADIENTS)
    np.testing.assert_array_equal(both[0], plain[0])
    np.testing.assert_allclose(both[1], tenth[1], rtol=1e-6)
    assert not np.allclose(plain[0], tenth[0], atol=1e-3)
    with pytest.raises(ValueError, match="1 factors for 2 variables"):
        FusedAdam(0.01, factors=[1.0]).build([keras.Variable(value) for value in START])
