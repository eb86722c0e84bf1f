"""Compares bucket lengths and batch sizes with values calculated by hand."""

import pytest

from t2t_mm.input.buckets import BatchSettings, bucket_shapes
from t2t_mm.problem import Problem

TEXT = Problem("t", None, "language", "text", "c")
SOUND = Problem("s", None, "audio", "text", "c")
PICTURE = Problem("i", None, "image", "class", "c")


def test_lengths_grow_by_a_quarter_up_to_the_longest():
    lengths = [length for length, _ in bucket_shapes(TEXT, BatchSettings(max_length=100))]
    assert lengths == [8, 12, 16, 20, 25, 31, 38, 47, 58, 72, 90, 100]
    assert [length for length, _ in bucket_shapes(TEXT, BatchSettings(max_length=8))] == [8]


def test_a_batch_fills_its_budget_and_shares_it_out():
    settings = BatchSettings(positions=100, max_length=20, audio_frames=50, max_frames=10)
    assert bucket_shapes(TEXT, settings) == [(8, 12), (12, 8), (16, 6), (20, 5)]
    assert bucket_shapes(TEXT, settings, replicas=4) == [(8, 12), (12, 8), (16, 4), (20, 4)]
    assert bucket_shapes(TEXT, settings, replicas=7) == [(8, 7), (12, 7), (16, 7), (20, 7)]
    assert bucket_shapes(TEXT, settings, replicas=4, training=False) == [(8, 12), (12, 8), (16, 6), (20, 5)]
    assert bucket_shapes(SOUND, settings) == [(8, 6), (10, 5)]


@pytest.mark.parametrize("images, replicas, expected", [(32, 1, 32), (32, 3, 30), (2, 3, 3)])
def test_pictures_have_one_bucket_of_their_size(images, replicas, expected):
    assert bucket_shapes(PICTURE, BatchSettings(images=images), replicas) == [(299, expected)]


def test_by_default_training_is_meant_and_nothing_is_augmented():
    settings = BatchSettings()
    assert bucket_shapes(TEXT, settings, 3) == bucket_shapes(TEXT, settings, 3, True)
    assert bucket_shapes(TEXT, settings, 3) != bucket_shapes(TEXT, settings, 3, False)
    assert settings.crop is None and settings.masks is None and not settings.static_shapes
