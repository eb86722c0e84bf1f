"""Pictures and sounds in the graph against the files' readers."""

import io
import re
import wave

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.media import decode_audio, decode_image
from t2t_mm.export.reading import modality, read_pictures, read_sounds
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures, standardise_image
from t2t_mm.input.pipeline import make_batches
from t2t_mm.problem import Problem

ROWS = tf.constant([0])


def encoded(mode, format, size):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (7, 9, 3)).astype("uint8")).resize(size, Image.Resampling.BICUBIC)
    data = io.BytesIO()
    small.convert(mode).save(data, format)
    return data.getvalue()


@pytest.mark.parametrize("size", [(200, 31), (20, 20), (33, 90)])
@pytest.mark.parametrize("mode,format", [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("P", "PNG"), ("RGBA", "PNG")])
def test_pictures_are_those_of_pillow(mode, format, size):
    data = encoded(mode, format, size)
    expected = standardise_image(decode_image(data, "x", 32))
    found = read_pictures(tf.constant([data]), ROWS, 32)[0].numpy()
    grey_level = 1 / decode_image(data, "x", 32).std()
    assert np.abs(found - expected).max() < 1.1 * grey_level  # sums that lie at half a level may round either way
    assert np.abs(found - expected).mean() < 0.2 * grey_level


@pytest.mark.parametrize("rate", [16000, 44100, 8000])
@pytest.mark.parametrize("channels", [1, 2])
def test_sounds_are_those_of_the_reader(rate, channels):
    samples = (np.random.default_rng(0).normal(size=(rate // 3, channels)) * 3000).astype("<i2")
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    audio = AudioFeatures(bins=20)
    expected = audio(decode_audio(data.getvalue(), "x", 16000)).numpy()
    found, padding = read_sounds(tf.constant([data.getvalue()]), ROWS, audio, 1000)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-3)
    assert not padding.numpy().any()


def sound(width=2, frames=800, rate=16000, channels=1):
    """A silent WAV of `width` bytes a sample."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((channels, width, rate, frames, "NONE", ""))
        file.writeframes(bytes(width * frames * channels))
    return data.getvalue()


def changed(data, position, byte):
    return data[:position] + bytes([byte]) + data[position + 1 :]


PICTURES = {form: encoded("RGB", form, (40, 30)) for form in ("JPEG", "PNG")}
DAMAGED = "a damaged JPEG or PNG picture, or one of a kind that is not read; save it anew"
REFUSED_PICTURES = {
    "cut JPEG": (PICTURES["JPEG"][:-100], DAMAGED),
    "JPEG's first bytes": (PICTURES["JPEG"][:3], DAMAGED),
    "JPEG of another precision": (changed(PICTURES["JPEG"], PICTURES["JPEG"].index(b"\xff\xc0") + 4, 12), DAMAGED),
    "cut PNG": (PICTURES["PNG"][:-100], DAMAGED),
    "PNG's first bytes": (PICTURES["PNG"][:8], DAMAGED),
    "PNG with a wrong byte": (changed(PICTURES["PNG"], 60, PICTURES["PNG"][60] ^ 1), DAMAGED),
    "huge PNG": (PICTURES["PNG"][:16] + b"\0\1\0\0" * 2 + PICTURES["PNG"][24:], "a picture of 4294967296 pixels; at most 33554432 are read"),
    "GIF": (encoded("L", "GIF", (9, 9)), "neither a JPEG nor a PNG picture"),
}
CUT = "a damaged WAV sound, or one cut short"
REFUSED_SOUNDS = {
    "8 bits": (sound(1), "a WAV of 8 bits a sample in format 1; 16 bits in format 1 (PCM) are read: convert it"),
    "24 bits": (sound(3), "a WAV of 24 bits a sample in format 1"),
    "float": (changed(sound(4), 20, 3), "a WAV of 32 bits a sample in format 3"),
    "mu-law": (changed(sound(1), 20, 7), "a WAV of 8 bits a sample in format 7"),
    "cut": (sound()[:-2], CUT),
    "header alone": (sound()[:40], CUT),
    "first bytes": (sound()[:12], CUT),
    "no sample": (sound(frames=0), "no sample in it"),
    "rate": (sound(rate=200_000), "a sample rate outside 1000 to 192000 Hz"),
}


@pytest.fixture(scope="module")
def readers():
    """The reading of two pictures, of two sounds, as graphs: there an assertion does not hold back what comes after."""
    two = [tf.TensorSpec([2], tf.string)]
    rows = tf.constant([5, 8])
    audio = AudioFeatures(bins=8)
    return {
        "image": tf.function(lambda data: read_pictures(data, rows, 32), input_signature=two),
        "audio": tf.function(lambda data: read_sounds(data, rows, audio, 1000), input_signature=two),
    }


@pytest.mark.parametrize("what", REFUSED_PICTURES)
def test_a_refused_picture_is_named_by_its_row(readers, what):
    data, message = REFUSED_PICTURES[what]
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape("inputs[8]: ") + ".*" + re.escape(message)):
        readers["image"](tf.constant([PICTURES["PNG"], data]))


@pytest.mark.parametrize("what", REFUSED_SOUNDS)
def test_a_refused_sound_is_named_by_its_row(readers, what):
    data, message = REFUSED_SOUNDS[what]
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape("inputs[8]: ") + ".*" + re.escape(message)):
        readers["audio"](tf.constant([sound(), data]))


def test_silence_is_no_padding(readers, tmp_path):
    """Neither in the graph nor in the files' pipeline, where padding comes from lengths too."""
    for name, data in (("long", sound(frames=1600)), ("short", sound(frames=800))):
        (tmp_path / name).write_bytes(data)
    features, padding = readers["audio"](tf.constant([(tmp_path / name).read_bytes() for name in ("long", "short")]))
    examples = [Example(str(tmp_path / name), 0, name) for name in ("long", "short")]
    problem = Problem("x", None, "audio", "class", "To-Class")
    (batch,) = make_batches(problem, examples, None, AudioFeatures(bins=8), BatchSettings(), Report("x", 0), False)
    assert (batch["index"].numpy().tolist(), padding.shape) == ([0, 1], (2, 8))
    np.testing.assert_array_equal(batch["input_padding"], padding)
    np.testing.assert_array_equal(batch["inputs"], features)
    assert padding.numpy().sum(axis=1).tolist() == [0, 5]


def test_first_bytes_tell_the_modality():
    pictures = [encoded("RGB", "JPEG", (9, 9)), encoded("L", "PNG", (9, 9))]
    inputs = [b"", b"R", b"RIFF are rare", b"RIFF\0\0\0\0WAVEfmt ", *pictures]
    assert modality(tf.constant(inputs)).numpy().tolist() == [0, 0, 0, 2, 1, 1]
