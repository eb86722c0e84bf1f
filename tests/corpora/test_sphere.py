"""Tests that SPHERE files are read exactly, including compressed ones, and that damaged ones are named."""

import numpy as np
import pytest

from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.resampling import resample
from t2t_mm.corpora.shorten import ShortenError, decode_shorten
from t2t_mm.corpora.sounds import decode_audio
from t2t_mm.corpora.sphere import decode_sphere, encode_sphere

SAMPLES = np.array([0, 1, -1, 32767, -32768, 300], np.int16)


def test_what_is_written_is_read_back():
    data = encode_sphere(SAMPLES, 8000)
    assert data[:16] == b"NIST_1A\n   1024\n" and len(data) == 1024 + 12
    samples, rate = decode_sphere(data, "x")
    assert rate == 8000 and samples[:, 0].tolist() == SAMPLES.tolist()
    swapped = data[:1024].replace(b"-s2 01", b"-s2 10") + SAMPLES.astype(">i2").tobytes()
    assert decode_sphere(swapped, "x")[0][:, 0].tolist() == SAMPLES.tolist()


def test_channels_take_turns():
    """Frame by frame, as sph2pipe and SoX read them, plain and by a law; not one channel after the other."""
    left, right = SAMPLES, np.array([5, 6, 7, 8, 9, 10], np.int16)
    both = np.stack([left, right], axis=1)
    header = encode_sphere(both.ravel(), 8000)[:1024].rstrip(b" ")
    header = header.replace(b"channel_count -i 1", b"channel_count -i 2").replace(b"sample_count -i 12", b"sample_count -i 6")
    data = header.ljust(1024) + both.astype("<i2").tobytes()
    np.testing.assert_array_equal(decode_sphere(data, "x")[0], both)
    np.testing.assert_allclose(decode_audio(data, "x", 8000), both.mean(axis=1) / 2**15, atol=1e-7)
    header = header.replace(b"sample_n_bytes -i 2", b"sample_n_bytes -i 1").replace(b"-s3 pcm", b"-s4 ulaw")
    coded = bytes([0xFF, 0x80] * 6)  # 0 and 32124
    assert decode_sphere(header.ljust(1024) + coded, "x")[0].tolist() == [[0, 32124]] * 6


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda d: d[:-2], "a.wv1: truncated: 6 samples declared, 5 present"),
        (lambda d: d[:-1] + b"\x7f", "a.wv1: the checksum is"),
        (lambda d: d.replace(b"NIST_1A", b"RIFFxxx"), "a.wv1: no SPHERE header"),
        (lambda d: d.replace(b"end_head", b"end_tail"), "no end_head"),
        (lambda d: d.replace(b"sample_rate", b"simple_rate"), "no number sample_rate"),
        (lambda d: d.replace(b"-s3 pcm", b"-s3 mp3"), "sample_coding 'mp3' is not supported"),
        (lambda d: d.replace(b"-s3 pcm", b"-s25 pcm,embedded-shorten-v2.00"), "not a shorten stream of version 1, 2 or 3"),
    ],
)
def test_damaged_files_are_named(change, reason):
    with pytest.raises(MediaError, match=reason):
        decode_sphere(change(encode_sphere(SAMPLES, 16000)), "a.wv1")


class BitWriter:
    """Writes the integers of a shorten stream, for streams with every function in them."""

    def __init__(self):
        self.digits = ""

    def unsigned(self, value, bits):
        self.digits += "0" * (value >> bits) + "1" + (f"{value & ((1 << bits) - 1):0{bits}b}" if bits else "")

    def signed(self, value, bits):
        self.unsigned(~value << 1 | 1 if value < 0 else value << 1, bits + 1)

    def long(self, value):
        self.unsigned(value.bit_length(), 2)
        self.unsigned(value, value.bit_length())

    def stream(self, version=2):
        self.digits += "0" * (-len(self.digits) % 8)
        return b"ajkg" + bytes([version]) + bytes(int(self.digits[i : i + 8], 2) for i in range(0, len(self.digits), 8))


