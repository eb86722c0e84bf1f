import math

import numpy as np
import pytest

from t2t_mm.losses import cross_entropy
from t2t_mm.training.schedule import InverseSquareRoot


def test_cross_entropy_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]], "float32"))
    smoothed, plain = cross_entropy(logits, np.array([0, 2]), label_smoothing=0.1)
    np.testing.assert_allclose(plain, [-math.log(0.7), -math.log(0.5)], rtol=1e-5)
    rest = [-(math.log(0.7) + math.log(0.2) + math.log(0.1)) / 3, -(2 * math.log(0.25) + math.log(0.5)) / 3]
    np.testing.assert_allclose(smoothed, 0.9 * np.asarray(plain) + 0.1 * np.array(rest), rtol=1e-5)


def test_schedule_rises_falls_and_ends():
    rate = InverseSquareRoot(peak=1.0, warmup_steps=4, total_steps=20, decay_steps=10)
    np.testing.assert_allclose([float(rate(s)) for s in (0, 1, 3)], [0.25, 0.5, 1.0])
    np.testing.assert_allclose(float(rate(9)), math.sqrt(4 / 10), rtol=1e-6)
    np.testing.assert_allclose(float(rate(19)), math.sqrt(4 / 20) * 0.1, rtol=1e-6)
    assert float(rate(20)) == 0.0


@pytest.mark.parametrize("steps", [2, 3, 7, 500])
def test_a_run_of_any_length_warms_up_and_decays_without_further_settings(steps):
    rate = InverseSquareRoot(peak=1.0, total_steps=steps)
    rates = [float(rate(step)) for step in range(steps)]
    assert max(rates) <= 1.0 and min(rates) > 0.0
    assert rates[-1] == min(rates) and float(rate(steps)) == 0.0
    assert (rate.warmup_steps, rate.decay_steps) == (max(round(0.2 * steps), 1), round(0.4 * steps))


def test_a_run_shorter_than_its_decay_decays_from_the_first_step():
    rate = InverseSquareRoot(peak=1.0, warmup_steps=1, total_steps=2, decay_steps=450)
    np.testing.assert_allclose([float(rate(s)) for s in (0, 1, 2)], [1.0, 0.5 * math.sqrt(0.5), 0.0], rtol=1e-6)


@pytest.mark.parametrize("settings", [{"peak": 0.0}, {"warmup_steps": 0}, {"decay_steps": 6}, {"decay_share": 2.0}])
def test_bad_schedules_are_refused(settings):
    with pytest.raises(ValueError, match=list(settings)[-1]):
        InverseSquareRoot(**settings)
