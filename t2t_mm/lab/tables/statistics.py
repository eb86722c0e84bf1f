"""Separates signal from noise: means over seeds, and paired bootstrap tests over examples and seeds."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

DRAWS = 10_000
_AT_ONCE = 1_000  # draws computed at once, which bounds the memory
Term = tuple[float, str, Sequence[tuple[np.ndarray, np.ndarray]]]  # see `combined_difference`


@dataclasses.dataclass(frozen=True)
class Spread:
    """The distribution of one figure over the seeds.

    Attributes:
      std: sample standard deviation (n − 1), or None for one seed.
      half_width: half the width of the 95% t interval of the mean, or None for one seed.
      seeds: number of seeds.
    """

    mean: float
    std: float | None
    half_width: float | None
    seeds: int


def spread(values: Sequence[float]) -> Spread:
    """Summarizes one value per seed.

    Raises:
      ValueError: there are no values.
    """
    count = len(values)
    if not count:
        raise ValueError("No values: the mean of an empty sequence is undefined.")
    if count == 1:
        return Spread(float(values[0]), None, None, 1)
    std = float(np.std(values, ddof=1))
    return Spread(float(np.mean(values)), std, student_t(count - 1) * std / math.sqrt(count), count)


def student_t(freedom: int, share: float = 0.95) -> float:
    """Returns t such that ±t contains the central `share` of Student's distribution with `freedom` degrees of freedom.

    The share between ±t is a finite sum of cosines (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4), which is solved for t by
    bisection.
    """
    low, high = 0.0, 1e9
    while high - low > 1e-9 * max(high, 1e-3):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < share else (low, middle)
    return high


def _inside(t: float, freedom: int) -> float:
    """Returns the share of Student's distribution between −t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    is_odd, square = freedom % 2, math.cos(angle) ** 2
    term = total = math.cos(angle) if is_odd else 1.0
    for n in range(2 + is_odd, freedom - 1, 2):
        term *= square * (n - 1) / n
        total += term
    if freedom == 1:
        return 2 * angle / math.pi
    return 2 / math.pi * (angle + math.sin(angle) * total) if is_odd else math.sin(angle) * total


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference first − second of one figure.

    Attributes:
      low: lower bound of the 95% interval.
      high: upper bound of the 95% interval.
      p: two-sided p-value of the hypothesis that there is no difference.
      examples: number of examples.
      seeds: number of seeds of each side.
    """

    difference: float
    low: float
    high: float
    p: float
    examples: int
    seeds: tuple[int, int]


def paired_difference(
    first: Sequence[tuple[np.ndarray, np.ndarray]],
    second: Sequence[tuple[np.ndarray, np.ndarray]],
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """Compares two sides by paired bootstrap (Efron and Tibshirani 1993, 16.4; Koehn 2004).

    The figure is a ratio of sums over examples. Every draw takes the same examples, with replacement, for all runs of
    both sides, since examples that are hard for both sides say nothing about their difference. It also draws seeds of
    each side, so that a difference that another seed could reverse counts as noise; it draws one seed less than there
    are, because the spread of a mean of few seeds would otherwise be underestimated (Rao and Wu 1988). With one seed
    per side, only the choice of examples is tested.

    Args:
      first: one pair (numerators, denominators) per seed, arrays over the same examples.
      second: the same for the other side.
      draws: number of bootstrap draws.
      seed: seed of the draws.

    Raises:
      ValueError: the sides have different numbers of examples, or a side has no seeds.
    """
    return combined_difference([[(1.0, "first", first), (-1.0, "second", second)]], draws, seed)


def combined_difference(groups: Sequence[Sequence[Term]], draws: int = DRAWS, seed: int = 0) -> Difference:
    """Does the same as `paired_difference` for a weighted sum of figures, such as a mean over several problems.

    Args:
      groups: terms (weight, name, side). All terms of a group are figures over the same examples, and the examples of
        different groups are drawn independently. Terms with the same name are of the same runs, of which each draw takes the
        same seeds. A side has one pair (numerators, denominators) per seed, see `paired_difference`.

    Returns:
      The sum as the difference, with the number of examples of all groups. `seeds` are the fewest of the terms with a positive
      and with a negative weight.

    Raises:
      ValueError: the terms of a group have different numbers of examples, those of the same name different numbers of seeds, or
        a side has no seeds.
    """
    if not all(side for group in groups for _, _, side in group):
        raise ValueError("Both sides need at least one seed, and all runs need the same examples.")
    stacked = [
        [(weight, name, np.stack([np.stack(run) for run in side]).astype(float)) for weight, name, side in group]
        for group in groups
    ]
    if any(len({side.shape[2] for _, _, side in group}) > 1 for group in stacked):
        raise ValueError("Both sides need at least one seed, and all runs need the same examples.")
    terms = [term for group in stacked for term in group]
    counts: dict[str, int] = {}
    for _, name, side in terms:
        if counts.setdefault(name, len(side)) != len(side):
            raise ValueError(f"The terms of {name} have different numbers of seeds.")
    rng = np.random.default_rng(seed)
    observed = sum(weight * _mean(side.sum(axis=2)) for weight, _, side in terms)
    found = []
    for begin in range(0, draws, _AT_ONCE):
        size, drawn = min(_AT_ONCE, draws - begin), 0.0
        chosen: dict[str, np.ndarray] = {}
        for group in stacked:
            count = group[0][2].shape[2]
            times = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(float)  # [draws, examples]
            for weight, name, side in group:  # [seeds, 2, examples]
                sums = np.einsum("sne,de->dsn", side, times)
                ratios = sums[..., 0] / np.maximum(sums[..., 1], 1e-12)  # [draws, seeds]
                if name not in chosen:
                    chosen[name] = rng.integers(len(side), size=(size, max(len(side) - 1, 1)))
                drawn = drawn + weight * np.take_along_axis(ratios, chosen[name], axis=1).mean(axis=1)
        found.append(drawn)
    differences = np.concatenate(found)
    low, high = np.quantile(differences, (0.025, 0.975))
    below, above = np.sum(differences <= 0), np.sum(differences >= 0)
    p = min(1.0, 2 * (min(below, above) + 1) / (draws + 1))  # never 0 (Davison and Hinkley 1997, 4.2)
    first, second = (min(len(side) for weight, _, side in terms if (weight > 0) == sign) for sign in (True, False))
    examples = sum(group[0][2].shape[2] for group in stacked)
    return Difference(float(observed), float(low), float(high), float(p), examples, (first, second))


def _mean(sums: np.ndarray) -> float:  # [seeds, 2]
    return float(np.mean(sums[:, 0] / np.maximum(sums[:, 1], 1e-12)))


def beyond_noise(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Returns which of several tests are significant at `level`, corrected for their number (Holm 1979)."""
    order, held = np.argsort(p_values, kind="stable"), [False] * len(p_values)
    for rank, index in enumerate(order):
        if p_values[index] > level / (len(p_values) - rank):
            break
        held[index] = True
    return held