def test_every_function_of_shorten_by_hand():
    writer = BitWriter()
    for value in (5, 1, 3, 2, 0, 0):  # 16 bits low byte first, one channel, blocks of 3, order up to 2, no means
        writer.long(value)

    def block(function, residuals, width=2):
        writer.unsigned(function, 2)
        writer.unsigned(width, 3)
        for residual in residuals:
            writer.signed(residual, width)

    block(0, [5, -3, 2])  # as they are: 5 -3 2
    block(1, [1, 1, -4])  # differences: 3 4 0
    block(2, [1, 0, 2])  # of second order after 4, 0: -3 -6 -7
    block(3, [0, 1, 0])  # of third order after -3, -6, -7: -6 -2 6... by 3(a-b)+c
    writer.unsigned(6, 2)  # the rest is shifted by one bit
    writer.unsigned(1, 2)
    writer.unsigned(8, 2)  # zeros
    writer.unsigned(5, 2)  # blocks of 2
    writer.long(2)
    writer.unsigned(7, 2)  # linear prediction: x[n] = x[n-1] - x[n-2] / 2, in 32nds, rounded
    writer.unsigned(2, 3)
    writer.unsigned(2, 2)
    for coefficient in (32, -16):
        writer.signed(coefficient, 5)
    for residual in (4, -1):
        writer.signed(residual, 2)
    writer.unsigned(4, 2)
    third = [-3, -6, -7]
    for residual in (0, 1, 0):
        third.append(3 * (third[-1] - third[-2]) + third[-3] + residual)
    first = (32 + 32 * 0 - 16 * 0 >> 5) + 4
    second = (32 + 32 * first - 16 * 0 >> 5) - 1
    expected = [5, -3, 2, 3, 4, 0, -3, -6, -7, *third[3:], 0, 0, 0, 2 * first, 2 * second]
    assert decode_shorten(writer.stream())[:, 0].tolist() == expected
    with pytest.raises(ShortenError, match="too early"):
        decode_shorten(writer.stream()[:12])


def test_a_short_stream_may_hold_long_silence():
    """Of the largest block of zeros, whatever the bytes; the bound on what is believed must let it through."""
    writer = BitWriter()
    for value in (5, 1, 1 << 16, 0, 0, 0):
        writer.long(value)
    writer.unsigned(8, 2)
    writer.unsigned(4, 2)
    assert decode_shorten(writer.stream()).tolist() == [[0]] * (1 << 16)
    assert len(writer.stream()) < 20


def test_a_mean_goes_with_the_shift_of_its_block():
    """By hand: the first block's mean of 12 / 4 = 3, rounded, is taken off the second before both are shifted by two bits."""
    writer = BitWriter()
    for value in (5, 1, 4, 1, 1, 0):  # blocks of 4, means of one block
        writer.long(value)
    writer.unsigned(6, 2)
    writer.unsigned(2, 2)
    for residuals in ([5, -3, 2, 6], [1, 0, 0, 0]):
        writer.unsigned(0, 2)
        writer.unsigned(3, 3)
        for residual in residuals:
            writer.signed(residual, 3)
    writer.unsigned(4, 2)
    assert decode_shorten(writer.stream())[:, 0].tolist() == [20, -12, 8, 24, 16, 12, 12, 12]


def with_means():
    """Two blocks of a stream that takes the mean of the last two blocks off, then one of linear prediction."""
    writer = BitWriter()
    for value in (5, 1, 4, 1, 2, 0):  # blocks of 4, prediction of one sample, means of two blocks
        writer.long(value)
    for residuals in ([7, 8, 7, 8], [-3, 2, 0, 0]):  # means of 7.5 and of what comes then
        writer.unsigned(0, 2)
        writer.unsigned(4, 3)
        for residual in residuals:
            writer.signed(residual, 4)
    writer.unsigned(7, 2)
    writer.unsigned(4, 3)
    writer.unsigned(1, 2)
    writer.signed(20, 5)
    for residual in (1, 0, 0, 0):
        writer.signed(residual, 4)
    writer.unsigned(4, 2)
    return writer


