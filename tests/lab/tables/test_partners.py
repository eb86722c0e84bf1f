"""Tests the matrices of the pairs of problems: what a partner changes, the gradients' cosines, and how they are related."""

import re

import pytest

from t2t_mm.lab.tables.report import page, partners
from t2t_mm.lab.tables.tables import PROBLEMS, declare, pair_runs

NAMES = ["a", "b", "c"]


def tables(differences, seeds=(3, 3)):
    """A report's table of pairs with these differences, each with an interval of ±0.1."""
    runs = pair_runs(NAMES)
    results = [
        {
            "problem": one, "run": runs[one, other], "metric": metric, "difference": value, "low": value - 0.1,
            "high": value + 0.1, "seeds": list(seeds),
        }
        for (one, other), value in differences.items() for metric in ("token_accuracy", "log_perplexity")
    ]  # fmt: skip
    return [{"name": "2", "comparisons": []}, {"name": "pairs", "comparisons": results}]


DIFFERENCES = {
    ("a", "b"): -0.3, ("b", "a"): -0.2, ("a", "c"): 0.1, ("c", "a"): 0.2, ("b", "c"): 0.01, ("c", "b"): 0.02
}  # fmt: skip
COSINES = {"a": {"b": 0.4, "c": -0.1}, "b": {"a": 0.4, "c": 0.1}, "c": {"a": -0.1, "b": 0.1}}


def test_both_matrices_and_their_correlation_are_shown():
    other = {one: {two: value + 0.2 for two, value in row.items()} for one, row in COSINES.items()}
    found = partners.partners(tables(DIFFERENCES), [COSINES, other], NAMES)
    assert found["differences"]["a"]["b"]["difference"] == -0.3 and found["cosines"]["a"]["b"] == pytest.approx(0.5)
    assert found["correlation"]["pairs"] == 6 and found["correlation"]["rho"] < -0.8
    text = "\n".join(partners.markdown(found))
    assert "| a | – | -0.300 (-0.400 to -0.200) | +0.100 (+0.000 to +0.200) |" in text
    assert "| b | +0.500 | – | +0.200 |" in text
    assert re.search(r"is -0\.\d\d over 6 pairs of a problem and its partner \(p = 0\.\d{4}, by permutations", text)
    shown = "".join(page._partners(found))
    assert "<td>-0.300 (-0.400 to -0.200)</td>" in shown and "<td>+0.500</td>" in shown and "rank correlation" in shown


def test_an_interval_needs_three_seeds_and_a_missing_pair_is_a_dash():
    few = {pair: value for pair, value in DIFFERENCES.items() if "c" not in pair}
    found = partners.partners(tables(few, seeds=(2, 3)), [COSINES], NAMES)
    text = "\n".join(partners.markdown(found))
    assert "| a | – | -0.300 | – |" in text and "too few pairs" in text
    without = partners.partners(tables(few), [], NAMES)
    assert without["cosines"] == {} and "cosine" not in "\n".join(partners.markdown(without))
    assert partners.partners([], [COSINES], NAMES) == {} and partners.markdown({}) == []


@pytest.mark.parametrize(
    "rho, p, meaning", [(-0.7, 0.01, "help more"), (0.7, 0.01, "help less"), (-0.7, 0.2, "within the noise")]
)
def test_the_sentence_follows_from_the_numbers(rho, p, meaning):
    assert meaning in partners.correlation({"correlation": {"rho": rho, "p": p, "pairs": 56}})


def test_every_pair_is_compared_with_each_of_its_problems_alone():
    runs, declared = declare()
    pairs = pair_runs([problem.name for problem in PROBLEMS])
    assert len(pairs) == 56 and len(set(pairs.values())) == 28 and set(pairs.values()) <= set(runs)
    (table,) = [table for table in declared if table.name == "pairs"]
    assert {(c.problem, c.run) for c in table.comparisons} == {(problem, run) for (problem, _), run in pairs.items()}
