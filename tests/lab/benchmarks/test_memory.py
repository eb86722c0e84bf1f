import numpy as np
import pytest

from t2t_mm.lab.benchmarks.memory import MIB, resident, summary


def looks(bytes_of):
    """A run of 100 seconds and 1,000 steps that begins with a jump, as tracing is."""
    seconds = np.arange(0, 100, 0.5)
    return np.stack([seconds, np.where(seconds < 5, 10 * MIB, bytes_of(seconds))], axis=1)


def test_flat_memory_has_no_growth():
    found = summary(looks(lambda seconds: np.full(len(seconds), 500 * MIB)), 1000)
    assert found["late_over_early"] == 1 and found["growth_mib_per_1000_steps"] == pytest.approx(0, abs=1e-6)


def test_a_leak_is_told_in_mib_a_thousand_steps():
    found = summary(looks(lambda seconds: (500 + seconds) * MIB), 1000)
    assert found["growth_mib_per_1000_steps"] == pytest.approx(100, rel=0.01)
    assert found["late_over_early"] == pytest.approx(594.75 / 514.75, rel=0.01)


def test_memory_in_use_is_seen():
    before = resident()
    block = np.ones(50 * MIB, np.uint8)
    assert resident() - before > 40 * MIB and block[-1] == 1
