"""Tests audio files of every container and coding: all samples are read, or one error names the file."""

import contextlib
import io
import os
import struct
import wave

import numpy as np
import pytest
import soundfile

from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.sound_files import (
    SoundFileError,
    _declared_frames,
    _frame_bytes,
    _ogg_checksum,
    check_ogg,
    flac_of_any_length,
    plain_wav,
)
from t2t_mm.corpora.sounds import decode_audio, load_audio

RATE = 16000
TONE = (0.4 * np.sin(2 * np.pi * 330 * np.arange(12000) / RATE)).astype(np.float32)
# Container and coding -> the largest difference from TONE that the coding makes.
CODINGS = {
    ("WAV", "PCM_U8"): 0.01, ("WAV", "PCM_16"): 4e-5, ("WAV", "PCM_24"): 2e-7, ("WAV", "PCM_32"): 1e-7,
    ("WAV", "FLOAT"): 0, ("WAV", "DOUBLE"): 0, ("WAV", "ULAW"): 0.02, ("WAV", "ALAW"): 0.02,
    ("WAVEX", "PCM_16"): 4e-5, ("WAVEX", "PCM_24"): 2e-7, ("WAVEX", "FLOAT"): 0, ("RF64", "PCM_16"): 4e-5,
    ("FLAC", "PCM_16"): 4e-5, ("FLAC", "PCM_24"): 2e-7,
    ("OGG", "VORBIS"): 0.02, ("OGG", "OPUS"): 0.06, ("MP3", "MPEG_LAYER_III"): 0.02,
}  # fmt: skip
CHECKED = [kind for kind in CODINGS if kind[0] != "MP3"]  # a wrong byte of an MP3 only changes the audio


def sound_file(container, coding, samples=TONE, rate=RATE):
    data = io.BytesIO()
    soundfile.write(data, samples, rate, format=container, subtype=coding)
    return data.getvalue()


def wav(samples, rate=16000, width=2, channels=1):
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(samples.tobytes())
    return file.getvalue()


def with_chunk(data, chunk, before=b"data"):
    """A WAV with another chunk before that of its samples."""
    at = data.index(before)
    return data[:at] + chunk + data[at:]


def wav_variants():
    """WAV files as they are found, each of the samples of `wav(SAMPLES)`."""
    data = wav(SAMPLES)
    at = data.index(b"data") + 4
    streamed = data[:4] + b"\xff" * 4 + data[8:at] + b"\xff" * 4 + data[at + 4 :]
    return {
        "plain": data,
        "a chunk of odd size, padded": with_chunk(data, b"LIST" + struct.pack("<I", 9) + b"INFOxxxxx\0"),
        "a chunk of odd size, not padded": with_chunk(data, b"LIST" + struct.pack("<I", 9) + b"INFOxxxxx"),
        "an unknown chunk of odd size": with_chunk(data, b"abcd" + struct.pack("<I", 3) + b"xyz\0"),
        "streamed": streamed,
        "streamed by SoX": data[:at] + struct.pack("<I", 0x7FFFF000) + data[at + 4 :],
        "a chunk after the samples": data + b"LIST" + struct.pack("<I", 4) + b"INFO",
        "junk after the samples": data + b"xy",
        "RF64": b"RF64" + b"\xff" * 4 + b"WAVE" + b"ds64" + struct.pack("<IQQQI", 28, 0, 2 * len(SAMPLES), len(SAMPLES), 0)
        + data[12:at] + b"\xff" * 4 + data[at + 4 :] + b"LIST" + struct.pack("<I", 4) + b"INFO",
    }  # fmt: skip


SAMPLES = np.array([0, 1, -1, 32767, -32768, 300, 301], "<i2")


@pytest.mark.parametrize("what", wav_variants())
def test_wav_as_it_is_found(what):
    np.testing.assert_array_equal(decode_audio(wav_variants()[what], "x", 16000), SAMPLES / np.float32(2**15))


