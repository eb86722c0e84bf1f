"""Which problems a step takes: by turns, or drawn by rates that the seed and the step decide alone."""

import numpy as np
import pytest

from t2t_mm.training.mixing import MixingError, problems_of_step

NAMES = ["a", "b", "c"]
RATES = {"a": 3, "b": 1, "c": 0}


def drawn(seed, steps=range(1, 401), rates=RATES):
    return [problems_of_step(NAMES, rates, step, seed)[0] for step in steps]


def test_joint_takes_all_and_round_robin_one_after_the_other():
    assert problems_of_step(NAMES, "joint", 5, 0) == NAMES
    turns = [problems_of_step(NAMES, "round_robin", step, 0) for step in (1, 2, 3, 4)]
    assert turns == [["a"], ["b"], ["c"], ["a"]]


def test_rates_are_shares():
    counts = {name: drawn(7).count(name) for name in NAMES}
    assert counts["c"] == 0 and counts["a"] == pytest.approx(300, abs=26)  # three standard deviations
    assert set(drawn(7, rates={"a": 0, "b": 0, "c": 0.1})) == {"c"}


def test_draws_follow_from_seed_and_step_alone():
    assert drawn(7) == drawn(7) and drawn(7, range(200, 300)) == drawn(7)[199:299]
    # Independent draws of 3 : 1 agree in 10 of 16 steps; without the seed all would.
    for other in (0, 8):
        assert 200 < np.sum(np.array(drawn(7)) == np.array(drawn(other))) < 300


@pytest.mark.parametrize(
    "mixing, message",
    [
        ({"a": 1}, "rates for a; the problems are a, b, c"),
        ({"a": 1, "b": -1, "c": 1}, "must not be negative"),
        ({"a": 0, "b": 0, "c": 0}, "at least one must be above zero"),
        ("roundrobin", "'roundrobin'; it must be \"joint\", \"round_robin\" or a dict"),
        (None, "None"),
    ],
)
def test_a_mixing_that_cannot_be_meant_is_named(mixing, message):
    with pytest.raises(MixingError, match=message):
        problems_of_step(NAMES, mixing, 1, 0)
