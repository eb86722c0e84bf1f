"""Limits the cost of an input, which is determined in the graph from its first bytes or its length before any work.

A TensorFlow assertion only stops operations that depend on it, so `held` makes the work depend on the checks.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from t2t_mm.corpora.sounds import SAMPLE_RATES
from t2t_mm.export.byte_strings import number
from t2t_mm.input.features import AudioFeatures

MOST_ROWS = 256  # maximum number of inputs in a request
MOST_LOOKED_AT = 16  # maximum number of inputs in a request for attention weights, which has all of them in memory
MOST_PIXELS = 2**25  # maximum number of pixels of an image before it is resized (100 MB decoded)
MOST_PIXELS_TOGETHER = 2**28  # maximum for all images of a request, which are decoded one after the other
# SentencePiece trains pieces of at most 16 characters, of at most 4 bytes each.
MOST_BYTES_A_TOKEN = 64
_MOST_SCANS = 64  # maximum number of scans of a progressive JPEG, each of which covers all pixels; ten are usual
_MOST_SEGMENTS = 4096  # maximum number of segments of a JPEG before its size
_SHOWN_BYTES = 40  # number of bytes of a client's text that an error quotes
_INPUT: contextvars.ContextVar[str] = contextvars.ContextVar("input", default="inputs")


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Makes the errors of checks that are traced in this context call "inputs" by another name.

    It is that of one of the several inputs of a signature.
    """
    token = _INPUT.set(name)
    try:
        yield
    finally:
        _INPUT.reset(token)


def held(tensors: Any, *checks: tf.Operation | tf.Tensor | None) -> Any:
    """Returns `tensors`, which depend on all `checks` (operations returned by `require`, or tensors that depend on such)."""
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.nest.map_structure(tf.identity, tensors)


def require(valid: tf.Tensor, rows: tf.Tensor, what: str, message: str | tf.Tensor) -> tf.Operation:
    """Returns an assertion for `held`, which fails with INVALID_ARGUMENT `what[row]: message` for the first invalid row.

    Args:
      valid: [B] boolean.
      rows: [B] int32, the numbers of the rows in the request.
      what: the name of the input; "inputs" has another name within `named`.
      message: a string, or strings [B].
    """
    what = _INPUT.get() if what == "inputs" else what
    text = tf.strings.join([what, "[", tf.strings.as_string(rows), "]: ", message])
    # An additional valid row, so that there is a first row even in an empty request.
    text, valid = tf.concat([text, [""]], axis=0), tf.concat([valid, [True]], axis=0)
    return tf.debugging.Assert(tf.reduce_all(valid), [text[tf.argmin(tf.cast(valid, tf.int32))]])


def require_rows(count: tf.Tensor, what: str) -> tf.Operation:
    """Returns an assertion that a request has at least one input and at most MOST_ROWS inputs."""
    number = tf.strings.as_string(count)
    message = tf.strings.join([what, ": ", number, f" in one request; 1 to {MOST_ROWS} are allowed"])
    return tf.debugging.Assert(tf.logical_and(count > 0, count <= MOST_ROWS), [message])


def shown(text: tf.Tensor) -> tf.Tensor:
    """Returns strings [B] of a client as errors quote them, with a limited length and without bytes that are not UTF-8."""
    long = tf.strings.length(text) > _SHOWN_BYTES
    # The last character may be cut, and a message that is not UTF-8 cannot be sent.
    start = tf.strings.unicode_transcode(tf.strings.substr(text, 0, _SHOWN_BYTES), "UTF-8", "UTF-8", errors="ignore")
    return tf.strings.join([start, tf.where(long, "...", "")])


def short_texts(inputs: tf.Tensor, rows: tf.Tensor, max_length: int) -> tf.Tensor:
    """Returns texts [B] after rejecting those with too many bytes for `max_length` tokens of any content."""
    # A first limit in bytes, before the text is tokenised; the exact one in tokens follows.
    most = max_length * MOST_BYTES_A_TOKEN
    message = f"a text of more than {most} bytes, which is longer than the limit of {max_length} tokens"
    return held(inputs, require(tf.strings.length(inputs) <= most, rows, "inputs", message))


