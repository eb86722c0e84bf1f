"""Tests when the profile of a run starts and stops, with a profiler that only counts."""

import pytest
import tensorflow as tf

from t2t_mm.training import profile


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: found.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: found.append("stop"))
    return found


def test_a_profile_stops_after_its_steps(calls):
    with profile.Steps("run", 0, 2) as profiled:
        for step in range(1, profiled._end + 3):
            before = list(calls)
            profiled.before(step)
            assert (calls != before) == (step in (profiled._begin, profiled._end))
        assert profiled._end - profiled._begin == 2
    assert calls == ["start", "stop"]


def test_a_run_that_ends_within_its_profile_writes_it(calls):
    with profile.Steps("run", 0, 100) as profiled:
        for step in range(1, profiled._begin + 2):
            profiled.before(step)
        assert calls == ["start"]
    assert calls == ["start", "stop"]
