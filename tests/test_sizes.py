"""Tests the exact numbers of parameters of every size, by part, without creating weights."""

import glob
import os

import pytest

import gin
from t2t_mm.common import config
from t2t_mm.lab import inspection
from t2t_mm.model import MultiModel

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# With the 8,000 pieces, five commands and 1,000 classes of the paper's eight problems.
SETTING = {
    "vocabulary_size": 8000,
    "commands": ("To-Class", "To-English", "To-French", "To-German", "To-Parse-Tree"),
    "num_classes": {"imagenet": 1000},
    "bins": 80,
}
TABLE = {
    "mini": {
        "language_in": 1_024_000, "image_in": 49_840, "audio_in": 165_648, "command_in": 640, "encoder": 953_856,
        "mixer": 416_256, "decoder": 1_622_528, "language_out": 1_024_000, "categorical_out": 388_392,
    },
    "base": {
        "language_in": 4_096_000, "image_in": 708_251, "audio_in": 1_316_137, "command_in": 2_560,
        "encoder": 69_373_952, "mixer": 6_383_616, "decoder": 79_912_960, "language_out": 4_096_000,
        "categorical_out": 6_814_184,
    },
    "paper": {
        "language_in": 8_192_000, "image_in": 1_764_507, "audio_in": 446_849, "command_in": 5_120,
        "encoder": 1_032_564_736, "mixer": 25_350_144, "decoder": 1_074_614_272, "language_out": 8_192_000,
        "categorical_out": 9_977_320,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def forget():
    yield
    gin.clear_config()


def counts(size):
    config.parse([os.path.join(ROOT, "gin", "sizes", f"{size}.gin")])
    return inspection.parameters(inspection.build_without_weights(config.configured(MultiModel), **SETTING))


@pytest.mark.parametrize("size", TABLE)
def test_parameters(size):
    assert counts(size) == TABLE[size]


def test_every_size_is_in_the_table():
    files = glob.glob(os.path.join(ROOT, "gin", "sizes", "*.gin"))
    assert {os.path.basename(path).removesuffix(".gin") for path in files} == set(TABLE)


def test_the_papers_encoder_and_attention_by_formula():
    """Not the table's numbers but the paper's formulas: d = 1024, 240 experts with a hidden layer of 2,048."""
    d, norm = 1024, 2 * 1024
    separable = lambda taps: taps * d + d * d  # noqa: E731
    block = sum(separable(taps) + norm for taps in (3, 3, 15, 15))
    mixture = 2 * d * 240 + 240 * 2 * d * 2048 + norm
    assert TABLE["paper"]["encoder"] == 6 * block + mixture + norm
    attention = 2 * block + 8 * d * d + 2 * norm
    assert TABLE["paper"]["mixer"] == attention + 2 * block
    assert TABLE["paper"]["decoder"] == 4 * attention + mixture + norm
