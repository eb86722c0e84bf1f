"""The fused Adam against Keras's own."""

import keras
import numpy as np
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
