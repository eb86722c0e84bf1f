"""Mixing of problems by size and temperature; round robin and given rates are in test_loop."""

import pytest

from t2t_mm.training.mixing import BySize, MixingError, describe, problems_of_step

SIZES = {"small": 100, "large": 10_000}


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
    ({"limit": 0}, "BySize.limit is 0; it must be at least 1"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(settings, message):
    with pytest.raises(MixingError, match=message):
        BySize(**settings)
