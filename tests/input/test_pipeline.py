"""Tests batches: buckets within a budget, padding masks, order by seed, and examples that do not fit or decode."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import CorpusError, Example, Report, TooManyBadExamples
from t2t_mm.corpora.sphere import encode_sphere
from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import BatchSettings, bucket_shapes
from t2t_mm.input.features import AudioFeatures, standardise_image
from t2t_mm.input.pipeline import make_batches, next_batch
from t2t_mm.input.tokenizer import Tokenizer, train_vocabulary
from t2t_mm.problem import Problem

TRANSLATION = Problem("t", None, "language", "text", "c")
PICTURES = Problem("i", None, "image", "class", "c")
SPEECH = Problem("s", None, "audio", "text", "c")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("v") / "v.model")
    train_vocabulary([f"word number {i} of a text" for i in range(50)], [], path, 300)
    return Tokenizer(path)


def batches(problem, examples, tokenizer, report=None, training=False, seed=0, replicas=1, **settings):
    settings = BatchSettings(**{"positions": 64, "max_length": 40, "image_size": 8, "images": 3, **settings})
    audio = AudioFeatures(bins=20)
    return make_batches(problem, examples, tokenizer, audio, settings, report or Report("x", 0), training, seed, replicas)


def sentences(lengths):
    return [Example("a " * n, "b", f"f:{i}") for i, n in enumerate(lengths)]


def test_every_example_once_within_the_budget_and_masked(tokenizer):
    lengths = [1, 5, 9, 2, 30, 12, 7, 3, 1, 25]
    seen = []
    for batch in batches(TRANSLATION, sentences(lengths), tokenizer):
        assert batch["inputs"].shape[0] * batch["inputs"].shape[1] <= 64
        np.testing.assert_array_equal(batch["input_padding"], batch["inputs"].numpy() == 0)
        for row, index in zip(batch["inputs"].numpy(), batch["index"].numpy()):
            ids = row[row != 0]
            assert tokenizer.detokenize(ids).split() == ["a"] * lengths[index] and ids[-1] == 1
            seen.append(index)
    assert sorted(seen) == list(range(len(lengths)))


def test_a_problem_s_budget_is_multiplied_with_its_factor():
    settings = BatchSettings(images=6, positions=100, max_length=10, factors={"classes": 1.5, "en_de": 0.5})
    captions = Problem("captions", None, "image", "text", "To-English")
    classes = Problem("classes", None, "image", "class", "To-Class")
    assert bucket_shapes(captions, settings, replicas=4) == [(299, 4)]
    assert bucket_shapes(classes, settings, replicas=4) == [(299, 8)]
    assert bucket_shapes(classes, BatchSettings(images=6)) == [(299, 6)]
    text = [Problem(name, None, "language", "text", "To-German") for name in ("en_de", "de_en")]
    assert [bucket_shapes(problem, settings)[0] for problem in text] == [(8, 6), (8, 12)]
    with pytest.raises(RunError, match=r"factors\['classes'\] is 0; it must be above 0"):
        BatchSettings(factors={"classes": 0})


def test_a_factor_of_another_problem_is_a_warning_that_names_what_is_near(caplog):
    Experiment([Problem("imagenet", None, "image", "class", "To-Class")], "v", batches=BatchSettings(factors={"imagenett": 2}))
    assert "factors names 'imagenett', which is not a problem of this run (did you mean imagenet?)." in caplog.text


def test_what_is_longer_than_the_limit_is_left_out_and_counted(tokenizer):
    report = Report("x", max_bad=0)
    (batch,) = batches(TRANSLATION, sentences([2, 200]), tokenizer, report)
    assert batch["index"].numpy().tolist() == [0]
    assert report.left_out == {"f:1": "longer than max_length 40 tokens"} and not report.skipped
    report = Report("x", max_bad=0)
    (batch,) = batches(TRANSLATION, [*sentences([2]), Example("a", "b " * 50, "f:9")], tokenizer, report)
    assert report.left_out == {"f:9": "its target is longer than max_length 40 tokens"}


def test_an_evaluation_leaves_nothing_out_that_training_reads():
    assert BatchSettings(max_length=9000, max_frames=99).complete(AudioFeatures()) == BatchSettings(
        max_length=9000, max_frames=65536
    )
    complete = BatchSettings(positions=7).complete(AudioFeatures(bins=1, hop=160))
    # Eleven minutes of a waveform, too, in which a frame is a sample.
    assert (complete.max_length, complete.max_frames, complete.positions) == (4096, 65536 * 160, 7)


@pytest.mark.parametrize("problem, reason", [(TRANSLATION, "longer than max_length 40"), (PICTURES, "No such file")])
def test_a_training_set_without_a_usable_example_ends_the_run(tokenizer, tmp_path, problem, reason):
    """Its stream would otherwise be endless and without a batch."""
    if problem is PICTURES:
        examples = [Example(str(tmp_path / f"{i}.png"), 0, f"f:{i}") for i in range(3)]
    else:
        examples = sentences([200, 300, 400])
    report = Report("x", max_bad=5)
    with pytest.raises(CorpusError, match=f"{problem.name}: none of its 3 training examples is usable .*f:.: .*{reason}"):
        next_batch(iter(batches(problem, examples, tokenizer, report, training=True)), report)


@pytest.mark.parametrize("name", ["positions", "images", "audio_frames", "max_length", "max_frames", "image_size", "shuffle"])
def test_sizes_of_batches_are_positive(name):
    with pytest.raises(RunError, match=f"BatchSettings.{name} is 0; it must be at least 1"):
        BatchSettings(**{name: 0})


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"sample_rate": 8000}, "AudioFeatures.highest is 7600.0, which is above half of sample_rate, 8000"),
        ({"lowest": 8000.0}, "AudioFeatures.lowest is 8000.0; it must be from 0 to below highest, 7600.0"),
        ({"hop": 0}, "AudioFeatures.hop is 0; it must be at least 1"),
    ],
)
def test_settings_of_audio_that_have_no_spectrogram_are_refused(settings, message):
    with pytest.raises(RunError, match=message):
        AudioFeatures(**settings)
    assert AudioFeatures(sample_rate=8000, bins=1).sample_rate == 8000


def test_training_batches_are_endless_shared_out_and_repeatable(tokenizer):
    def first(seed):
        data = batches(TRANSLATION, sentences(range(1, 30)), tokenizer, training=True, seed=seed, replicas=2)
        found = [batch["index"].numpy().tolist() for batch in data.take(40)]
        assert all(len(indices) % 2 == 0 for indices in found)
        return found

    assert first(1) == first(1) != first(2)
    assert sum(map(len, first(1))) > 29 * 2  # several epochs


def test_pictures_of_any_kind_become_three_standardised_channels(tokenizer, tmp_path):
    for name, mode in (("a.jpg", "CMYK"), ("b.png", "L"), ("c.JPEG", "RGB")):
        noise = np.random.default_rng(0).integers(0, 255, (20, 30, len(mode)), np.uint8)
        Image.fromarray(noise.squeeze(), mode).save(tmp_path / name)
    examples = [Example(str(tmp_path / name), i, name) for i, name in enumerate(("a.jpg", "b.png", "c.JPEG"))]
    (batch,) = batches(PICTURES, examples, tokenizer)
    assert batch["inputs"].shape == (3, 8, 8, 3) and batch["targets"].numpy().tolist() == [0, 1, 2]
    np.testing.assert_allclose(batch["inputs"].numpy().mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(batch["inputs"].numpy().std(axis=(1, 2, 3)), 1, atol=1e-4)
    flat = standardise_image(np.full([4, 4, 3], 7.0, np.float32))
    assert np.isfinite(flat).all() and not flat.any()
    nearly = np.full([4, 4, 3], 7.0, np.float64)
    nearly[0, 0, 0] += 0.01  # is not stretched to a deviation of 1
    assert standardise_image(nearly).max() == pytest.approx((0.01 - 0.01 / 48) * 48**0.5, rel=1e-4)


def test_a_corrupt_picture_is_skipped_by_name_and_too_many_stop(tokenizer, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "good.png")
    for name in ("bad1.jpg", "bad2.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8 no picture")
    examples = [Example(str(tmp_path / name), 0, name) for name in ("bad1.jpg", "good.png", "bad2.jpg")]
    report = Report("x", max_bad=2)
    (batch,) = batches(PICTURES, examples, tokenizer, report)
    assert batch["index"].numpy().tolist() == [1]
    assert set(report.skipped) == {"bad1.jpg", "bad2.jpg"} and "not a readable image" in report.skipped["bad1.jpg"]
    strict = Report("x", max_bad=1)
    with pytest.raises(TooManyBadExamples, match="2 unusable examples.*increase max_bad_examples"):
        iterator = iter(batches(PICTURES, examples, tokenizer, strict))
        while True:
            next_batch(iterator, strict)


def test_sounds_become_frames_and_their_padding_is_masked(tokenizer, tmp_path):
    rng = np.random.default_rng(0)
    for name, samples in (("a.wv1", 16000), ("b.wv1", 15000)):
        (tmp_path / name).write_bytes(encode_sphere(rng.integers(-999, 999, samples).astype(np.int16), 16000))
    (tmp_path / "cut.wv1").write_bytes((tmp_path / "a.wv1").read_bytes()[:2000])
    examples = [Example(str(tmp_path / n), "a word", n) for n in ("a.wv1", "b.wv1", "cut.wv1")]
    report = Report("x", max_bad=1)
    (batch,) = batches(SPEECH, examples, tokenizer, report, audio_frames=400, max_frames=120)
    assert batch["inputs"].shape == (2, 98, 20)  # 1 + (16000 - 400) // 160 frames
    assert batch["input_padding"].numpy().sum(axis=1).tolist() == [0, 6]
    assert "truncated" in report.skipped["cut.wv1"]


def test_a_tone_is_brightest_at_its_own_mel_bin():
    tone = lambda hertz: np.sin(2 * np.pi * hertz * np.arange(16000) / 16000).astype("float32")  # noqa: E731
    noise = np.random.default_rng(0).normal(size=16000).astype("float32") * 1e-3
    sounds = AudioFeatures(bins=40)
    # A tone that begins in the middle stands out from its own bin's mean.
    found = []
    for hertz in (300, 1000, 3000):
        step = tone(hertz) * (np.arange(16000) > 8000) + noise
        frames = sounds(tf.constant(step)).numpy()
        assert frames.shape == (98, 40)
        found.append(int(np.argmax(tf.signal.linear_to_mel_weight_matrix(40, 257, 16000, 60, 7600)[
            round(hertz / 16000 * 512)])))  # fmt: skip
        assert frames[70, found[-1]] - frames[20, found[-1]] > 1.5
    assert found == sorted(found) and len(set(found)) == 3


def test_the_waveform_itself_can_be_the_input():
    samples = np.random.default_rng(0).normal(3, 2, 1000).astype("float32")
    wave = AudioFeatures(bins=1)(tf.constant(samples)).numpy()
    assert wave.shape == (1000, 1)
    np.testing.assert_allclose(wave[:, 0], (samples - samples.mean()) / samples.std(), atol=1e-4)