def matrix_correlation(first: np.ndarray, second: np.ndarray, draws: int = 2_000, seed: int = 0) -> dict | None:
    """Correlates the ranks of the entries of two matrices [n, n] of the same n things, without the diagonals.

    The entries of a row or column depend on each other. The p-value is therefore that of permutations of the things, which
    move whole rows and columns of the second matrix (Mantel 1967).

    Args:
      first: the first matrix. NaN stands for an entry that is not known, here and in `second`.

    Returns:
      {"rho": Spearman's correlation, "p": two-sided, "pairs": number of entries}, or None if fewer than six entries are known
      in both matrices, or if those of one matrix are all equal.
    """
    known = ~np.isnan(first) & ~np.isnan(second) & ~np.eye(len(first), dtype=bool)
    count = int(known.sum())
    if count < 6 or any(np.ptp(matrix[known]) == 0 for matrix in (first, second)):
        return None
    rho, rng, as_extreme = spearman(first[known], second[known]), np.random.default_rng(seed), 0
    for _ in range(draws):
        order = rng.permutation(len(first))
        moved = second[np.ix_(order, order)]
        both = known & ~np.isnan(moved)
        as_extreme += abs(spearman(first[both], moved[both])) >= abs(rho) - 1e-12
    return {"rho": rho, "p": (as_extreme + 1) / (draws + 1), "pairs": count}


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the correlation of the ranks of two sequences; equal values share their mean rank. It is 0 if all are equal."""
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (first, second)]
    scale = math.sqrt(float(np.sum(ranks[0] ** 2) * np.sum(ranks[1] ** 2)))
    return float(np.sum(ranks[0] * ranks[1])) / scale if scale else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[places.reshape(-1)]


def overlap(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Returns the overlap of two distributions over experts, from 0 to 1.

    It is the sum of the smaller share of each expert, which equals 1 − total variation distance.
    """
    first, second = (np.asarray(x, float) / np.sum(x) for x in (first, second))
    return float(np.minimum(first, second).sum())
