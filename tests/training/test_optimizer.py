"""Compares the fused Adam with that of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.training.optimizer import FusedAdam
from tests.training.test_step import mirrored


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


def test_weight_decay_is_that_of_adamw_and_leaves_vectors_out():
    start = [START[0], np.full(3, 0.5, "float32")]
    gradients = [[of_step[0], np.full(3, 0.1, "float32")] for of_step in GRADIENTS]
    found = applied(FusedAdam(0.01, decay=0.1), start, gradients)
    adamw, adam = (
        applied(kind, start, gradients)
        for kind in (keras.optimizers.AdamW(0.01, weight_decay=0.1), keras.optimizers.Adam(0.01))
    )
    np.testing.assert_allclose(found[0], adamw[0], atol=1e-6)
    np.testing.assert_allclose(found[1], adam[1], atol=1e-6)
    assert not np.allclose(adamw[0], adam[0], atol=1e-4)
    frozen_like = applied(FusedAdam(0.01, decay=0.1, factors=[0.1, 1.0]), start, gradients)
    np.testing.assert_allclose(frozen_like[0], applied(FusedAdam(0.001, decay=0.1), start, gradients)[0], atol=1e-6)


def averages_by_hand(ema, replicas_strategy=None):
    """(variable, average, expected average) after three updates."""
    strategy = replicas_strategy or tf.distribute.get_strategy()
    with strategy.scope():
        variable = keras.Variable(START[0])
        optimizer = FusedAdam(0.1, ema=ema)
        optimizer.build([variable])

    @tf.function
    def update(gradient):
        strategy.run(lambda: optimizer.apply([gradient]))

    expected = np.zeros_like(START[0])
    for t, (gradient, _) in enumerate(GRADIENTS):
        update(tf.constant(gradient))
        momentum = min(ema, t / (t + 9))
        expected = momentum * expected + (1 - momentum) * variable.numpy()
    return variable.numpy(), optimizer.averages()[0].numpy(), expected


@pytest.mark.parametrize("ema", [0.05, 0.999])
def test_the_moving_average_of_a_weight(ema):
    variable, average, expected = averages_by_hand(ema)
    np.testing.assert_allclose(average, expected, rtol=1e-6)
    assert not np.allclose(average, variable, atol=1e-4)
    assert FusedAdam(0.1).averages() == []


def test_replicas_have_one_moving_average():
    alone, both = averages_by_hand(0.9), averages_by_hand(0.9, mirrored())
    np.testing.assert_allclose(both[1], alone[1], rtol=1e-6)
