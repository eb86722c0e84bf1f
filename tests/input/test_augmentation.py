"""Tests that random crops and masks depend only on seed, place and input, apply only in training, and survive a restart."""

import os
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.common import config
from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.pictures import load_image
from t2t_mm.input.augmentation import RandomCrop, SpecAugment
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.pipeline import make_batches
from t2t_mm.input.tokenizer import Tokenizer, train_vocabulary
from t2t_mm.problem import Problem
from tests.corpora.test_sounds import wav

PICTURES = Problem("i", None, "image", "class", "c")
CAPTIONS = Problem("i", None, "image", "text", "c")
WHOLE = {"area": (1.0, 1.0), "aspect": (1.0, 1.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight images with different noise, dark at the left and bright at the right, and a vocabulary."""
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
    """Returns the images by epoch and example."""
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


def test_by_default_crops_are_those_of_inception():
    assert RandomCrop() == RandomCrop(area=(0.08, 1.0), aspect=(3 / 4, 4 / 3), mirror=True)  # Szegedy et al. 2015


def test_very_narrow_pictures_stay_whole(tmp_path):
    Image.fromarray(np.arange(300, dtype=np.uint8)[None, :256].repeat(3, axis=0)).save(tmp_path / "narrow.png")
    pixels = load_image(str(tmp_path / "narrow.png"), None)
    found = RandomCrop(area=(0.9, 1.0))(tf.constant(pixels), 8, tf.constant([0, 0], tf.int64))
    assert found.shape == (8, 8, 3) and np.ptp(found) > 200


def test_one_file_over_a_run_switches_it_on():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    config.parse([os.path.join(root, "gin", "problems", "crops.gin")])
    assert config.configured(BatchSettings)().crop == RandomCrop()
    config.parse([os.path.join(root, "gin", "problems", "masks.gin")])
    assert config.configured(BatchSettings)().masks == SpecAugment(time_share=0.5)
    assert BatchSettings().crop is None and BatchSettings().masks is None


@pytest.mark.parametrize("ranges", [{"area": (0.0, 1.0)}, {"area": (0.5, 1.1)}, {"aspect": (2.0, 1.0)}, {"aspect": (1.0,)}])
def test_ranges_that_cannot_be_meant(ranges):
    with pytest.raises(ValueError, match=f"RandomCrop: {next(iter(ranges))} is"):
        RandomCrop(**ranges)


SPEECH = Problem("s", None, "audio", "text", "c")


def spectrograms(folder, masks, training=True, seed=0):
    """The stream of batches of four from eight recordings of noise."""
    for number in range(8):
        samples = np.random.default_rng(number).normal(size=16000) * 3000
        (folder / f"{number}.wav").write_bytes(wav(samples.astype("<i2")))
    examples = [Example(str(folder / f"{number}.wav"), "a picture", str(number)) for number in range(8)]
    settings = BatchSettings(audio_frames=400, max_frames=100, masks=masks)
    tokenizer, audio = Tokenizer(str(folder / "v.model")), AudioFeatures(bins=20)
    return make_batches(SPEECH, examples, tokenizer, audio, settings, Report("x", 0), training, seed)


MASKS = SpecAugment(frequency_width=8, time_width=30)


def by_index(batches):
    return {(turn, int(i)): x for turn, b in enumerate(batches) for i, x in zip(b["index"].numpy(), b["inputs"].numpy())}


def test_masks_are_others_in_each_epoch_and_the_same_in_each_run(folder):
    plain, first, again, other = (
        by_index(spectrograms(folder, masks, seed=seed).take(4))
        for masks, seed in ((None, 1), (MASKS, 1), (MASKS, 1), (MASKS, 2))
    )
    assert plain.keys() == first.keys() == again.keys() and len(first) == 16
    covered = {}
    for place, spectrogram in first.items():
        np.testing.assert_array_equal(spectrogram, again[place])
        hidden = (spectrogram == 0) & (plain[place] != 0)
        np.testing.assert_array_equal(spectrogram[~hidden], plain[place][~hidden])
        rows, columns = hidden.all(axis=1), hidden.all(axis=0)
        np.testing.assert_array_equal(hidden, rows[:, None] | columns)  # whole frames, whole frequencies, nothing else
        assert rows.sum() <= 60 and columns.sum() <= 16
        covered.setdefault(place[1], []).append(hidden)
    assert all((a != b).any() for a, b in covered.values())
    common = first.keys() & other.keys()
    assert common and any((first[place] != other[place]).any() for place in common)


def test_evaluation_masks_nothing_and_an_interrupted_training_goes_on_with_the_same_masks(folder, tmp_path):
    for plain, masked in zip(spectrograms(folder, None, False), spectrograms(folder, MASKS, False)):
        np.testing.assert_array_equal(plain["inputs"], masked["inputs"])
    iterator = iter(spectrograms(folder, MASKS))
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "c"))
    expected = [next(iterator)["inputs"].numpy() for _ in range(4)]
    other = iter(spectrograms(folder, MASKS))
    tf.train.Checkpoint(iterator=other).restore(path)
    for found in expected:
        np.testing.assert_array_equal(next(other)["inputs"].numpy(), found)


def test_every_width_and_every_place_of_a_mask_is_as_likely():
    """One mask of up to 3 of 6 frequencies: a width of 0 to 3 a quarter each, then its places alike."""
    masks = SpecAugment(frequency_masks=1, frequency_width=3, time_masks=0)
    found = tf.vectorized_map(lambda n: masks(tf.ones([4, 6]), tf.stack([n, 7])), tf.range(4000, dtype=tf.int64)).numpy()
    widths = 6 - found[:, 0].sum(axis=1)
    np.testing.assert_allclose(np.bincount(widths.astype(int), minlength=4) / 4000, [0.25] * 4, atol=0.03)
    first = found[widths == 3][:, 0]
    np.testing.assert_allclose((first == 0).mean(axis=0), np.array([1, 2, 3, 3, 2, 1]) / 4, atol=0.06)
    assert (found == found[:, :1]).all()


def test_masks_of_time_cover_no_more_than_their_share_and_a_waveform_keeps_its_one_column():
    masks = SpecAugment(time_masks=1, time_width=1000, time_share=0.25)
    for number in range(20):
        found = masks(tf.ones([40, 1]), tf.constant([0, number], tf.int64)).numpy()
        assert 30 <= found.sum() <= 40
    assert (SpecAugment(frequency_width=0, time_width=0)(tf.ones([9, 4]), tf.constant([0, 1], tf.int64)).numpy() == 1).all()


def test_masks_are_those_of_tensorflow_io(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tfio = pytest.importorskip("tensorflow_io", reason="tensorflow-io, which has no wheel for Python 3.13, is absent")
    rng = np.random.default_rng(0)
    spectrogram = tf.constant(rng.normal(size=(30, 12)), tf.float32)
    for _ in range(20):
        width, begin = int(rng.integers(0, 6)), int(rng.integers(0, 7))
        for name, theirs in (("frequency", tfio.audio.freq_mask), ("time", tfio.audio.time_mask)):
            draws = iter([width, begin])
            monkeypatch.setattr(tf.random, "uniform", lambda *_, **__: tf.constant(next(draws)))
            expected = theirs(spectrogram, 6).numpy()
            drawn = iter([width, begin])
            monkeypatch.setattr(tf.random, "stateless_uniform", lambda *_: tf.constant(next(drawn)))
            counts = {"frequency_masks": name == "frequency", "time_masks": name == "time"}
            found = SpecAugment(**counts, frequency_width=6, time_width=6)(spectrogram, tf.constant([0, 0], tf.int64))
            np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("name, value", [("time_masks", -1), ("frequency_width", -2), ("time_share", 1.5)])
def test_masks_that_cannot_be_meant(name, value):
    with pytest.raises(ValueError, match=f"SpecAugment: {name} is {value}"):
        SpecAugment(**{name: value})
