"""Tests how long answers may be by default."""

import types

import pytest
from absl import flags

from t2t_mm.common import search_flags
from t2t_mm.experiment import Experiment
from t2t_mm.inference.search import Decoding
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.problem import Problem

PROBLEM = Problem("wmt_en_de", None, "language", "text", "To-German")


@pytest.mark.parametrize("targets, given, expected", [(100, None, 128), (256, None, 256), (256, 40, 40)])
def test_answers_may_be_as_long_as_the_targets_in_training(monkeypatch, targets, given, expected):
    made = Experiment([PROBLEM], "absent", None, BatchSettings(max_length=targets), AudioFeatures())
    monkeypatch.setattr(flags, "FLAGS", types.SimpleNamespace(beam_size=3, alpha=0.5, max_length=given))
    assert search_flags.chosen(made) == Decoding(3, 0.5, expected)
