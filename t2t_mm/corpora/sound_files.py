"""Checks audio files for errors that libsndfile does not report: wrong declared sizes, missing ends, and tags.

libsndfile reads a truncated WAV, or an Ogg or MP3 file with missing pages or frames, as a shorter recording. Therefore this
module walks through the parts of the container by their headers before libsndfile decodes the file.
"""

import struct
import zlib

LARGEST_SOUND = 1 << 26  # maximum number of samples of all channels: 70 minutes at 16 kHz
MOST_CHUNKS = 10_000  # maximum number of chunks of a WAV, which usually has two
# Sizes written by programs that cannot return to the header, because they write to a pipe: 0xFFFFFFFF; SoX 0x7FFFF000.
STREAMED = 0x7FFFF000
# Format codes of WAV and the supported bits per sample: PCM, IEEE float, A-law, µ-law.
CODINGS = {1: (8, 16, 24, 32), 3: (32, 64), 6: (8,), 7: (8,)}
EXTENSIBLE = 0xFFFE
GUID = bytes.fromhex("00000000001000800000aa00389b71")  # GUID of the extensible format, after the low byte of the code
UNPADDED = (b"data", b"fmt ", b"LIST", b"fact")  # chunks that are recognised if the chunk before lacks its padding byte
CHUNKS_DO_NOT_FIT = "its chunks do not fit it"
READ_CODINGS = (
    "PCM of 8, 16, 24 or 32 bits, float of 32 or 64 bits, A-law and µ-law are supported: convert it, for "
    "example with ffmpeg -i in.wav -c:a pcm_s16le out.wav"
)


class SoundFileError(ValueError):
    """The bytes are not a complete audio file of their format. The message states the reason."""


def without_tags(data: bytes) -> bytes:
    """Returns a FLAC or MP3 file without the tags before it (ID3v2) and after it (ID3v1, APE)."""
    while data[:3] == b"ID3" and len(data) > 10:
        a, b, c, d = data[6:10]
        has_footer = data[5] & 0x10
        data = data[10 + (a << 21 | b << 14 | c << 7 | d) + (10 if has_footer else 0) :]
    if data[-128:-125] == b"TAG":
        data = data[:-128]
    if data[-32:-24] == b"APETAGEX":
        size, _, flags = struct.unpack("<III", data[-20:-8])
        data = data[: max(len(data) - size - (32 if flags >> 31 else 0), 0)]
    return data


def plain_wav(data: bytes) -> bytes:
    """Returns the shortest equivalent of a WAV (RIFF, RF64 or BW64): a plain format chunk, followed by all samples.

    Chunks may be padded to even positions, as the format requires, or not, as some programs write them. A size that only a
    stream can have means that the samples extend to the end of the file.

    Raises:
      SoundFileError: the chunks do not fit the file, samples are missing, or their coding is not supported.
    """
    at, form, wide = 12, None, None
    for _ in range(MOST_CHUNKS):
        if len(data) < at + 8:
            raise SoundFileError(CHUNKS_DO_NOT_FIT)
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"data":
            break
        if len(data) < at + size:
            raise SoundFileError(CHUNKS_DO_NOT_FIT)
        if name == b"fmt ":
            form = data[at : at + size]
        elif name == b"ds64" and size >= 16:
            (wide,) = struct.unpack_from("<Q", data, at + 8)
        at += size
        at += size % 2 and data[at : at + 4] not in UNPADDED
    else:
        raise SoundFileError(CHUNKS_DO_NOT_FIT)
    if form is None or len(form) < 16:
        raise SoundFileError("no format chunk before its samples")
    code, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", form)
    if code == EXTENSIBLE and len(form) >= 40 and form[25:40] == GUID:
        code = form[24]
    if bits not in CODINGS.get(code, ()):
        raise SoundFileError(f"a WAV with {bits} bits per sample in format {code}; {READ_CODINGS}")
    if not channels or not rate or align != channels * bits // 8:
        raise SoundFileError(f"{channels} channels of {bits} bits in frames of {align} bytes at {rate} Hz")
    if size == 0xFFFFFFFF and wide is not None:
        size = wide
    present = len(data) - at
    if size >= STREAMED:
        size = present
    if present < size or size % align:
        raise SoundFileError(f"truncated: {size / align:.15g} samples declared, {present / align:.15g} present")
    form = struct.pack("<HHIIHH", code, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16) + form
    return head + struct.pack("<4sI", b"data", size) + data[at : at + size]


def flac_of_any_length(data: bytes) -> tuple[bytes, int]:
    """Returns a FLAC file without a declared length, and the number of samples per channel in its header (0 if unknown).

    If the header declares a length, libsndfile does not read any further.

    Raises:
      SoundFileError: the file is shorter than a header.
    """
    if len(data) < 42 or data[4] & 127:
        raise SoundFileError(f"truncated: {len(data)} bytes are less than a FLAC header")
    packed = int.from_bytes(data[18:26], "big")
    declared = packed & ((1 << 36) - 1)
    return data[:18] + (packed - declared).to_bytes(8, "big") + data[26:], declared


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check_ogg(data: bytes) -> None:
    """Checks that an Ogg file is one stream whose pages are complete, undamaged and consecutive from the first to the last.

    Raises:
      SoundFileError: it is not.
    """
    at, expected, serial, ended = 0, 0, None, False
    while at < len(data):
        if data[at : at + 4] != b"OggS" or len(data) < at + 27:
            raise SoundFileError(f"no Ogg page begins at byte {at} of {len(data)}: the file is damaged or truncated")
        flags, _, stream, number, checksum, segments = struct.unpack_from("<BqIIIB", data, at + 5)
        end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
        page = data[at : at + 22] + bytes(4) + data[at + 26 : end]
        if end > len(data) or _ogg_checksum(page) != checksum:
            raise SoundFileError(f"the Ogg page at byte {at} of {len(data)} is damaged or truncated")
        if serial not in (None, stream):
            raise SoundFileError("several Ogg streams in one file; save each in a separate file")
        if number != expected:
            raise SoundFileError(f"Ogg page {expected} is missing")
        at, expected, serial, ended = end, number + 1, stream, bool(flags & 4)
    if not ended:
        raise SoundFileError("truncated: the last Ogg page does not end the stream")


