"""Tests that inputs are rejected by header and length before they are decoded, and that decoders read the same values."""

import io
import struct
import wave

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.export import limits, reading
from t2t_mm.input.features import AudioFeatures
from t2t_mm.lab import attacks

ROWS = tf.constant([7])


def picture(size, form, **options):
    data = io.BytesIO()
    Image.new("RGB", size, (1, 2, 3)).save(data, form, **options)
    return data.getvalue()


def with_rubbish(jpeg):
    """Bytes that are no segment, doubled 0xFF, and a thumbnail with a size of its own before the frame header."""
    inner = picture((3, 3), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(inner)) + inner
    return jpeg[:2] + segment + b"\0\0\xff" + jpeg[2:]


@pytest.mark.parametrize(
    "data",
    [
        picture((40, 30), "JPEG"), picture((40, 30), "JPEG", progressive=True), picture((40, 30), "PNG"),
        with_rubbish(picture((40, 30), "JPEG")),
    ],
)  # fmt: skip
def test_pixels_are_those_of_the_decoder(data):
    assert tf.io.decode_image(data).shape[:2] == (30, 40)
    assert limits._pixels(tf.constant(data)) == 1200


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff", picture((9, 9), "JPEG")[:30], b"\x89PNG", b"abc"])
def test_a_header_that_cannot_be_read_is_left_to_the_decoder(data):
    assert limits._pixels(tf.constant(data)) <= limits.MOST_PIXELS


def test_a_frame_header_that_never_comes_is_not_waited_for():
    segments = b"\xff\xd8" + b"\xff\xfe\x00\x02" * 10**5
    assert tf.function(limits._pixels)(tf.constant(segments)) > limits.MOST_PIXELS


@pytest.fixture(scope="module")
def small_pictures():
    return tf.function(lambda data: limits.small_pictures(data, tf.range(tf.size(data))), [tf.TensorSpec([None], tf.string)])


def test_pixels_of_one_and_of_all(small_pictures):
    small, large = picture((40, 30), "PNG"), attacks.png(8000, 8000)
    assert len(large) < 10_000
    np.testing.assert_array_equal(small_pictures(tf.constant([small, small])), [small, small])
    message = r"inputs\[1\]: an image of 64000000 pixels; at most 33554432 are allowed"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        small_pictures(tf.constant([small, large]))
    fine = attacks.png(5700, 5700)
    small_pictures(tf.constant([fine] * 8))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"inputs\[8\]: this image and those before it"):
        small_pictures(tf.constant([fine] * 9))


def test_a_jpeg_of_very_many_scans(small_pictures):
    data = picture((40, 30), "JPEG", progressive=True)
    small_pictures(tf.constant([data]))
    scan = data[data.index(b"\xff\xda") : data.index(b"\xff\xc4", data.index(b"\xff\xda"))]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"inputs\[0\]: a JPEG of more than 64 scans"):
        small_pictures(tf.constant([data[:-2] + 60 * scan + data[-2:]]))


def sound(rate, samples, channels=1, before=b""):
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((channels, 2, rate, samples, "NONE", ""))
        file.writeframes(bytes(2 * channels * samples))
    found = data.getvalue()
    return found[:36] + before + found[36:]


@pytest.mark.parametrize("before", [b"", b"LIST\x03\0\0\0abc\0", b"fact\x04\0\0\0\1\0\0\0"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_sounds_length_is_that_of_its_header(before, channels):
    samples, rate = reading._length(tf.constant(sound(8000, 321, channels, before)))
    assert (int(samples), int(rate)) == (321, 8000)


def test_a_header_that_promises_more_than_there_is():
    data = sound(8000, 100)
    samples, _ = reading._length(tf.constant(data[:40] + b"\xff\xff\xff\x7f" + data[44:]))
    assert samples == 100  # such a size means that it was not known when the header was written
    assert reading._length(tf.constant(data[:12] + b"junk\0\0\0\0" * 100 + data[12:]))[0] == 100


@pytest.mark.parametrize("bins", [10, 1])
def test_the_limit_of_a_sound_is_that_of_its_features(bins):
    """The limit is exact to the sample, at any rate: audio with few enough frames is accepted, and longer audio is rejected."""
    audio = AudioFeatures(bins=bins)
    most = 20 if bins > 1 else 3599
    for rate, longest in ((16000, 3599), (8000, 1799), (48000, 10797)):
        fits = tf.constant([sound(rate, longest)])
        np.testing.assert_array_equal(limits.short_sounds(fits, ROWS, audio, most, reading._length), fits)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"inputs\[7\]: a recording of 0.2\d seconds; at most 0.22"):
            limits.short_sounds(tf.constant([sound(rate, longest + 3)]), ROWS, audio, most, reading._length)
    frames = audio(tf.zeros([3599])).shape[0], audio(tf.zeros([3600])).shape[0]
    assert frames == ((20, 21) if bins > 1 else (3599, 3600))


def test_a_quoted_text_is_cut_between_characters():
    texts = tf.constant(["ä" * 20, "ä" * 21, "a" + "ä" * 20, "日" * 14, b"a\xffb"])
    found = [text.decode() for text in limits.shown(texts).numpy()]
    assert found == ["ä" * 20, "ä" * 20 + "...", "a" + "ä" * 19 + "...", "日" * 13 + "...", "ab"]


def test_a_text_is_refused_by_its_bytes():
    short = limits.short_texts(tf.constant([b"a" * 640]), ROWS, 10)
    assert tf.strings.length(short)[0] == 640
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"inputs\[7\]: a text of more than 640 bytes"):
        limits.short_texts(tf.constant([b"a" * 641]), ROWS, 10)


def test_work_waits_for_its_checks():
    """In a graph an assertion holds back only what is made to wait; without, the division would be done or reported."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def divided(numbers):
        held = limits.held(numbers, limits.require(numbers != 0, tf.range(tf.size(numbers)), "numbers", "a zero"))
        return 100 // held

    assert divided(tf.constant([5])).numpy().tolist() == [20]
    for _ in range(20):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"numbers\[1\]: a zero"):
            divided(tf.constant([1, 0]))
