"""Tests which problems a step takes: in turn, or drawn by rates that depend only on seed and step; and rates by size."""

import numpy as np
import pytest

from t2t_mm.training.mixing import BySize, MixingError, describe, problems_of_step

NAMES = ["a", "b", "c"]
RATES = {"a": 3, "b": 1, "c": 0}
SIZES = {"small": 100, "large": 10_000}


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
        ({"a": 1, "b": "x", "c": 1}, "The rate of b in mixing is 'x'; it must be a finite number"),
        ({"a": 1, "b": 1, "c": float("inf")}, "The rate of c in mixing is inf; it must be a finite number"),
        ({"a": 0, "b": 0, "c": 0}, "at least one must be above zero"),
        ({"a": 1, "b": 1, "c": 1, "d": 1}, "mixing names 'd', which is not a problem of this run; the problems are a, b, c"),
        ("roundrobin", '\'roundrobin\' .did you mean round_robin.*; it must be "joint", "round_robin", a dict'),
        (None, "None"),
    ],
)
def test_a_mixing_that_cannot_be_meant_is_named(mixing, message):
    with pytest.raises(MixingError, match=message):
        problems_of_step(NAMES, mixing, 1, 0)


def test_a_misspelt_problem_in_the_rates_names_what_is_near():
    with pytest.raises(MixingError, match=r"names 'imagenett', which is not a problem of this run \(did you mean imagenet\?\)"):
        problems_of_step(["coco", "imagenet"], {"coco": 1, "imagenett": 1}, 1, 0)


def test_rates_are_proportional_to_the_root_of_the_size():
    assert BySize().rates(SIZES) == pytest.approx({"small": 1 / 101, "large": 100 / 101})
    assert BySize(temperature=2).rates(SIZES) == pytest.approx({"small": 1 / 11, "large": 10 / 11})
    assert BySize(temperature=1e9).rates(SIZES) == pytest.approx({"small": 0.5, "large": 0.5})
    assert BySize(limit=300).rates(SIZES) == pytest.approx({"small": 0.25, "large": 0.75})
    assert BySize(temperature=2, limit=400).rates(SIZES) == pytest.approx({"small": 1 / 3, "large": 2 / 3})
    # No float holds 10,000 to the power of 1,000.
    assert BySize(temperature=1e-3).rates(SIZES) == pytest.approx({"small": 0.0, "large": 1.0})


def test_its_rates_are_those_that_steps_are_drawn_with():
    rates = BySize(temperature=2).rates(SIZES)
    drawn = [problems_of_step(list(SIZES), rates, step, 3)[0] for step in range(1, 1001)]
    assert 60 < drawn.count("small") < 125  # 1000 / 11, give or take four deviations


def test_the_counts_are_told():
    assert describe(BySize(temperature=2), SIZES, 1100) == [
        "Mixing: small, 100 examples, rate 9.1%, about 100 of 1,100 batches",
        "Mixing: large, 10,000 examples, rate 90.9%, about 1,000 of 1,100 batches",
    ]
    assert describe({"small": 3, "large": 1}, SIZES, 100)[0].endswith("rate 75.0%, about 75 of 100 batches")
    assert describe("round_robin", SIZES, 100)[1].endswith("rate 50.0%, about 50 of 100 batches")
    assert describe("joint", SIZES, 100) == []


@pytest.mark.parametrize("settings, message", [
    ({"temperature": 0.0}, "BySize.temperature is 0.0; it must be above 0"),
    ({"temperature": float("inf")}, "BySize.temperature is inf; it must be above 0 and finite"),
    ({"limit": 0}, "BySize.limit is 0; it must be at least 1"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(settings, message):
    with pytest.raises(MixingError, match=message):
        BySize(**settings)
