"""Tests which compiled steps the XLA benchmark rejects, and how it measures differences."""

import types

import pytest
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.lab.benchmarks import xla


def test_open_shapes_are_refused():
    with pytest.raises(RunError, match="static_shapes = True"):
        xla.run(types.SimpleNamespace(batches=BatchSettings(), problems=()))


def test_difference_is_relative_and_over_all_tensors():
    expected, given = [tf.constant([3.0]), tf.constant([[0.0, 4.0]])], [tf.constant([3.0]), tf.constant([[0.3, 4.4]])]
    assert xla._difference(expected, given) == pytest.approx(0.1, rel=1e-5)
    assert xla._difference(expected, expected) == 0
