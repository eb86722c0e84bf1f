"""Tests that the scale of the loss changes no update, follows the overflows of float16, and grows back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.run.precision import layers_of
from t2t_mm.training.loss_scale import LossScale
from t2t_mm.training.optimizer import FusedAdam
from t2t_mm.training.step import TrainStep
from tests.training.test_step import PROBLEMS, SIGNATURE, batch, small_model


def run_with(loss_scale, steps=3, precision="float32", **settings):
    """Returns the weights before and after some steps with Adam, and the norm of the last gradient before clipping."""
    keras.utils.set_random_seed(3)
    with layers_of(precision):
        model = small_model(mixtures=False)
    adam = FusedAdam(1e-2)
    adam.build(model.trainable_variables)
    step = TrainStep(
        tf.distribute.get_strategy(), model, adam, PROBLEMS, {"one": 1.0, "two": 3.0}, 0.5, 0.1, 0.01,
        {"one": SIGNATURE, "two": SIGNATURE}, loss_scale=loss_scale, **settings,
    )  # fmt: skip
    weights = lambda: np.concatenate([v.numpy().ravel() for v in model.trainable_variables])  # noqa: E731
    both, before = {"one": batch(2), "two": batch(3)}, weights()
    for _ in range(steps):
        _, norm = step([{"one": batch(1)}, both] if "accumulate" in settings else both)
    return before, weights(), float(norm)


def test_an_overflow_changes_nothing_and_halves_the_scale():
    """Compiled; the other tests are eager."""
    scale = LossScale(2.0**127)  # with it, the loss is infinite even in float32
    before, after, norm = run_with(scale, steps=1)
    np.testing.assert_array_equal(after, before)
    assert not np.isfinite(norm) and float(scale.scale) == 2.0**126 and scale.halved


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"clip_each": True}], ids=lambda settings: " ".join(settings))
def test_a_scaled_loss_gives_the_same_update(settings):
    """The scale is a power of two, so in float32 nothing is rounded differently."""
    before, plain, norm = run_with(None, **settings)
    _, scaled, scaled_norm = run_with(LossScale(2.0**10), **settings)
    np.testing.assert_allclose(scaled, plain, atol=1e-6)
    assert scaled_norm == pytest.approx(norm, rel=1e-5) and np.abs(plain - before).max() > 0.01
    assert norm > 0.5, "it is clipped"


@pytest.mark.usefixtures("eagerly")
def test_in_float16_the_scale_falls_until_the_gradient_is_finite_and_near_that_of_float32():
    scale = LossScale(2.0**24)
    _, _, norm = run_with(scale, steps=12, precision="mixed_float16")
    assert 2.0**13 <= float(scale.scale) < 2.0**24 and not scale.halved and np.isfinite(norm)
    _, _, wide = run_with(None, steps=1)
    _, _, found = run_with(LossScale(float(scale.scale)), steps=1, precision="mixed_float16")
    assert found == pytest.approx(wide, rel=0.01)


def test_the_loss_scale_grows_after_finite_steps_only():
    scale, found = LossScale(4.0, growth_steps=2), []
    for finite in (True, True, True, False, True, True, False, False, False, False, True):
        scale.count(finite)
        found.append((float(scale.scale), int(scale.finite_steps), scale.halved))
    assert found == [
        (4, 1, False), (8, 0, False), (8, 1, False), (4, 0, True), (4, 1, False), (8, 0, False), (4, 0, True),
        (2, 0, True), (1, 0, True), (1, 0, False), (1, 1, False),
    ]  # fmt: skip
    largest = LossScale(2.0**24, growth_steps=1)
    largest.count(True)
    assert float(largest.scale) == 2.0**24
