"""Compares the images and audio that the graph reads with those of the readers of files."""

import io
import re
import wave

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.corpora.example import Example, MediaError, Report
from t2t_mm.corpora.pictures import decode_image
from t2t_mm.corpora.sounds import decode_audio
from t2t_mm.export.reading import decode_picture, decode_sound, modality, read_pictures, read_sounds
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures, standardise_image
from t2t_mm.input.pipeline import make_batches
from t2t_mm.problem import Problem
from tests.corpora.test_pictures import grey16, oriented
from tests.corpora.test_sounds import CODINGS, sound_file, wav_variants

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


@pytest.fixture(scope="module")
def read_one():
    """Returns a graph that computes the samples and the rate of one recording."""
    spec = [tf.TensorSpec([], tf.string)]
    return tf.function(lambda data: decode_sound(data, tf.constant(0)), input_signature=spec)


@pytest.mark.parametrize("container, coding", [kind for kind in CODINGS if kind[0] in ("WAV", "WAVEX", "RF64")])
def test_every_coding_of_wav_is_that_of_the_reader(read_one, container, coding):
    two = np.random.default_rng(0).uniform(-1, 1, (3001, 2)).astype(np.float32)
    two[:2] = 1, -1
    data = sound_file(container, coding, two)
    samples, rate = read_one(tf.constant(data))
    np.testing.assert_allclose(samples, decode_audio(data, "x", 16000), atol=1e-7)
    assert rate == 16000


def test_every_byte_of_the_laws_is_that_of_the_reader(read_one):
    for coding in ("ALAW", "ULAW"):
        data = sound_file("WAV", coding, np.zeros(256))
        at = data.index(b"data") + 8
        data = data[:at] + bytes(range(256)) + data[at + 256 :]
        np.testing.assert_array_equal(read_one(tf.constant(data))[0], decode_audio(data, "x", 16000))


def test_wav_as_it_is_found_is_that_of_the_reader(read_one):
    for name, data in wav_variants().items():
        np.testing.assert_array_equal(read_one(tf.constant(data))[0], decode_audio(data, "x", 16000), err_msg=name)


def test_damaged_wav_is_refused_by_both_or_the_same_in_both(read_one):
    rng = np.random.default_rng(0)
    refused = 0
    for name, data in wav_variants().items():
        for _ in range(60):
            damaged = bytearray(data)
            damaged[rng.integers(12, min(len(data), 90))] = rng.integers(256)
            damaged = bytes(damaged[: rng.integers(20, len(data) + 1) if rng.random() < 0.3 else None])
            try:
                expected = decode_audio(damaged, "x", 16000)
            except MediaError:
                expected = None
            try:
                samples, rate = read_one(tf.constant(damaged))
                found = samples.numpy() if 1000 <= rate <= 192_000 else None
            except tf.errors.InvalidArgumentError as error:
                assert "inputs[0]: " in error.message, (name, damaged)
                found = None
            refused += found is None
            assert (found is None) == (expected is None), (name, damaged)
            if found is not None and rate == 16000:
                np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 100 < refused < 400


def test_grey_of_sixteen_bits_is_that_of_the_reader():
    _, pixels = decode_picture(tf.constant(grey16()), tf.constant(0))
    np.testing.assert_array_equal(pixels, decode_image(grey16(), "x", None))
    assert pixels.numpy().mean() == 127.5


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_exif_says(orientation, format):
    data, upright = oriented(orientation, format)
    height, pixels = decode_picture(tf.constant(data), tf.constant(0))
    assert height == 24 and pixels.shape == upright.shape
    np.testing.assert_allclose(pixels, decode_image(data, "x", None), atol=3)


def test_exif_of_any_whole_type_and_fill_bytes_are_those_of_the_reader():
    data, upright = oriented(6)
    at = data.index(b"Exif\0\0") + 6
    field = data.index(bytes([1, 0x12, 0, 3]), at)  # the tag and its type
    variants = {kind: changed(data, field + 3, kind) for kind in (3, 8)}
    for kind in (4, 9):
        value = bytes([0, 0, 0, 6])
        variants[kind] = data[: field + 3] + bytes([kind]) + data[field + 4 : field + 8] + value + data[field + 12 :]
    begin = data.index(b"\xff\xe1")
    variants["fill"] = data[:begin] + b"\xff\xff" + data[begin:]
    for name, variant in variants.items():
        assert decode_image(variant, "x", None).shape == upright.shape
        assert decode_picture(tf.constant(variant), tf.constant(0))[1].shape == upright.shape, name


def test_exif_that_is_damaged_turns_nothing_or_as_in_the_reader():
    data, _ = oriented(6)
    at, rng = data.index(b"Exif\0\0") + 6, np.random.default_rng(0)
    read = tf.function(lambda data: decode_picture(data, tf.constant(0))[0], input_signature=[tf.TensorSpec([], tf.string)])
    for place in range(at, at + 26):
        damaged = changed(data, place, int(rng.integers(256)))
        assert read(tf.constant(damaged)) == len(decode_image(damaged, "x", None)), place


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
DAMAGED = "a damaged or unsupported JPEG or PNG image; save it again"
REFUSED_PICTURES = {
    "cut JPEG": (PICTURES["JPEG"][:-100], DAMAGED),
    "JPEG's first bytes": (PICTURES["JPEG"][:3], DAMAGED),
    "JPEG of another precision": (changed(PICTURES["JPEG"], PICTURES["JPEG"].index(b"\xff\xc0") + 4, 12), DAMAGED),
    "cut PNG": (PICTURES["PNG"][:-100], DAMAGED),
    "PNG's first bytes": (PICTURES["PNG"][:8], DAMAGED),
    "PNG with a wrong byte": (changed(PICTURES["PNG"], 60, PICTURES["PNG"][60] ^ 1), DAMAGED),
    "huge PNG": (
        PICTURES["PNG"][:16] + b"\0\1\0\0" * 2 + PICTURES["PNG"][24:],
        "an image of 4294967296 pixels; at most 33554432 are allowed",
    ),
    "GIF": (encoded("L", "GIF", (9, 9)), "neither a JPEG nor a PNG image"),
}
CUT = "a damaged or truncated WAV file"
REFUSED_SOUNDS = {
    "ADPCM": (changed(sound(), 20, 2), "a WAV with 16 bits per sample in format 2; PCM of 8, 16, 24 or 32 bits, float of"),
    "12 bits": (changed(sound(), 34, 12), "a WAV with 12 bits per sample in format 1"),
    "frames of another size": (changed(sound(), 32, 4), CUT),
    "no number": (sound_file("WAV", "FLOAT", np.array([0.5, np.inf])), "some of its samples are infinite or NaN"),
    "FLAC": (sound_file("FLAC", "PCM_16"), "not a WAV file"),
    "cut": (sound()[:-2], CUT),
    "header alone": (sound()[:40], CUT),
    "first bytes": (sound()[:12], CUT),
    "no sample": (sound(frames=0), "it contains no samples"),
    "rate": (sound(rate=200_000), "a sample rate outside 1000 to 192000 Hz"),
}


@pytest.fixture(scope="module")
def readers():
    """Graphs that read two images and two recordings. In a graph, operations can run in spite of a failed assertion."""
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
