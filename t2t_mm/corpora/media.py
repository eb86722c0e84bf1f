"""Pictures and sounds, decoded outside the graph so that a broken file is one clear error."""

import io
import struct
import wave
import zlib

import numpy as np
from PIL import Image

from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.flac import FlacError, check_frames, read_info
from t2t_mm.corpora.resampling import resampler
from t2t_mm.corpora.sphere import decode_sphere
from t2t_mm.corpora.tars import is_member, read_member

LARGEST_FILE = 1 << 28  # bytes of a picture or sound
LARGEST_PICTURE = 100_000_000  # pixels; ImageNet's largest has 61 million
LARGEST_SOUND = 1 << 26  # samples of all channels: 70 minutes at 16 kHz
SAMPLE_RATES = (1000, 192_000)  # Hz, lowest and highest that are read
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "MPO")  # none that starts another program
# What Pillow raises on damaged files, beyond the errors it documents.
_PILLOW_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error,
    zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def load_image(path: str, size: int | None) -> np.ndarray:
    """The picture at `path` as float32 [size, size, 3] in 0..255, resized without cropping.

    Without a size, the whole as uint8 [H, W, 3].

    Grey, palette and CMYK pictures in JPEG, PNG, GIF, BMP or WebP become RGB, whatever the file's ending says. `path` may
    be a member of a tar (see `tars`).

    Raises:
      MediaError: the file is absent, corrupt, truncated or too large to unpack safely.
    """
    return decode_image(_read(path), path, size)


def decode_image(data: bytes, origin: str, size: int | None) -> np.ndarray:
    """`load_image` of encoded bytes; `origin` names them in errors."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise MediaError(
                    f"{origin}: {picture.width} × {picture.height} pixels; at most {LARGEST_PICTURE:,} are unpacked."
                )
            picture = picture.convert("RGB")
            if size is None:
                return np.asarray(picture)
            return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), np.float32)
    except _PILLOW_ERRORS as error:
        raise MediaError(f"{origin}: not a readable picture: {error}") from error


def load_audio(path: str, sample_rate: int) -> np.ndarray:
    """The sound at `path` as float32 [samples] in [-1, 1], one channel, at `sample_rate` Hz.

    WAV (PCM), FLAC or SPHERE, told by its first bytes; other rates are resampled.

    Raises:
      MediaError: the file is absent, empty, truncated or of another format.
    """
    return decode_audio(_read(path), path, sample_rate)


def decode_audio(data: bytes, origin: str, sample_rate: int) -> np.ndarray:
    """`load_audio` of encoded bytes; `origin` names them in errors."""
    if data[:4] == b"RIFF":
        samples, rate = _decode_wav(data, origin)
    elif data[:4] == b"fLaC":
        samples, rate = _decode_flac(data, origin)
    elif data[:7] == b"NIST_1A":
        samples, rate = decode_sphere(data, origin)
        samples = samples.astype(np.float32) / 2**15
    else:
        raise MediaError(f"{origin}: neither WAV, FLAC nor SPHERE (first bytes {data[:8]!r}).")
    if not samples.size:
        raise MediaError(f"{origin}: no sample in it.")
    if not SAMPLE_RATES[0] <= rate <= SAMPLE_RATES[1]:
        raise MediaError(f"{origin}: {rate} samples a second; {SAMPLE_RATES[0]} to {SAMPLE_RATES[1]} are read.")
    mono = samples.mean(axis=1, dtype=np.float32)
    return mono if rate == sample_rate else resampler(sample_rate)(mono, rate).numpy()


def _read(path: str) -> bytes:
    try:
        if is_member(path):
            return read_member(path)
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise MediaError(f"{path}: more than {LARGEST_FILE >> 20} MiB.")
    return data


def _decode_wav(data: bytes, origin: str) -> tuple[np.ndarray, int]:  # -> [samples, channels], Hz
    try:
        with wave.open(io.BytesIO(data)) as sound:
            width, channels, frames = sound.getsampwidth(), sound.getnchannels(), sound.getnframes()
            raw, rate = sound.readframes(frames), sound.getframerate()
    # RuntimeError, without a message, is what `wave` raises where a chunk claims to reach beyond the file.
    except (wave.Error, EOFError, struct.error, OSError, ValueError, ZeroDivisionError, RuntimeError) as error:
        raise MediaError(f"{origin}: not a readable WAV file: {error or 'its chunks do not fit it'}") from error
    if len(raw) != frames * width * channels:
        raise MediaError(f"{origin}: truncated: {frames} frames declared, {len(raw) // (width * channels)} present.")
    if width == 1:
        samples = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    elif width == 2:
        samples = np.frombuffer(raw, "<i2").astype(np.float32) / 2**15
    elif width == 4:
        samples = np.frombuffer(raw, "<i4").astype(np.float32) / 2**31
    else:
        raise MediaError(f"{origin}: {8 * width} bits a sample; 8, 16 and 32 are read.")
    return samples.reshape(-1, channels), rate


def _decode_flac(data: bytes, origin: str) -> tuple[np.ndarray, int]:  # -> [samples, channels], Hz
    import tensorflow as tf
    import tensorflow_io as tfio  # its native library takes seconds to load, and only FLAC needs it

    try:
        info = read_info(data)
        if info.samples * info.channels > LARGEST_SOUND:
            raise MediaError(f"{origin}: the header declares more than {LARGEST_SOUND:,} samples.")
        check_frames(data)
    except FlacError as error:
        raise MediaError(f"{origin}: not a readable FLAC file: {error}.") from error
    rate, bits = info.rate, info.bits
    if bits not in (8, 16, 24):
        raise MediaError(f"{origin}: {bits} bits a sample; 8, 16 and 24 are read.")
    dtype = {8: tf.uint8, 16: tf.int16, 24: tf.int32}[bits]
    try:
        samples = tfio.audio.decode_flac(data, dtype=dtype).numpy().astype(np.float32)
    except tf.errors.OpError as error:
        raise MediaError(f"{origin}: not a readable FLAC file: {error.message}") from error
    if bits == 8:
        return (samples - 128) / 128, rate
    return samples / (2**15 if bits == 16 else 2**31), rate
