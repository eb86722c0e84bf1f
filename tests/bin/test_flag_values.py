"""Tests that the values listed in flags equal those in the package, which --help does not import."""

import os
import re

import pytest

from t2t_mm.common import command
from t2t_mm.export import save
from t2t_mm.lab import comparison, inspection
from t2t_mm.lab.tables import reproduce
from t2t_mm.problems import paper
from t2t_mm.training import strategy

BIN = os.path.join(os.path.dirname(__file__), "..", "..", "bin")


@pytest.mark.parametrize(
    "script, flag, values",
    [
        ("train.py", "strategy", strategy.NAMES), ("export.py", "dtype", save.DTYPES),
        ("inspect_model.py", "hardware", inspection.HARDWARE), ("reproduce.py", "corpora", reproduce.CORPORA),
        ("compare.py", "split", comparison.SPLITS),
    ],
)  # fmt: skip
def test_enumerations_are_those_of_the_modules(script, flag, values):
    with open(os.path.join(BIN, script), encoding="utf-8") as file:
        listed = re.search(rf'DEFINE_enum\(\s*"{flag}",[^\[]*\[([^\]]*)\]', file.read())[1]
    assert re.findall(r'"([^"]+)"', listed) == list(values)


def test_the_papers_problems_are_those_of_the_package():
    assert all(getattr(paper, name)("corpora").name == name for name in command.PROBLEMS) and len(command.PROBLEMS) == 8
