import io
import wave

import numpy as np
import pytest
from PIL import Image

from t2t_mm.corpora.media import MediaError, decode_audio, decode_image, load_audio, load_image


def encoded(mode, format, size=(40, 30)):
    file = io.BytesIO()
    Image.new(mode, size, {"L": 200, "CMYK": (0, 0, 0, 55), "RGB": (200, 200, 200), "P": 0}[mode]).save(file, format)
    return file.getvalue()


@pytest.mark.parametrize("mode,format", [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG")])
def test_every_kind_of_picture_becomes_rgb(mode, format):
    pixels = decode_image(encoded(mode, format), "x", 16)
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, 200, atol=2)


@pytest.mark.parametrize("data", [b"", b"junk", encoded("RGB", "JPEG")[:300], encoded("RGB", "PNG")[:60]])
def test_a_broken_picture_is_named(data, tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(data)
    with pytest.raises(MediaError, match="broken.jpg"):
        load_image(str(path), 8)


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(MediaError, match="bomb"):
        decode_image(encoded("RGB", "PNG"), "bomb.png", 8)


def wav(samples, rate=16000, width=2, channels=1):
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(samples.tobytes())
    return file.getvalue()


def test_wav_widths_and_channels():
    ramp = np.array([-1.0, -0.5, 0.0, 0.5])
    for width, dtype, scale, shift in ((1, np.uint8, 128, 128), (2, "<i2", 2**15, 0), (4, "<i4", 2**31, 0)):
        sound = wav((ramp * scale + shift).astype(dtype), width=width)
        np.testing.assert_allclose(decode_audio(sound, "x", 16000), ramp)
    stereo = np.array([[0.5, -0.5], [0.5, 0.25]]) * 2**15
    np.testing.assert_allclose(decode_audio(wav(stereo.astype("<i2"), channels=2), "x", 16000), [0, 0.375])


@pytest.mark.parametrize(
    "data,message",
    [
        (b"", "neither WAV, FLAC nor SPHERE"),
        (wav(np.zeros(100, "<i2"))[:150], "truncated|readable"),
        (wav(np.zeros(0, "<i2")), "no sample"),
        (b"fLaC" + bytes(10), "truncated"),
    ],
)
def test_bad_sound_is_named(data, message, tmp_path):
    path = tmp_path / "bad.wav"
    path.write_bytes(data)
    with pytest.raises(MediaError, match=f"bad.wav: .*({message})"):
        load_audio(str(path), 16000)


def test_a_missing_file_is_named():
    with pytest.raises(MediaError, match="nowhere.wav"):
        load_audio("nowhere.wav", 16000)
