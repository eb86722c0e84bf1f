"""Tests the axes of the plots."""

import re

import pytest

from t2t_mm.lab import svg


def labels(figure):
    return [float(text) for text in re.findall(r'text-anchor="middle" fill="#222">([\d.e+]+)</text>', figure)]


@pytest.mark.parametrize(
    "xs, expected",
    [
        ([100, 300, 900, 2700], [100, 300, 900, 2700]),
        ([100, 200, 400, 800, 1600, 3200], [100, 1000]),
        ([10, 20, 30, 50, 70, 100], [10, 31.6, 100]),
    ],
)
def test_a_logarithmic_axis_is_labelled_with_values(xs, expected):
    line = svg.Line("joint", [(x, 1.0, 0.0) for x in xs], svg.COLOURS[0])
    assert labels(svg.lines("Parsing", [line], "trees", "score", log_x=True)) == expected


def test_a_linear_axis_with_many_values_has_round_numbers():
    line = svg.Line("joint", [(x, 1.0, 0.0) for x in range(0, 1300, 100)], svg.COLOURS[0])
    assert labels(svg.lines("Loss", [line], "step", "nats")) == list(range(0, 1300, 200))
