"""Which problems help which: what a partner changes for a problem, beside the cosines between the gradients of the two."""

from collections.abc import Mapping, Sequence

import numpy as np

from t2t_mm.lab.tables import statistics
from t2t_mm.lab.tables.tables import METRIC_OF_PAIRS, pair_runs

SEEDS_OF_INTERVAL = 3  # with fewer, the variation between seeds is not known
Matrix = dict[str, dict[str, float]]


def partners(tables: Sequence[dict], cosines: Sequence[Matrix], problems: Sequence[str]) -> dict:
    """Gathers the matrices of the table "pairs".

    Args:
      tables: the tables of the report, as `gather` returns them.
      cosines: of each seed of the joint run that measured them, problem -> other problem -> mean cosine of the gradients.
      problems: the problems in the order in which they are shown.

    Returns:
      An empty dict without the table or without results. Otherwise
        "problems"
        "differences": problem -> partner -> {"difference", "low", "high", "seeds"} of the log-perplexity with the partner
          minus that alone. The bounds are None with fewer than three seeds on a side.
        "cosines": problem -> partner -> mean over the seeds
        "correlation": {"rho", "p", "pairs"} of the two matrices, or None if they have too few common entries.
    """
    found = {
        (result["problem"], result["run"]): result
        for table in tables if table["name"] == "pairs"
        for result in table["comparisons"] if result["metric"] == METRIC_OF_PAIRS
    }  # fmt: skip
    differences: dict[str, dict[str, dict]] = {}
    for (problem, partner), run in pair_runs(problems).items():
        if result := found.get((problem, run)):
            known = min(result["seeds"]) >= SEEDS_OF_INTERVAL
            differences.setdefault(problem, {})[partner] = {
                "difference": result["difference"], "seeds": result["seeds"],
                "low": result["low"] if known else None, "high": result["high"] if known else None,
            }  # fmt: skip
    if not differences:
        return {}
    means = _means(cosines)
    return {
        "problems": list(problems), "differences": differences, "cosines": means,
        "correlation": _correlation(differences, means, problems),
    }  # fmt: skip


def _means(cosines: Sequence[Matrix]) -> Matrix:
    by_pair: dict[str, dict[str, list[float]]] = {}
    for one in cosines:
        for problem, row in one.items():
            for other, value in row.items():
                by_pair.setdefault(problem, {}).setdefault(other, []).append(value)
    return {problem: {other: float(np.mean(values)) for other, values in row.items()} for problem, row in by_pair.items()}


def _correlation(differences: Mapping, cosines: Matrix, problems: Sequence[str]) -> dict | None:
    both = [problem for problem in problems if problem in cosines]
    first, second = (np.full((len(both), len(both)), np.nan) for _ in range(2))
    for row, problem in enumerate(both):
        for column, other in enumerate(both):
            first[row, column] = differences.get(problem, {}).get(other, {}).get("difference", np.nan)
            second[row, column] = cosines[problem].get(other, np.nan)
    return statistics.matrix_correlation(first, second)


NOTE = (
    "The difference of log-perplexity on dev in nats per token: the problem of the row trained together with that of the "
    "column, minus alone. A negative difference means that the partner helps. The interval is the 95% interval of the "
    "comparisons above, if there are at least three seeds."
)
COSINES = (
    "The mean cosine between the gradients of two problems in the joint run, over its measured steps and its seeds. Above 0, a "
    "step for one problem also helps the other one."
)


def shown(found: dict, problem: str, other: str) -> str:
    """Formats the difference that a partner makes, with its interval."""
    one = found["differences"].get(problem, {}).get(other)
    if one is None:
        return "–"
    interval = "" if one["low"] is None else f" ({one['low']:+.3f} to {one['high']:+.3f})"
    return f"{one['difference']:+.3f}{interval}"


def cosine(found: dict, problem: str, other: str) -> str:
    """Formats the cosine between the gradients of two problems."""
    value = found["cosines"].get(problem, {}).get(other)
    return "–" if value is None else f"{value:+.3f}"


def correlation(found: dict) -> str:
    """Returns a sentence on how the two matrices are related."""
    result = found["correlation"]
    if result is None:
        return "There are too few pairs with both figures for a correlation of the two matrices."
    if result["p"] > 0.05:
        meaning = "which is within the noise"
    elif result["rho"] < 0:
        meaning = "so that partners with similar gradients help more"
    else:
        meaning = "so that partners with similar gradients help less"
    return (
        f"The rank correlation (Spearman) between the differences and the cosines is {result['rho']:+.2f} over "
        f"{result['pairs']} pairs of a problem and its partner (p = {result['p']:.4f}, by permutations of the problems), "
        f"{meaning}."
    )


def markdown(found: dict) -> list[str]:
    """Returns the lines of Markdown that show the two matrices and their correlation."""
    if not found:
        return []
    names = found["problems"]
    lines = _matrix(NOTE, names, lambda problem, other: shown(found, problem, other))
    if found["cosines"]:
        lines += _matrix(COSINES, names, lambda problem, other: cosine(found, problem, other))
        lines += [correlation(found), ""]
    return lines


def _matrix(note: str, names: Sequence[str], cell) -> list[str]:
    lines = [note, "", f"| | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    return [*lines, *(f"| {one} | {' | '.join(cell(one, other) for other in names)} |" for one in names), ""]
