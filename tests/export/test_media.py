"""Pictures and sounds in the graph against the files' readers."""

import io
import wave

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.data.features import AudioFeatures, standardise_image
from t2t_mm.data.media import decode_audio, decode_image
from t2t_mm.export.media import modality, read_pictures, read_sounds

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


def test_first_bytes_tell_the_modality():
    pictures = [encoded("RGB", "JPEG", (9, 9)), encoded("L", "PNG", (9, 9))]
    inputs = [b"", b"R", b"RIFF are rare", b"RIFF\0\0\0\0WAVEfmt ", *pictures]
    assert modality(tf.constant(inputs)).numpy().tolist() == [0, 0, 0, 2, 1, 1]
