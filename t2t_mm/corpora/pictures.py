"""Decodes images outside the graph, so that a damaged file causes one clear error."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.tars import read_file

LARGEST_PICTURE = 100_000_000  # pixels; ImageNet's largest has 61 million
ENDINGS = (".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp")
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # only formats that do not start another program
# The exceptions of Pillow for damaged files, including undocumented ones.
_PILLOW_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error,
    zlib.error, Image.DecompressionBombError,
)  # fmt: skip
_ORIENTATION = 0x0112  # the EXIF tag for the orientation of the camera
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
# The first bytes of files that have the name of an image, but are something else or have an unsupported format.
_OTHERS = (
    (b"<!doctype", "a web page in HTML"), (b"<html", "a web page in HTML"), (b"<?xml", "XML"), (b"<svg", "an SVG drawing"),
    (b"%PDF", "a PDF document"), (b"%!PS", "PostScript"), (b"II*\0", "a TIFF image"), (b"MM\0*", "a TIFF image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"), (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"), (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "a zip archive"), (b"version https://git-lfs", "a pointer of Git LFS"),
)  # fmt: skip


def load_image(path: str, size: int | None) -> np.ndarray:
    """Returns the image at `path` as float32 [size, size, 3] in 0..255, resized without cropping.

    Without a size, returns the original image as uint8 [H, W, 3].

    The format (JPEG, PNG, GIF, BMP or WebP) does not depend on the file extension. Greyscale, palette and CMYK images are
    converted to RGB. Of 16-bit values, the upper eight bits are used. The image is rotated according to its EXIF
    orientation. `path` may be a member of a tar file (see `tars`).

    Raises:
      MediaError: the file is missing, damaged, truncated or too large to unpack safely.
    """
    return decode_image(read_file(path), path, size)


def decode_image(data: bytes, origin: str, size: int | None) -> np.ndarray:
    """Does the same as `load_image` for encoded bytes. `origin` identifies them in errors.

    Raises:
      MediaError: see `load_image`.
    """
    if not data:
        raise MediaError(f"{origin}: not a readable image: the file is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise MediaError(
                    f"{origin}: {picture.width} × {picture.height} pixels; at most {LARGEST_PICTURE:,} are allowed."
                )
            picture.load()
            upright = _upright(_to_rgb(picture), picture.info.get("exif", b""))
            if size is None:
                return np.asarray(upright)
            return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR), np.float32)
    except UnidentifiedImageError as error:
        raise MediaError(f"{origin}: not a readable image: {_what_else(data)}.") from error
    except _PILLOW_ERRORS as error:
        raise MediaError(f"{origin}: not a readable image: {type(error).__name__}: {error}") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit greyscale, which Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return picture.convert("RGB")


def _upright(picture: Image.Image, exif: bytes) -> Image.Image:
    tags = Image.Exif()
    try:
        tags.load(exif)
        turn = _TURNS.get(tags.get(_ORIENTATION, 1))
    except _PILLOW_ERRORS:  # only the EXIF tag is damaged, so keep the orientation
        return picture
    return picture if turn is None else picture.transpose(turn)


def _what_else(data: bytes) -> str:
    """Describes bytes that do not begin like a supported image format."""
    begin = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for first, name in _OTHERS:
        if begin[: len(first)].lower() == first.lower():
            return f"it is {name}"
    if data[4:8] == b"ftyp":
        return f"it is an image or video in an unsupported format ({data[8:12]!r})"
    if data[:3] == b"\xff\xd8\xff" or data[:8] == b"\x89PNG\r\n\x1a\n":
        return "its header is damaged or truncated"
    return f"it is not JPEG, PNG, GIF, BMP or WebP (first bytes {data[:8]!r})"
