"""NIST SPHERE audio files, as distributed by the LDC: a text header, followed by plain or compressed samples."""

import io
import re

import numpy as np
import soundfile

from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.shorten import ShortenError, decode_shorten
from t2t_mm.corpora.sound_files import LARGEST_SOUND

_HEADER = 1024
_LARGEST_HEADER = 1 << 20
_SHORTEN = re.compile(r"pcm,embedded-shorten-v\S+")  # the stream itself contains the actual version
_ORDERS = {"01": "<", "10": ">"}  # sample_byte_format -> byte order
_SPARE = 1 << 16  # number of samples by which a stream may exceed the declared number before it is rejected


def decode_sphere(data: bytes, origin: str) -> tuple[np.ndarray, int]:
    """Returns the samples of a file, int16 [samples, channels], and its rate in Hz.

    The supported codings are 16-bit PCM, plain or compressed by shorten, and 8-bit A-law and µ-law.

    Raises:
      MediaError: the header is damaged or not supported, the file is truncated, or its checksum is wrong. The message begins
        with `origin`.
    """
    fields, size = _header(data, origin)
    count, channels, rate = (_number(fields, name, origin) for name in ("sample_count", "channel_count", "sample_rate"))
    coding, body, width = fields.get("sample_coding", "pcm"), data[size:], _number(fields, "sample_n_bytes", origin)
    law = {"ulaw": "ULAW", "mu-law": "ULAW", "alaw": "ALAW"}.get(coding)
    if width != (1 if law else 2):
        raise MediaError(f"{origin}: {width} bytes per sample in sample_coding {coding!r}; pcm with 2 bytes is supported.")
    order = fields.get("sample_byte_format", "01")
    if not law and order not in _ORDERS:
        raise MediaError(f"{origin}: sample_byte_format {order!r} is not supported; 01 and 10 are. Convert it with sph2pipe.")
    if channels < 1:
        raise MediaError(f"{origin}: channel_count {channels}.")
    if (coding == "pcm" or law) and len(body) < width * count * channels:
        raise MediaError(f"{origin}: truncated: {count} samples declared, {len(body) // (width * channels)} present.")
    if count * channels > LARGEST_SOUND:  # a few bytes of a compressed stream can declare hours of silence
        raise MediaError(f"{origin}: more than {LARGEST_SOUND:,} samples.")
    if law:
        coded = io.BytesIO(body[: count * channels])
        form = {"format": "RAW", "subtype": law, "channels": channels, "samplerate": 8000}
        return soundfile.read(coded, dtype="int16", always_2d=True, **form)[0], rate
    if coding == "pcm":
        samples = np.frombuffer(body, f"{_ORDERS[order]}i2", count * channels).astype(np.int16).reshape(count, channels)
    elif _SHORTEN.fullmatch(coding):
        try:
            samples = decode_shorten(body, largest=count * channels + _SPARE).astype(np.int16)
        except ShortenError as error:
            raise MediaError(f"{origin}: {error}.") from error
        if samples.shape != (count, channels):
            raise MediaError(f"{origin}: {count} × {channels} samples declared, {samples.shape} decompressed.")
    else:
        raise MediaError(f"{origin}: sample_coding {coding!r} is not supported; pcm, embedded-shorten, ulaw and alaw are.")
    declared = fields.get("sample_checksum")
    if declared is not None and declared != str(checksum(samples)):
        raise MediaError(f"{origin}: the checksum is {checksum(samples)} instead of {declared}, so the file is damaged.")
    return samples, rate


def encode_sphere(samples: np.ndarray, rate: int) -> bytes:
    """Returns a SPHERE file with one channel, given int16 [samples] and their rate in Hz.

    Raises:
      ValueError: the samples have another type or shape.
    """
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(f"encode_sphere takes int16 [samples], not {samples.dtype} {samples.shape}.")
    header = (
        f"NIST_1A\n{_HEADER:7d}\nchannel_count -i 1\nsample_count -i {len(samples)}\nsample_rate -i {rate}\n"
        "sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_sig_bits -i 16\nsample_coding -s3 pcm\n"
        f"sample_checksum -i {checksum(samples)}\nend_head\n"
    )
    return header.encode("ascii").ljust(_HEADER) + samples.astype("<i2").tobytes()


def checksum(samples: np.ndarray) -> int:
    """Returns the sum of all samples as unsigned 16-bit numbers, modulo 2^16."""
    return int(samples.astype(np.uint16).sum(dtype=np.uint64) % 65536)


def _header(data: bytes, origin: str) -> tuple[dict[str, str], int]:
    lines = data[:_HEADER].split(b"\n")
    if data[:8] != b"NIST_1A\n" or not lines[1].strip().isdigit() or int(lines[1]) > _LARGEST_HEADER:
        raise MediaError(f"{origin}: no SPHERE header (first bytes {data[:16]!r}).")
    size = int(lines[1])
    fields: dict[str, str] = {}
    for line in data[:size].decode("latin-1").split("\n")[2:]:
        if line.strip() == "end_head":
            return fields, size
        parts = line.split(" ", 2)
        if len(parts) == 3 and not line.startswith(";"):
            fields[parts[0]] = parts[2].strip()
    raise MediaError(f"{origin}: the SPHERE header of {size} bytes has no end_head.")


def _number(fields: dict[str, str], name: str, origin: str) -> int:
    value = fields.get(name, "")
    if not re.fullmatch("[0-9]{1,15}", value):
        raise MediaError(f"{origin}: the SPHERE header has no number {name} ({value[:40]!r}).")
    return int(value)
