import io

import numpy as np
import pytest
from PIL import Image

from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.pictures import decode_image, load_image


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


def grey16():
    """A ramp over the whole range of 16 bits; its higher bytes are 0 to 255."""
    data = io.BytesIO()
    Image.fromarray((np.arange(4096).reshape(64, 64) * 16 + 7).astype(np.uint16)).save(data, "PNG")
    return data.getvalue()


def test_of_sixteen_bits_of_grey_the_higher_eight_count():
    pixels = decode_image(grey16(), "x", None)
    np.testing.assert_array_equal(pixels[..., 0].ravel(), np.arange(4096) // 16)
    assert pixels.mean() == 127.5 and pixels.shape == (64, 64, 3)


def oriented(orientation, format="JPEG"):
    """An image of four colours, [24, 40] when upright, which is stored rotated, with the EXIF tag that restores it."""
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:12, :20, 0] = upright[:12, 20:, 1] = upright[12:, :20, 2] = 255
    picture = Image.fromarray(upright)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)  # Pillow's numbers; 6 is undone by a quarter turn
    stored = picture if back is None else picture.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    stored.save(data, format, exif=exif, **({"quality": 95, "subsampling": 0} if format == "JPEG" else {}))
    return data.getvalue(), upright


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_exif_says(orientation, format):
    data, upright = oriented(orientation, format)
    pixels = decode_image(data, "x", None).astype(int)
    assert pixels.shape == upright.shape and np.abs(pixels - upright).mean() < 6


def test_exif_that_is_damaged_turns_nothing():
    data, _ = oriented(6)
    at = data.index(b"Exif\0\0") + 6
    pixels = decode_image(data[:at] + b"junkjunk" + data[at + 8 :], "x", None)
    assert pixels.shape == (40, 24, 3)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page in HTML"),
        (b"\n <HTML>", "it is a web page in HTML"),
        (b"II*\0\x08\0\0\0", "it is a TIFF image"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "in an unsupported format"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (encoded("RGB", "JPEG")[:3], "its header is damaged or truncated"),
        (b"abcdefgh", "it is not JPEG, PNG, GIF, BMP or WebP"),
    ],
)
def test_the_reason_says_what_the_file_is(data, reason):
    with pytest.raises(MediaError, match=f"a.JPEG: not a readable image: .*{reason}"):
        decode_image(data, "a.JPEG", 8)