def small_pictures(inputs: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns JPEG or PNG images [B] after rejecting those whose headers declare too many pixels, alone or together.

    If a header cannot be read, the decoder rejects the image later.
    """
    pixels, scans = tf.map_fn(lambda data: (_pixels(data), _scans(data)), inputs, fn_output_signature=(tf.int64, tf.int64))
    numbers = tf.strings.as_string(pixels)
    one = tf.strings.join(["an image of ", numbers, f" pixels; at most {MOST_PIXELS} are allowed"])
    # Cumulative, so that the error names the image with which the request becomes too large.
    together = tf.cumsum(pixels)
    message = f"this image and those before it have more than {MOST_PIXELS_TOGETHER} pixels, the limit for one request"
    small = require(pixels <= MOST_PIXELS, rows, "inputs", one)
    # An image that is too large by itself is reported as such, and not by this check as well.
    few = require(tf.logical_or(pixels > MOST_PIXELS, together <= MOST_PIXELS_TOGETHER), rows, "inputs", message)
    message = f"a JPEG of more than {_MOST_SCANS} scans; save it again as a baseline JPEG"
    return held(inputs, small, few, require(scans <= _MOST_SCANS, rows, "inputs", message))


def short_sounds(inputs: tf.Tensor, rows: tf.Tensor, audio: AudioFeatures, max_frames: int, length: Callable) -> tf.Tensor:
    """Returns WAV files [B] after rejecting those whose headers declare too many samples, before they are decoded.

    Args:
      length: a function from the bytes of a file to the number of samples per channel in its header and the rate, both
        int64.
    """

    def lengths(data):
        samples, rate = length(data)
        known = tf.logical_and(rate >= SAMPLE_RATES[0], rate <= SAMPLE_RATES[1])  # other rates have a separate error
        return tf.where(known, samples, 0), tf.where(known, rate, SAMPLE_RATES[0])

    samples, rates = tf.map_fn(lengths, inputs, fn_output_signature=(tf.int64, tf.int64))
    # The number of samples after resampling, rounded up as in `reading.read_sound`.
    resampled = -(-samples * audio.sample_rate // rates)
    return held(inputs, require_short(resampled, rows, audio, max_frames))


def most_samples(audio: AudioFeatures, max_frames: int) -> int:
    """Returns the number of samples of the longest audio that has at most `max_frames` frames."""
    # The longest audio from which windows of `frame` samples at distances of `hop` make `max_frames` frames.
    return max_frames if audio.bins == 1 else audio.frame + audio.hop * max_frames - 1


def require_short(samples: tf.Tensor, rows: tf.Tensor, audio: AudioFeatures, max_frames: int) -> tf.Operation:
    """Returns an assertion that audio is at most `max_frames` long.

    Args:
      samples: [B] int64, the number of samples of each recording at the sample rate of the model.
      rows: [B] int32, the numbers of the rows in the request.
    """
    most = most_samples(audio, max_frames)
    seconds = tf.strings.as_string(tf.cast(samples, tf.float32) / audio.sample_rate, precision=2)
    limit = f" seconds; at most {most / audio.sample_rate:.2f} seconds are allowed"
    return require(samples <= most, rows, "inputs", tf.strings.join(["a recording of ", seconds, limit]))


def _pixels(data: tf.Tensor) -> tf.Tensor:
    """Returns the number of pixels in the header of an image, or 0 if it is missing."""
    is_jpeg = _number(data, 0, 2) == 0xFFD8
    return tf.cond(is_jpeg, lambda: _jpeg_pixels(data), lambda: _number(data, 16, 4) * _number(data, 20, 4))


def _jpeg_pixels(data: tf.Tensor) -> tf.Tensor:
    """Returns the pixels of a JPEG by going from segment to segment up to the frame header, as decoders do.

    If there is no frame header among a reasonable number of segments, returns more pixels than allowed.
    """

    def is_frame(marker):  # SOF0 to SOF15, except for three codes with another meaning
        within = tf.logical_and(marker >= 0xC0, marker <= 0xCF)
        return tf.logical_and(within, tf.reduce_all(marker != tf.constant([0xC4, 0xC8, 0xCC], tf.int64)))

    def goes_on(count, position):
        inside = tf.logical_and(count < _MOST_SEGMENTS, position + 9 <= _size(data))
        frame = tf.logical_and(_number(data, position, 1) == 0xFF, is_frame(_number(data, position + 1, 1)))
        return tf.logical_and(inside, tf.logical_not(frame))

    def advance(count, position):
        marker, length = _number(data, position + 1, 1), _number(data, position + 2, 2)
        # TEM, RST0 to RST7 and SOI: markers without a length.
        alone = tf.logical_or(marker <= 0x01, tf.logical_and(marker >= 0xD0, marker <= 0xD8))
        step = tf.where(alone, tf.constant(2, tf.int64), 2 + length)
        # Between segments, decoders skip everything up to the next 0xFF, and repetitions of it.
        filling = tf.logical_or(_number(data, position, 1) != 0xFF, marker == 0xFF)
        return count + 1, position + tf.where(filling, tf.constant(1, tf.int64), step)

    count, position = tf.while_loop(goes_on, advance, (0, tf.constant(2, tf.int64)), parallel_iterations=1)
    # The frame header: marker, length (2), precision (1), height (2), width (2).
    pixels = _number(data, position + 5, 2) * _number(data, position + 7, 2)
    return tf.where(count < _MOST_SEGMENTS, pixels, MOST_PIXELS + 1)


def _scans(data: tf.Tensor) -> tf.Tensor:
    """Returns the number of scans of a JPEG. A small file can make its decoder process all pixels 100,000 times."""
    # SOS markers are counted in the whole file: inside compressed data, 0xFF is always followed by 0x00 or a restart marker.
    values = tf.io.decode_raw(tf.where(_number(data, 0, 2) == 0xFFD8, data, b"\0\0"), tf.uint8)
    return tf.reduce_sum(tf.cast(tf.logical_and(values[:-1] == 0xFF, values[1:] == 0xDA), tf.int64))


def _size(data: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(data), tf.int64)


def _number(data: tf.Tensor, position, count: int) -> tf.Tensor:
    return number(data, position, count, True, tf.int64)
