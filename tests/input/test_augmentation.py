"""Random crops: the same for the same seed, place and picture, in training alone, and after an interruption too."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.pictures import load_image
from t2t_mm.input.augmentation import RandomCrop
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.pipeline import make_batches
from t2t_mm.input.tokenizer import Tokenizer, train_vocabulary
from t2t_mm.problem import Problem
from t2t_mm.run import config

PICTURES = Problem("i", None, "image", "class", "c")
CAPTIONS = Problem("i", None, "image", "text", "c")
WHOLE = {"area": (1.0, 1.0), "aspect": (1.0, 1.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight pictures, each dark at the left and bright at the right, in noise of its own; and a vocabulary."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 60, (40, 40, 3))
        noise[:, 20:] += 190
        Image.fromarray(noise.astype(np.uint8)).save(folder / f"{number}.png")
    train_vocabulary(["a picture"] * 9, [], str(folder / "v.model"), 270)
    return folder


def batches(folder, crop, problem=PICTURES, training=True, seed=0):
    targets = {"class": range(8), "text": ["a picture"] * 8}[problem.targets]
    examples = [Example(str(folder / f"{number}.png"), target, str(number)) for number, target in enumerate(targets)]
    settings = BatchSettings(images=4, image_size=16, crop=crop)
    tokenizer = Tokenizer(str(folder / "v.model"))
    return make_batches(problem, examples, tokenizer, AudioFeatures(), settings, Report("x", 0), training, seed)


def epochs(folder, count=3, **more):
    """[epoch][example] -> its picture."""
    found = [{} for _ in range(count)]
    for number, batch in enumerate(batches(folder, **more).take(2 * count)):
        found[number // 2] |= dict(zip(batch["index"].numpy().tolist(), batch["inputs"].numpy(), strict=True))
    assert all(len(pictures) == 8 for pictures in found)
    return found


def test_a_picture_is_another_in_each_epoch_and_the_same_in_each_run(folder):
    first, again, other = (epochs(folder, crop=RandomCrop(), seed=seed) for seed in (1, 1, 2))
    for epoch in range(3):
        for number in range(8):
            np.testing.assert_array_equal(first[epoch][number], again[epoch][number])
            assert np.abs(first[epoch][number] - first[epoch - 1][number]).max() > 0.01
            assert np.abs(first[epoch][number] - other[epoch][number]).max() > 0.01


def test_crops_of_the_whole_are_the_whole_or_its_mirror_image(folder):
    plain = epochs(folder, count=4, crop=None)
    kept = epochs(folder, count=4, crop=RandomCrop(**WHOLE, mirror=False))
    turned = epochs(folder, count=4, crop=RandomCrop(**WHOLE))
    mirrored = 0
    for epoch in range(4):
        for number in range(8):
            whole = plain[epoch][number]
            np.testing.assert_allclose(kept[epoch][number], whole, atol=0.05)  # Pillow rounds to whole numbers
            is_mirrored = turned[epoch][number][:, 0].mean() > 0
            mirrored += is_mirrored
            np.testing.assert_allclose(turned[epoch][number], whole[:, ::-1] if is_mirrored else whole, atol=0.05)
    assert 5 < mirrored < 27


def test_captions_and_evaluation_keep_their_pictures(folder):
    for problem, training in ((CAPTIONS, True), (CAPTIONS, False), (PICTURES, False)):
        plain, cropped = (next(iter(batches(folder, crop, problem, training))) for crop in (None, RandomCrop()))
        np.testing.assert_array_equal(plain["inputs"], cropped["inputs"])


def test_an_interrupted_training_goes_on_with_the_same_crops(folder, tmp_path):
    iterator = iter(batches(folder, RandomCrop()))
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "c"))
    expected = [next(iterator)["inputs"].numpy() for _ in range(6)]
    other = iter(batches(folder, RandomCrop()))
    tf.train.Checkpoint(iterator=other).restore(path)
    for pictures in expected:
        np.testing.assert_array_equal(next(other)["inputs"].numpy(), pictures)


def test_shares_and_shapes_of_crops_are_those_asked_for():
    """Each pixel says where it is, so a crop shows its own corners."""
    height, width = 60, 80
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    pixels = tf.constant(np.stack([rows, columns, rows], axis=-1), tf.uint8)
    crop, shares = RandomCrop(area=(0.2, 0.6), aspect=(0.5, 2.0), mirror=False), []
    for number in range(60):
        found = crop(pixels, 64, tf.constant([0, number], tf.int64)).numpy()
        rows, columns = np.ptp(found[..., 0]) + 1, np.ptp(found[..., 1]) + 1
        shares.append(rows * columns / (height * width))
        assert 0.45 < columns / rows < 2.2
    assert 0.17 < min(shares) < 0.3 and 0.5 < max(shares) < 0.65


def test_very_narrow_pictures_stay_whole(tmp_path):
    Image.fromarray(np.arange(300, dtype=np.uint8)[None, :256].repeat(3, axis=0)).save(tmp_path / "narrow.png")
    pixels = load_image(str(tmp_path / "narrow.png"), None)
    found = RandomCrop(area=(0.9, 1.0))(tf.constant(pixels), 8, tf.constant([0, 0], tf.int64))
    assert found.shape == (8, 8, 3) and np.ptp(found) > 200


def test_one_file_over_a_run_switches_it_on():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    config.parse([os.path.join(root, "gin", "problems", "crops.gin")])
    assert config.configured(BatchSettings)().crop == RandomCrop()
    assert BatchSettings().crop is None


@pytest.mark.parametrize(
    "ranges", [{"area": (0.0, 1.0)}, {"area": (0.5, 1.1)}, {"aspect": (2.0, 1.0)}, {"aspect": (1.0,)}]
)
def test_ranges_that_cannot_be_meant(ranges):
    with pytest.raises(ValueError, match=f"RandomCrop: {next(iter(ranges))} is"):
        RandomCrop(**ranges)
