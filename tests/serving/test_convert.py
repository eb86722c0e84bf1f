"""Tests that a client's files are sent in a format that an export reads, with the same pixels and samples."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.pictures import decode_image
from t2t_mm.corpora.sounds import decode_audio
from t2t_mm.corpora.sphere import encode_sphere
from t2t_mm.serving.convert import as_an_export_reads_it

RATE = 8000
TONE = (0.4 * np.sin(np.arange(4000) / 5)).astype(np.float32)


def picture(format):
    data = io.BytesIO()
    pixels = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data, format)
    return data.getvalue()


def sound(format, subtype, channels=1):
    data = io.BytesIO()
    soundfile.write(data, np.stack([TONE, TONE[::-1]][:channels], axis=1), RATE, format=format, subtype=subtype)
    return data.getvalue()


@pytest.mark.parametrize("data", [
    picture("JPEG"), picture("PNG"), sound("WAV", "PCM_16"), sound("RF64", "PCM_24"), b"", b"a text", b"RIFF", b"\xff\xd8\xff",
], ids=range(8))  # fmt: skip
def test_what_an_export_reads_and_what_nobody_reads_stays_as_it_is(data):
    assert as_an_export_reads_it(data, "x") is data


@pytest.mark.parametrize("format", ["GIF", "BMP", "WEBP"])
def test_other_images_become_png_with_the_same_pixels(format):
    data = picture(format)
    found = as_an_export_reads_it(data, "x")
    assert found.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode_image(found, "x", None), decode_image(data, "x", None))


@pytest.mark.parametrize("data", [
    sound("FLAC", "PCM_16"), sound("FLAC", "PCM_24", channels=2), sound("OGG", "VORBIS"), sound("OGG", "OPUS"),
    sound("MP3", "MPEG_LAYER_III"), encode_sphere((TONE * 2**15).astype(np.int16), RATE),
], ids=["flac", "two channels", "vorbis", "opus", "mp3", "sphere"])  # fmt: skip
def test_other_recordings_become_wav_with_the_same_samples(data):
    found = as_an_export_reads_it(data, "x")
    assert found[:4] == b"RIFF" and found[8:12] == b"WAVE"
    np.testing.assert_array_equal(decode_audio(found, "x", RATE), decode_audio(data, "x", RATE))


@pytest.mark.parametrize("data", [sound("FLAC", "PCM_16")[:-100], picture("GIF")[:50]], ids=["flac", "gif"])
def test_a_damaged_file_is_named(data):
    with pytest.raises(MediaError, match="^x: "):
        as_an_export_reads_it(data, "x")
