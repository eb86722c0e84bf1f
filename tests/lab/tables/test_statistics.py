"""Tests means, paired tests and overlaps on data with known answers."""

import numpy as np
import pytest

from t2t_mm.lab.tables import statistics


def test_spread_of_three_seeds_by_hand():
    found = statistics.spread([1.0, 2.0, 3.0])
    assert (found.mean, found.std, found.seeds) == (2.0, 1.0, 3)
    assert found.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    one = statistics.spread([5.0])
    assert (one.mean, one.std, one.half_width) == (5.0, None, None)
    with pytest.raises(ValueError, match="No value"):
        statistics.spread([])


def runs(shift, seeds, examples=200, noise=0.02, seed=0):
    """Summed nats and tokens of examples whose difficulty is the same for all runs."""
    rng = np.random.default_rng([7, seed])
    hard = np.random.default_rng(1).normal(2.0, 1.0, examples)
    tokens = np.full(examples, 10.0)
    return [((hard + shift + rng.normal(0, noise)) * tokens, tokens) for _ in range(seeds)]


def test_a_small_difference_is_seen_through_the_difficulty_of_the_examples():
    """0.2 nats, where the examples differ by 1: an unpaired test would need far more of them."""
    found = statistics.paired_difference(runs(0.2, 3), runs(0.0, 3, seed=1), draws=2000)
    assert found.difference == pytest.approx(0.2, abs=0.05)
    assert found.low > 0 and found.p < 0.01 and found.seeds == (3, 3) and found.examples == 200


def test_what_another_seed_would_undo_is_noise():
    found = statistics.paired_difference(runs(0.05, 3, noise=0.3), runs(0.0, 3, noise=0.3, seed=1), draws=2000)
    assert found.low < 0 < found.high and found.p > 0.05


def test_no_difference_is_found_as_often_as_the_level_says():
    """The interval of 95% leaves zero out about once in twenty (of 100 pairs of sides, one seed, examples differ)."""
    rng, outside = np.random.default_rng(3), 0
    for _ in range(100):
        tokens = np.ones(100)
        sides = [[(rng.normal(size=100), tokens)] for _ in range(2)]
        found = statistics.paired_difference(*sides, draws=400)
        outside += not found.low <= 0 <= found.high
    assert outside <= 13


def test_the_interval_of_seeds_is_that_of_a_mean():
    """Examples without noise leave the seeds, whose mean has the variance s²/n (Rao and Wu 1988)."""
    values = np.array([[0.1, 0.35, 0.7, 0.9, 1.3], [0.0, 0.2, 0.25, 0.6, 0.8]])
    sides = [[(np.full(50, value), np.ones(50)) for value in side] for side in values]
    found = statistics.paired_difference(*sides, draws=20_000)
    expected = 1.96 * np.sqrt(np.sum(np.var(values, axis=1, ddof=1) / 5))
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.05)
    assert (found.high + found.low) / 2 == pytest.approx(found.difference, abs=0.05 * expected)


def test_the_interval_of_examples_is_that_of_a_mean():
    difference = np.random.default_rng(0).normal(0.0, 1.0, 400)
    hard, tokens = np.full(400, 2.0), np.ones(400)
    found = statistics.paired_difference([(hard + difference, tokens)], [(hard, tokens)], draws=20_000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.std(difference, ddof=1) / 20, rel=0.05)


@pytest.mark.parametrize("deviations, p", [(0.0, 1.0), (1.0, 0.317), (1.96, 0.05), (2.58, 0.01)])
def test_the_p_value_has_two_sides(deviations, p):
    difference = np.random.default_rng(0).normal(0.0, 1.0, 400)
    difference = (difference - difference.mean()) / difference.std() * 20.0 + deviations  # its mean has the deviation 1
    tokens = np.ones(400)
    found = statistics.paired_difference([(difference, tokens)], [(np.zeros(400), tokens)], draws=20_000)
    assert found.p == pytest.approx(p, rel=0.15)
    assert (found.low <= 0 <= found.high) == (deviations < 1.9) or deviations == 1.96


def test_a_ratio_of_sums_weighs_long_examples_more():
    first, second = [(np.array([10.0, 0.0]), np.array([10.0, 1.0]))], [(np.zeros(2), np.array([10.0, 1.0]))]
    assert statistics.paired_difference(first, second, draws=100).difference == pytest.approx(10 / 11)


def test_sides_of_other_examples_are_refused():
    with pytest.raises(ValueError, match="same examples"):
        statistics.paired_difference(runs(0, 1, 10), runs(0, 1, 11))
    with pytest.raises(ValueError, match="need at least one seed"):
        statistics.paired_difference([], runs(0, 1))