@pytest.mark.parametrize("container, coding", CODINGS)
def test_every_coding(container, coding):
    found = decode_audio(sound_file(container, coding), "x", RATE)
    assert found.shape == TONE.shape and found.dtype == np.float32
    assert np.abs(found - TONE).max() <= CODINGS[container, coding]


def test_wav_widths_and_channels():
    ramp = np.array([-1.0, -0.5, 0.0, 0.5])
    for width, dtype, scale, shift in ((1, np.uint8, 128, 128), (2, "<i2", 2**15, 0), (4, "<i4", 2**31, 0)):
        sound = wav((ramp * scale + shift).astype(dtype), width=width)
        np.testing.assert_allclose(decode_audio(sound, "x", 16000), ramp)
    stereo = np.array([[0.5, -0.5], [0.5, 0.25]]) * 2**15
    np.testing.assert_allclose(decode_audio(wav(stereo.astype("<i2"), channels=2), "x", 16000), [0, 0.375])
    both = np.stack([TONE, -TONE], axis=1)
    assert np.abs(decode_audio(sound_file("FLAC", "PCM_16", both), "x", RATE)).max() < 1e-4


@pytest.mark.parametrize("container, coding", CODINGS)
def test_a_sound_that_is_cut_off_is_refused(container, coding):
    data = sound_file(container, coding)
    rng = np.random.default_rng(0)
    for end in [*rng.integers(12, len(data) - 1, 25), len(data) - 1, len(data) - 2, 3 * len(data) // 4]:
        with pytest.raises(MediaError, match="^x: "):
            decode_audio(data[:end], "x", RATE)


def ogg_pages(data):
    pages = []
    while data:
        segments = data[26]
        size = 27 + segments + sum(data[27 : 27 + segments])
        pages.append(data[:size])
        data = data[size:]
    return pages


def signed(page, flags=None, number=None, stream=None):
    """A page with other fields, and the checksum that it then has."""
    page = bytearray(page)
    page[5] = page[5] if flags is None else flags
    page[14:18] = page[14:18] if stream is None else struct.pack("<I", stream)
    page[18:22] = page[18:22] if number is None else struct.pack("<I", number)
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", _ogg_checksum(bytes(page)))
    return bytes(page)


def test_ogg_pages_that_are_sound_each_must_make_a_whole_stream():
    pages = ogg_pages(sound_file("OGG", "VORBIS"))
    assert len(pages) > 2 and signed(pages[1]) == pages[1]
    check_ogg(b"".join(pages))
    for change, reason in {
        "cut off": (lambda p: p[:-1], "the last Ogg page does not end the stream"),
        "cut off in a packet": (lambda p: [*p[:-2], signed(p[-2], flags=1)], "the last Ogg page does not end the stream"),
        "without a page": (lambda p: [p[0], *p[2:]], "Ogg page 1 is missing"),
        "of two streams": (lambda p: [p[0], *(signed(page, stream=7) for page in p[1:])], "several Ogg streams"),
        "wrong": (lambda p: [p[0], p[1][:-1] + bytes([p[1][-1] ^ 1]), *p[2:]], f"the Ogg page at byte {len(pages[0])} of"),
    }.values():
        with pytest.raises(SoundFileError, match=reason):
            check_ogg(b"".join(change(pages)))


@pytest.mark.parametrize("container, coding", [kind for kind in CHECKED if kind[0] in ("FLAC", "OGG")])
def test_a_wrong_byte_is_noticed_where_there_is_a_checksum(container, coding):
    data = sound_file(container, coding)
    whole = decode_audio(data, "x", RATE)
    for at in np.random.default_rng(0).integers(100, len(data), 40):
        damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        try:
            np.testing.assert_array_equal(decode_audio(damaged, "x", RATE), whole)  # the byte of a comment
        except MediaError as error:
            assert str(error).startswith("x: ")


def test_a_page_or_a_frame_that_is_missing_is_noticed():
    noise = np.random.default_rng(0).normal(size=(120_000, 2)) / 10
    ogg = sound_file("OGG", "VORBIS", noise)
    pages = [at for at in range(len(ogg)) if ogg[at : at + 4] == b"OggS"]
    assert len(pages) > 4
    with pytest.raises(MediaError, match="Ogg page 3 is missing"):
        decode_audio(ogg[: pages[3]] + ogg[pages[4] :], "x", RATE)
    with pytest.raises(MediaError, match="does not end the stream"):
        decode_audio(ogg[: pages[-1]], "x", RATE)
    mp3 = sound_file("MP3", "MPEG_LAYER_III", np.tile(TONE, 5))
    first = _frame_bytes(mp3[:4])
    second = _frame_bytes(mp3[first : first + 4])
    with pytest.raises(MediaError, match="MPEG frames declared"):
        decode_audio(mp3[:first] + mp3[first + second :], "x", RATE)


@pytest.mark.parametrize(
    "head, size",
    [
        (b"\xff\xff\xc0", (12 * 384000 // 44100) * 4),  # MPEG-1, layer I, 384 kbit/s at 44.1 kHz, in slots of four bytes
        (b"\xff\xff\xc2", (12 * 384000 // 44100 + 1) * 4),  # the same, padded
        (b"\xff\xfd\x84", 144 * 128000 // 48000), (b"\xff\xfb\x90", 144 * 128000 // 44100),  # layers II and III
        (b"\xff\xfb\x92", 144 * 128000 // 44100 + 1),
        (b"\xff\xf5\x84", 144 * 64000 // 24000), (b"\xff\xf3\x84", 72 * 64000 // 24000),  # MPEG-2
        (b"\xff\xe3\x88", 72 * 64000 // 8000),  # MPEG-2.5
        (b"\xff\xeb\x90", None), (b"\xff\xf9\x90", None), (b"\xff\xfb\x9c", None), (b"\xff\xfb\x00", None),
        (b"\xff\xfb\xf0", None), (b"\xfe\xfb\x90", None), (b"\xff\xdb\x90", None),
    ],
)  # fmt: skip
def test_the_size_of_an_mpeg_frame_is_that_of_the_standard(head, size):
    """ISO 11172-3, 2.4.3.1: 12 or 144 times bits a second by samples a second (72 for the half frames of MPEG-2)."""
    assert _frame_bytes(head + b"\0") == size


def test_a_rewritten_wav_and_flac_say_what_they_hold():
    data = plain_wav(wav_variants()["RF64"])
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert int.from_bytes(data[40:44], "little") == len(data) - 44 == 2 * len(SAMPLES)
    flac = sound_file("FLAC", "PCM_16")
    rewritten, declared = flac_of_any_length(flac)
    assert declared == len(TONE) and rewritten[:18] + rewritten[26:] == flac[:18] + flac[26:]
    before, after = (int.from_bytes(header[18:26], "big") for header in (flac, rewritten))
    assert after >> 36 == before >> 36 and after % 2**36 == 0


def id3(size=300):
    return b"ID3\x04\0\0" + bytes([0, 0, size >> 7, size & 127]) + bytes(size)


@pytest.mark.parametrize("container, coding", [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_tags_before_and_after_are_no_sound(container, coding):
    data = sound_file(container, coding)
    whole = decode_audio(data, "x", RATE)
    ape = struct.pack("<8sIIII8x", b"APETAGEX", 2000, 40, 0, 1 << 31)
    ape = ape + bytes(8) + ape
    for found in (id3() + data, data + b"TAG" + bytes(125), data + ape + b"TAG" + bytes(125), id3() + data + ape):
        np.testing.assert_array_equal(decode_audio(found, "x", RATE), whole)


@pytest.mark.parametrize("rate, channels", [(RATE, 1), (44100, 2)])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_a_declared_length_is_read_to_its_end(rate, channels, mode):
    """The bitrate of silence says nothing of the length of what follows."""
    tone = np.concatenate([np.tile(TONE, 3), np.zeros(5 * len(TONE)), np.tile(TONE, 3)])
    file = io.BytesIO()
    soundfile.write(
        file, np.stack([tone] * channels, 1), rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode,
        compression_level=0.5,
    )  # fmt: skip
    data = file.getvalue()
    first = _frame_bytes(data[:4])
    declared, delay, end = _declared_frames(data[:first])
    whole, found = decode_audio(data, "x", rate), decode_audio(data[first:], "x", rate)
    assert len(whole) == len(tone) and len(found) == len(tone) + delay + end - 529
    np.testing.assert_allclose(found[delay : delay + len(whole) - 2000], whole[:-2000], atol=1e-6)
    # A changed byte in the frame with the declared length causes an error, or the samples of the encoder are kept.
    for place in range(4, first):
        changed = data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :]
        with contextlib.suppress(MediaError):
            assert len(decode_audio(changed, "x", rate)) >= len(tone), place


def test_a_flac_of_unknown_length_is_read_to_its_end():
    data = sound_file("FLAC", "PCM_16")
    packed = int.from_bytes(data[18:26], "big")
    declare = lambda count: data[:18] + (packed >> 36 << 36 | count).to_bytes(8, "big") + data[26:]  # noqa: E731
    np.testing.assert_array_equal(decode_audio(declare(0), "x", RATE), decode_audio(data, "x", RATE))
    for count in (len(TONE) - 1, len(TONE) + 1, 1 << 35):
        with pytest.raises(MediaError, match="^x: "):
            decode_audio(declare(count), "x", RATE)
    with pytest.raises(MediaError, match="^x: "):
        decode_audio(declare(0)[:-30], "x", RATE)


def test_sounds_beyond_any_use_are_refused_before_they_fill_the_memory(monkeypatch):
    monkeypatch.setattr("t2t_mm.corpora.sounds.LARGEST_SOUND", 10_000)
    with pytest.raises(MediaError, match="x: more than 10,000 samples"):
        decode_audio(sound_file("FLAC", "PCM_16", np.zeros(200_000)), "x", RATE)


@pytest.mark.parametrize(
    "data,message",
    [
        (b"", "neither WAV, FLAC, MP3, Ogg nor SPHERE"),
        (b"\xff\xd8\xff\xe0 a JPEG", "neither WAV, FLAC, MP3, Ogg nor SPHERE"),
        (wav(np.zeros(100, "<i2"))[:150], "truncated: 100 samples declared, 53 present"),
        (wav(np.zeros(0, "<i2")), "no sample"),
        (b"fLaC" + bytes(10), "truncated"),
        (with_chunk(wav(SAMPLES), b"LIST\xff\xff\0\0"), "its chunks do not fit it"),
        (wav(SAMPLES).replace(b"data", b"dada"), "its chunks do not fit it"),
        (wav(SAMPLES).replace(b"fmt ", b"fmmt"), "no format chunk"),
        (wav(SAMPLES)[:20] + b"\x02" + wav(SAMPLES)[21:], "16 bits per sample in format 2"),
        (sound_file("WAV", "FLOAT", np.array([0, np.nan])), "infinite or NaN"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",  # bytes hold the time they were made at
)
def test_bad_sound_is_named(data, message, tmp_path):
    path = tmp_path / "bad.wav"
    path.write_bytes(data)
    with pytest.raises(MediaError, match=f"bad.wav: .*({message})"):
        load_audio(str(path), 16000)


def test_a_missing_file_is_named():
    with pytest.raises(MediaError, match="nowhere.wav"):
        load_audio("nowhere.wav", 16000)
    with pytest.raises(MediaError, match="null"):
        load_audio("a\0b.wav", 16000)


CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../shared/cases/sounds")


@pytest.mark.skipif(not os.path.isdir(CASES), reason="../shared/cases is not beside this checkout")
def test_sounds_that_were_refused():
    counts = {"id3v2_before.flac": 8000, "total0_stream.flac": 8000}
    for name in sorted(os.listdir(CASES)):
        if name != "v109.wv1":  # a header with no stream of samples after it
            assert len(load_audio(os.path.join(CASES, name), 8000 if name not in counts else 16000)) in (3995, 8000), name
