"""Tests the figures of the decoding benchmark with made-up times."""

import pytest

from t2t_mm.lab.benchmarks.decode import _report


def test_figures_are_ratios_of_one_run():
    figures = {(1, 64): 1.0, (1, 128): 2.2, (4, 128): 6.6, ("at once", 128): 1.1, ("naive", 128): 44.0}
    found = _report(figures, 32, at_once=2)
    names = "greedy", "beam 4", "greedy, 2 at once", "naive loop"
    greedy, beam, together, naive = (found[f"batch 32, {name}"] for name in names)
    assert greedy["tokens/s at 128"] == pytest.approx(32 * 128 / 2.2)
    assert greedy["time of 128 over 64"] == pytest.approx(2.2)
    assert greedy["times the naive loop at 128"] == pytest.approx(20)
    assert beam["time over greedy at 128"] == pytest.approx(3)
    assert together == {"tokens/s at 128": pytest.approx(32 * 128 / 1.1), "times the naive loop at 128": pytest.approx(40)}
    assert set(naive) == {"tokens/s at 128"}
