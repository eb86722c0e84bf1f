"""Pictures, decoded outside the graph so that a broken file is one clear error."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.tars import read_file

LARGEST_PICTURE = 100_000_000  # pixels; ImageNet's largest has 61 million
ENDINGS = (".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp")
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # none that starts another program
# What Pillow raises on damaged files, beyond the errors it documents.
_PILLOW_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error,
    zlib.error, Image.DecompressionBombError,
)  # fmt: skip
_ORIENTATION = 0x0112  # the tag of EXIF that says which way up a camera was held
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
# First bytes of what is found under a picture's name and is none, or none that is read.
_OTHERS = (
    (b"<!doctype", "a web page in HTML"), (b"<html", "a web page in HTML"), (b"<?xml", "XML"), (b"<svg", "an SVG drawing"),
    (b"%PDF", "a PDF document"), (b"%!PS", "PostScript"), (b"II*\0", "a TIFF picture"), (b"MM\0*", "a TIFF picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"), (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"), (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "a zip archive"), (b"version https://git-lfs", "a pointer of Git LFS"),
)  # fmt: skip


def load_image(path: str, size: int | None) -> np.ndarray:
    """The picture at `path` as float32 [size, size, 3] in 0..255, resized without cropping.

    Without a size, the whole as uint8 [H, W, 3].

    Grey, palette and CMYK pictures in JPEG, PNG, GIF, BMP or WebP become RGB, whatever the file's ending says, and of 16
    bits the higher eight are kept. A picture stands the way its EXIF orientation says. `path` may be a member of a tar
    (see `tars`).

    Raises:
      MediaError: the file is absent, corrupt, truncated or too large to unpack safely.
    """
    return decode_image(read_file(path), path, size)


def decode_image(data: bytes, origin: str, size: int | None) -> np.ndarray:
    """`load_image` of encoded bytes; `origin` names them in errors."""
    if not data:
        raise MediaError(f"{origin}: not a readable picture: the file is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise MediaError(
                    f"{origin}: {picture.width} × {picture.height} pixels; at most {LARGEST_PICTURE:,} are unpacked."
                )
            picture.load()
            upright = _upright(_to_rgb(picture), picture.info.get("exif", b""))
            if size is None:
                return np.asarray(upright)
            return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR), np.float32)
    except UnidentifiedImageError as error:
        raise MediaError(f"{origin}: not a readable picture: {_what_else(data)}.") from error
    except _PILLOW_ERRORS as error:
        raise MediaError(f"{origin}: not a readable picture: {type(error).__name__}: {error}") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow's own conversion cuts off at 255
        return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return picture.convert("RGB")


def _upright(picture: Image.Image, exif: bytes) -> Image.Image:
    tags = Image.Exif()
    try:
        tags.load(exif)
        turn = _TURNS.get(tags.get(_ORIENTATION, 1))
    except _PILLOW_ERRORS:  # the picture is whole, and as it is what a damaged tag leaves of it
        return picture
    return picture if turn is None else picture.transpose(turn)


def _what_else(data: bytes) -> str:
    """What bytes are that no picture format of ours begins with, as far as they say."""
    begin = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for first, name in _OTHERS:
        if begin[: len(first)].lower() == first.lower():
            return f"it is {name}"
    if data[4:8] == b"ftyp":
        return f"it is a picture or film in a format that is not read ({data[8:12]!r})"
    if data[:3] == b"\xff\xd8\xff" or data[:8] == b"\x89PNG\r\n\x1a\n":
        return "its header is damaged or cut off"
    return f"none of JPEG, PNG, GIF, BMP, WebP (first bytes {data[:8]!r})"
