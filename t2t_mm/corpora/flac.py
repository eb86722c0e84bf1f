"""The frames of a FLAC file (RFC 9639), checked before the file is decoded.

tensorflow-io's decoder reads until it has the samples that the header declares: of a file that is cut off or damaged it
reads for ever. So the frames' own checksums and lengths are compared first; the decoding is left to it.
"""

import dataclasses
import functools

import numpy as np

_MOST_OVERHEAD = 64  # bytes of a frame beside its samples
_CHUNK = 1024  # bytes whose checksum is one look-up in a table


class FlacError(ValueError):
    """The bytes are no complete and sound FLAC file."""


@dataclasses.dataclass(frozen=True)
class StreamInfo:
    """rate: Hz. bits: of a sample. samples: of each channel."""

    rate: int
    channels: int
    bits: int
    samples: int


def read_info(data: bytes) -> StreamInfo:
    """What the header declares; FlacError where there is none."""
    if len(data) < 42 or data[:4] != b"fLaC" or data[4] & 127:
        raise FlacError(f"truncated: {len(data)} bytes are less than a FLAC header")
    packed = int.from_bytes(data[18:26], "big")
    return StreamInfo(packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1, packed & ((1 << 36) - 1))


def check_frames(data: bytes) -> None:
    """FlacError unless sound frames follow one another to the end, with as many samples as the header declares."""
    at, total, info = _first_frame(data), 0, read_info(data)
    while at < len(data):
        size = _header(data, at)
        if size is None:
            raise FlacError(f"no frame begins at byte {at} of {len(data)}: the file is damaged")
        total += size
        at = _end(data, at, _MOST_OVERHEAD + size * info.channels * 4)
    if total != info.samples or not total:
        raise FlacError(f"truncated: {info.samples} samples declared, {total} present")


def _first_frame(data: bytes) -> int:
    at = 4
    while at + 4 <= len(data):
        last, at = data[at] & 128, at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if last:
            return at
    raise FlacError("truncated within the header")


def _header(data: bytes, at: int) -> int | None:
    """Samples of each channel in the frame whose header is at `at`; None if there is no sound header."""
    head = data[at : at + 16]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    number = 1 if head[4] < 128 else 8 - (head[4] ^ 255).bit_length()  # bytes of the frame's number, as in UTF-8
    end = 4 + number
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    size = int.from_bytes(head[end : end + size_bytes], "big") + 1
    end += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if end >= len(head) or _crc8(head[:end]) != head[end] or size_code == 0:
        return None
    if size_bytes:
        return size
    return {1: 192}.get(size_code) or (576 << (size_code - 2) if size_code < 6 else 256 << (size_code - 8))


def _end(data: bytes, at: int, most: int) -> int:
    """Where the frame that begins at `at` ends, which is where its checksum is right and another begins or nothing.

    most: the bytes it can have; without that bound, a damaged frame would be compared with all the rest of the file.
    """
    candidate = at
    while (candidate := data.find(b"\xff", candidate + 2, at + most)) >= 0:
        if _header(data, candidate) is not None and _crc16(data[at : candidate - 2]) == _last_two(data, candidate):
            return candidate
        candidate -= 1
    if len(data) - at > most or _crc16(data[at:-2]) != _last_two(data, len(data)):
        raise FlacError(f"the frame at byte {at} of {len(data)} is damaged or cut off")
    return len(data)


def _last_two(data: bytes, end: int) -> int:
    return int.from_bytes(data[end - 2 : end], "big")


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 128 else 0)) & 255
    return value


@functools.cache
def _crc16_table() -> np.ndarray:
    """uint16 [distance, byte]: what a byte adds to the checksum (polynomial 0x8005) that far from the end."""
    value = np.arange(256, dtype=np.uint16) << 8
    table = np.empty([_CHUNK, 256], np.uint16)
    for distance in range(_CHUNK):
        for _ in range(8):
            value = np.where(value & 0x8000, (value << 1) ^ 0x8005, value << 1).astype(np.uint16)
        table[distance] = value
    return table


def _crc16(data: bytes) -> int:
    """The checksum is linear: the sum (exclusive or) of what each byte adds, the state joining the next two bytes."""
    table, state = _crc16_table(), 0
    content = np.frombuffer(data, np.uint8)
    if len(content) % _CHUNK == 1:  # so that every chunk has two bytes for the state
        state, content = int(table[0, content[0]]), content[1:]
    for start in range(0, len(content), _CHUNK):
        chunk = content[start : start + _CHUNK].copy()
        chunk[:2] ^= np.array([state >> 8, state & 255], np.uint8)
        state = int(np.bitwise_xor.reduce(table[np.arange(len(chunk) - 1, -1, -1), chunk]))
    return state