def _ogg_checksum(page: bytes) -> int:
    """Returns the CRC-32 with the most significant bit first and without inversions, using zlib's, which reverses both."""
    reverse = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reverse:032b}"[::-1], 2)


# Kilobits per second by the four bits in the header of a frame: MPEG-1, MPEG-2 and 2.5; layers I, II, III.
_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # MPEG-1, 2, 2.5


_DECODER_DELAY = 529  # samples by which an MP3 decoder lags; libsndfile's omits them if the number of frames is declared


def mp3_with_length(data: bytes) -> tuple[bytes, int]:
    """Returns an MPEG file whose length is declared as its decoder expects it, and the samples per channel.

    Without a Xing header before the frames, libsndfile estimates the number of samples from the bitrate of the first frames,
    and reads no further. Therefore the header is written anew, with the number of frames that are present and, as far as the
    encoder declared them, the numbers of samples that it added at the beginning and at the end. Layers I and II have no such
    header; their number of samples is the one that the decoder has to return.

    Raises:
      SoundFileError: the frames do not follow one another to the end, or there are not as many as the first one declares.
    """
    at, sizes = 0, []
    while at < len(data):
        size = _frame_bytes(data[at : at + 4])
        if size is None:
            raise SoundFileError(f"no MPEG frame begins at byte {at} of {len(data)}: the file is damaged or truncated")
        if at + size > len(data):
            raise SoundFileError(f"the MPEG frame at byte {at} of {len(data)} is truncated")
        at += size
        sizes.append(size)
    declared, delay, end = _declared_frames(data[: sizes[0]]) if sizes else (None, 0, 0)
    if declared is not None:  # the first frame contains the number instead of audio
        data = data[sizes.pop(0) :]
        if len(sizes) != declared:
            raise SoundFileError(f"truncated: {declared} MPEG frames declared, {len(sizes)} present")
    if not sizes:
        raise SoundFileError("it has no frame with audio")
    layer, first = 4 - (data[1] >> 1 & 3), data[1] >> 3 & 3 == 3
    samples = len(sizes) * {1: 384, 2: 1152, 3: 1152 if first else 576}[layer]
    if layer < 3:
        return data, samples
    if delay + end >= samples:
        delay = end = 0
    return _xing_frame(data[:4], len(sizes), delay, end) + data, samples - (delay + end or _DECODER_DELAY)


def _xing_frame(like: bytes, frames: int, delay: int, end: int) -> bytes:
    """Returns a silent frame of layer III that declares a number of frames, with the header `like` otherwise."""
    place = _xing_place(like)
    declared = b"Xing" + struct.pack(">II", 1, frames)
    if delay or end:  # the encoder's name, eleven bytes of settings, and two numbers of 12 bits
        declared += b"Lavc".ljust(21, b"\0") + (delay << 12 | end).to_bytes(3, "big")
    for rate_code in range(1, 15):  # the lowest bitrate that leaves enough room
        head = bytes([like[0], like[1] | 1, rate_code << 4 | like[2] & 0x0C, like[3]])  # without a checksum
        size = _frame_bytes(head)
        if size and size >= place + len(declared) + 16:
            break
    return (head + bytes(place - 4) + declared).ljust(size or 0, b"\0")


def _xing_place(head: bytes) -> int:
    """Returns the position of a Xing header in a frame, which follows the frame's header and its empty side information."""
    mono = head[3] >> 6 == 3
    return (21 if mono else 36) if head[1] >> 3 & 3 == 3 else (13 if mono else 21)


def _frame_bytes(head: bytes) -> int | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_code, hertz_code, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or hertz_code == 3 or not 1 <= rate_code <= 14:
        return None
    first = version == 3
    rate = _BITRATES[(1, layer) if first else (2, min(layer, 2))][rate_code - 1] * 1000
    hertz = _MPEG_RATES[version][hertz_code]
    if layer == 1:
        return (12 * rate // hertz + padding) * 4
    return (144 if first or layer == 2 else 72) * rate // hertz + padding


def _declared_frames(frame: bytes) -> tuple[int | None, int, int]:
    """Returns what a Xing, Info or VBRI header declares: the number of frames, or None if the frame is an ordinary one; and
    the numbers of samples that the encoder added at the beginning and at the end, or 0 if they are unknown."""
    for name in (b"Xing", b"Info"):
        at = frame.find(name, 4, 60)
        if at > 0 and len(frame) >= at + 12:
            flags, count = struct.unpack_from(">II", frame, at + 4)
            encoder = at + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
            whole = frame[encoder + 34 : encoder + 36] == _checksum_of_encoder(frame[: encoder + 34]).to_bytes(2, "big")
            added = int.from_bytes(frame[encoder + 21 : encoder + 24], "big") if whole else 0
            return (count if flags & 1 else None), added >> 12, added & 0xFFF
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return int.from_bytes(frame[50:54], "big"), 0, 0
    return None, 0, 0


def _checksum_of_encoder(data: bytes) -> int:
    """Returns the CRC-16 (ARC) that LAME and FFmpeg write behind their settings, which begin with the encoder's name."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