def test_a_mean_of_differences_is_more_certain_than_each():
    """Two problems with examples of their own, in the same runs: the sum is by hand, and its noise smaller than that of one."""
    first = [(1.0, "a", runs(0.2, 3, noise=0.01)), (-1.0, "b", runs(0.0, 3, noise=0.01, seed=1))]
    second = [(1.0, "a", runs(0.4, 3, 150, noise=0.01)), (-1.0, "b", runs(0.0, 3, 150, noise=0.01, seed=1))]
    halves = [[(weight / 2, name, side) for weight, name, side in group] for group in (first, second)]
    both, one = statistics.combined_difference(halves, draws=2000), statistics.combined_difference([first], draws=2000)
    assert both.difference == pytest.approx(0.3, abs=0.02) and both.low < both.difference < both.high
    assert both.examples == 350 and both.seeds == (3, 3)
    same = statistics.paired_difference(first[0][2], first[1][2], draws=2000)
    assert same == one
    with pytest.raises(ValueError, match="The terms of a have different numbers of seeds"):
        statistics.combined_difference([first, [(1.0, "a", runs(0, 2))]])


def test_runs_that_are_better_for_all_problems_at_once_are_one_noise():
    """The seed decides whether a run is good for both problems: their mean is as noisy as each of them."""
    tokens = np.full(50, 10.0)
    good, none = [((2.0 + shift) * tokens, tokens) for shift in (-0.5, 0.0, 0.5)], [(2.0 * tokens, tokens)] * 3
    halves = [[(0.5, "a", good), (-0.5, "b", none)]] * 2
    one, both = (
        statistics.combined_difference(groups, draws=2000) for groups in ([[(1.0, "a", good), (-1.0, "b", none)]], halves)
    )
    assert both.high - both.low == pytest.approx(one.high - one.low, rel=0.05)


def test_holms_correction_by_hand():
    # 0.01 <= 0.05/4, 0.02 > 0.05/3: the second and all after it fail.
    assert statistics.beyond_noise([0.02, 0.01, 0.04, 0.9]) == [False, True, False, False]
    assert statistics.beyond_noise([0.001, 0.002]) == [True, True]


def test_overlap():
    assert statistics.overlap([3, 1, 0], [0, 1, 3]) == 0.25
    assert statistics.overlap([2, 2], [5, 5]) == 1.0


def test_intervals_take_students_t_for_any_number_of_seeds():
    """Values of the published tables (NIST/SEMATECH e-Handbook, 1.3.6.7.2), for 95% and for 99%."""
    table = {1: 12.706, 2: 4.303, 3: 3.182, 10: 2.228, 11: 2.201, 12: 2.179, 20: 2.086, 29: 2.045, 30: 2.042, 100: 1.984}
    for freedom, value in table.items():
        assert statistics.student_t(freedom) == pytest.approx(value, abs=6e-4)
    assert statistics.student_t(5, 0.99) == pytest.approx(4.032, abs=6e-4)
    values = np.arange(16.0)
    assert statistics.spread(values).half_width == pytest.approx(2.1314 * np.std(values, ddof=1) / 4, rel=1e-4)


def test_ranks_are_correlated_by_hand():
    assert statistics.spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 25.0])) == pytest.approx(1.0)
    # Ranks 0, 1, 2, 3 and 0.5, 0.5, 3, 2. Without their means of 1.5, the sum of their products is 3.5, of squares 5 and 4.5.
    assert statistics.spearman(np.arange(4.0), np.array([1.0, 1.0, 9.0, 3.0])) == pytest.approx(3.5 / (5 * 4.5) ** 0.5)
    assert statistics.spearman(np.arange(3.0), np.zeros(3)) == 0.0


def test_matrices_are_correlated_without_diagonals_and_unknown_entries():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(7, 7))
    first[2, 5] = np.nan
    second = -2 * first + np.diag(np.full(7, 100.0))
    found = statistics.matrix_correlation(first, second)
    assert found["rho"] == pytest.approx(-1.0) and found["pairs"] == 41 and found["p"] < 0.01
    unrelated = statistics.matrix_correlation(first, rng.normal(size=(7, 7)))
    assert unrelated["p"] > 0.05 and abs(unrelated["rho"]) < 0.5
    assert statistics.matrix_correlation(first[:2, :2], second[:2, :2]) is None
    assert statistics.matrix_correlation(first, np.ones((7, 7))) is None
