"""Small requests that would be expensive to answer. The server must reject each of them quickly and cheaply."""

import base64
import json
import struct
import zlib

_RATE = 1000  # Hz; resampling produces sixteen samples at the model's rate for each sample


def bodies(most_bytes: int) -> dict[str, tuple[bytes, int]]:
    """Returns a dict of kind -> (body of a REST predict request, status with which it must be rejected).

    Args:
      most_bytes: the server's limit for a body. Long requests are slightly shorter than this.
    """
    length = max(1000, most_bytes * 7 // 10 - 1000)  # base64 makes it a third longer
    sentence = "a " * (length // 2)
    refused = {
        "deep_json": b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}",
        "wide_json": b'{"instances": [' + b"[]," * (length // 3) + b"[]]}",
        "long_sentence": _body("wmt_en_de", sentence),
        "long_parse": _body("wsj_parsing", sentence),
        "long_word": _body("wmt_en_de", "a" * length),
        "empty_text": _body("wmt_en_de", ""),
        "many_sentences": _body("wmt_en_de", *["a"] * 300),
        "many_tokens": _body("tokens", {"command": "To-German", "ids": [5] * min(50_000, length // 4)}),
        "slow_wav": _body("wsj_speech", _bytes(wav(_RATE, length))),
        "many_slow_wavs": _body("wsj_speech", *[_bytes(wav(_RATE, length // 8))] * 8),
        "large_png": _body("coco", _bytes(png(8000, 8000))),
        "many_pngs": _body("coco", *[_bytes(png(5700, 5700))] * 16),
        "long_command": json.dumps({"instances": [{"command": "a" * length, "inputs": "a"}]}).encode(),
    }
    return {kind: (body, 400) for kind, body in refused.items() if len(body) <= most_bytes}


def _body(signature: str, *instances) -> bytes:
    return json.dumps({"signature_name": signature, "instances": instances}).encode()


def _bytes(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode("ascii")}


def wav(rate: int, size: int) -> bytes:
    """Returns a 16-bit WAV file of `size` bytes that contains silence."""
    samples = max(0, size - 44) // 2 * 2
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + samples, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16,
                       b"data", samples)  # fmt: skip
    return head + bytes(samples)


def png(width: int, height: int) -> bytes:
    """Returns a black PNG with one bit per pixel, which takes 8 KB for 64 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed, line = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    pixels = b"".join(packed.compress(line) for _ in range(height)) + packed.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