def test_version_1_of_shorten_does_not_round_and_3_reads_as_2():
    """By hand: sums are truncated in version 1; later ones add half of the divisor first, and 32 to a prediction."""
    one, two, three = (decode_shorten(with_means().stream(version))[:, 0].tolist() for version in (1, 2, 3))
    # Version 1: 30 / 4 = 7, (0 + 7) / 2 = 3; then (12 - 1) / 4 = 2, (7 + 2) / 2 = 4.
    assert one[4:8] == [-3 + 3, 2 + 3, 3, 3]
    mean = ((30 // 4) + (0 + 5 + 3 + 3) // 4) // 2
    expected, last = [], one[7] - mean
    for residual in (1, 0, 0, 0):
        last = residual + (20 * last >> 5)
        expected.append(last + mean)
    assert one[8:] == expected
    # Version 2: 32 / 4 = 8, (0 + 8 + 1) / 2 = 4.
    assert two[4:8] == [-3 + 4, 2 + 4, 4, 4] and two == three
    mean = (8 + (1 + 6 + 4 + 4 + 2) // 4 + 1) // 2
    expected, last = [], two[7] - mean
    for residual in (1, 0, 0, 0):
        last = residual + (32 + 20 * last >> 5)
        expected.append(last + mean)
    assert two[8:] == expected
    with pytest.raises(ShortenError, match="not a shorten stream of version 1, 2 or 3"):
        decode_shorten(with_means().stream(0))


@pytest.mark.parametrize("version, said", [(1, "v1.09"), (1, "v1.1"), (2, "v2.00"), (3, "v3.1"), (1, "v2.00"), (2, "v1.1b")])
def test_the_version_of_a_stream_is_that_of_its_byte(version, said):
    stream = with_means().stream(version)
    samples = decode_shorten(stream).astype(np.int16)
    header = encode_sphere(samples[:, 0], 16000)[:1024].rstrip(b" ")
    header = header.replace(b"-s3 pcm", f"-s26 pcm,embedded-shorten-{said}".encode()).ljust(1024)
    found, rate = decode_sphere(header + stream, "x")
    assert rate == 16000 and found.tolist() == samples.tolist()


def test_a_compressed_stream_of_endless_silence_is_refused():
    header = encode_sphere(SAMPLES, 16000)[:1024].replace(b"sample_count -i 6", b"sample_count -i 67108865")
    header = header.rstrip(b" ").replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00").ljust(1024)
    with pytest.raises(MediaError, match="x: more than 67,108,864 samples"):
        decode_sphere(header + with_means().stream(2), "x")


def test_telephone_sounds_are_read_and_other_byte_formats_named():
    header = encode_sphere(SAMPLES, 8000)[:1024].rstrip(b" ")
    header = header.replace(b"sample_n_bytes -i 2", b"sample_n_bytes -i 1").replace(b"-s3 pcm", b"-s4 ulaw")
    found, rate = decode_sphere(header.ljust(1024) + b"\xff\x80\x00\x7f\x01\x81", "x")
    assert rate == 8000 and found[:, 0].tolist() == [0, 32124, -32124, 0, -31100, 31100]
    with pytest.raises(MediaError, match="x: truncated: 6 samples declared, 5 present"):
        decode_sphere(header.ljust(1024) + bytes(5), "x")
    odd = encode_sphere(SAMPLES, 8000).replace(b"-s2 01", b"-s9 shortpack")
    with pytest.raises(MediaError, match="sample_byte_format 'shortpack' is not supported; 01 and 10 are"):
        decode_sphere(odd, "x")


def test_resampling_keeps_what_fits_and_removes_what_does_not():
    seconds = lambda rate: np.arange(rate) / rate  # noqa: E731
    tone = lambda hertz, rate: np.sin(2 * np.pi * hertz * seconds(rate)).astype("float32")  # noqa: E731
    inside = slice(500, -500)
    for hertz, old, new in ((440, 8000, 16000), (3000, 8000, 16000), (5000, 44100, 16000)):
        np.testing.assert_allclose(resample(tone(hertz, old), old, new)[inside], tone(hertz, new)[inside], atol=1e-3)
    assert np.abs(resample(tone(9000, 44100), 44100, 16000)[inside]).max() < 1e-3
