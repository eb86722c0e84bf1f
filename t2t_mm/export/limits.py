"""What an input may cost, found out from its first bytes or its length, in the graph and before any work on it.

An assertion of TensorFlow's holds back only what waits for it: `held` makes the work wait.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from t2t_mm.corpora.sounds import SAMPLE_RATES
from t2t_mm.export.byte_strings import number
from t2t_mm.input.features import AudioFeatures

MOST_ROWS = 256  # inputs of a request
MOST_PIXELS = 2**25  # of a picture before it is resized: 100 MB decoded
MOST_PIXELS_TOGETHER = 2**28  # of all pictures of a request, which are decoded one after the other
# SentencePiece trains pieces of at most 16 characters, of at most 4 bytes each.
MOST_BYTES_A_TOKEN = 64
_MOST_SCANS = 64  # of a progressive JPEG; each passes over all pixels, and encoders write about ten
_MOST_SEGMENTS = 4096  # of a JPEG before its size
_SHOWN_BYTES = 40  # of a client's own text in an error


def held(tensors: Any, *checks: tf.Operation | None) -> Any:
    """`tensors`, which come only after all `checks`, operations of `require`, have passed."""
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.nest.map_structure(tf.identity, tensors)


def require(valid: tf.Tensor, rows: tf.Tensor, what: str, message: str | tf.Tensor) -> tf.Operation:
    """INVALID_ARGUMENT `what[row]: message` for the first row that is not valid -> the assertion, for `held`.

    Args:
      valid: [B] boolean. rows: [B] int32, the rows' numbers in the request. message: a string, or strings [B].
    """
    text = tf.strings.join([what, "[", tf.strings.as_string(rows), "]: ", message])
    # One more, valid, so that there is a first one in a request without rows too.
    text, valid = tf.concat([text, [""]], axis=0), tf.concat([valid, [True]], axis=0)
    return tf.debugging.Assert(tf.reduce_all(valid), [text[tf.argmin(tf.cast(valid, tf.int32))]])


def require_rows(count: tf.Tensor, what: str) -> tf.Operation:
    """Refuses a request of more than MOST_ROWS inputs, and one of none."""
    number = tf.strings.as_string(count)
    message = tf.strings.join([what, ": ", number, f" in one request; 1 to {MOST_ROWS} are taken"])
    return tf.debugging.Assert(tf.logical_and(count > 0, count <= MOST_ROWS), [message])


def shown(text: tf.Tensor) -> tf.Tensor:
    """[B] strings of a client's as errors quote them: no longer than an error should be."""
    long = tf.strings.length(text) > _SHOWN_BYTES
    return tf.strings.join([tf.strings.substr(text, 0, _SHOWN_BYTES), tf.where(long, "...", "")])


def short_texts(inputs: tf.Tensor, rows: tf.Tensor, max_length: int) -> tf.Tensor:
    """[B] texts; those that are too long for `max_length` tokens whatever they say are refused by their bytes."""
    most = max_length * MOST_BYTES_A_TOKEN
    message = f"a text of more than {most} bytes, which is longer than the limit of {max_length} tokens"
    return held(inputs, require(tf.strings.length(inputs) <= most, rows, "inputs", message))


def small_pictures(inputs: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """[B] JPEG or PNG; those are refused whose headers tell of too many pixels, in one picture or in all together.

    A header that cannot be read is the decoder's to refuse.
    """
    pixels, scans = tf.map_fn(
        lambda data: (_pixels(data), _scans(data)), inputs, fn_output_signature=(tf.int64, tf.int64)
    )
    numbers = tf.strings.as_string(pixels)
    one = tf.strings.join(["a picture of ", numbers, f" pixels; at most {MOST_PIXELS} are read"])
    together = tf.cumsum(pixels)
    message = f"this picture and those before it have more than {MOST_PIXELS_TOGETHER} pixels, the limit for one request"
    small = require(pixels <= MOST_PIXELS, rows, "inputs", one)
    few = require(tf.logical_or(pixels > MOST_PIXELS, together <= MOST_PIXELS_TOGETHER), rows, "inputs", message)
    message = f"a JPEG of more than {_MOST_SCANS} scans; save it anew as a baseline JPEG"
    return held(inputs, small, few, require(scans <= _MOST_SCANS, rows, "inputs", message))


def short_sounds(
    inputs: tf.Tensor, rows: tf.Tensor, audio: AudioFeatures, max_frames: int, length: Callable
) -> tf.Tensor:
    """[B] WAV; those are refused whose headers tell of a longer sound, before they are decoded and resampled.

    length: One file's bytes -> the samples of each channel that its header tells of, and the rate; both int64.
    """

    def lengths(data):
        samples, rate = length(data)
        known = tf.logical_and(rate >= SAMPLE_RATES[0], rate <= SAMPLE_RATES[1])  # others have an error of their own
        return tf.where(known, samples, 0), tf.where(known, rate, SAMPLE_RATES[0])

    samples, rates = tf.map_fn(lengths, inputs, fn_output_signature=(tf.int64, tf.int64))
    resampled = -(-samples * audio.sample_rate // rates)
    return held(inputs, require_short(resampled, rows, audio, max_frames))


def require_short(samples: tf.Tensor, rows: tf.Tensor, audio: AudioFeatures, max_frames: int) -> tf.Operation:
    """samples: [B] int64, each sound's at the model's rate."""
    most = max_frames if audio.bins == 1 else audio.frame + audio.hop * max_frames - 1
    seconds = tf.strings.as_string(tf.cast(samples, tf.float32) / audio.sample_rate, precision=2)
    limit = f" seconds; at most {most / audio.sample_rate:.2f} seconds are read"
    return require(samples <= most, rows, "inputs", tf.strings.join(["a sound of ", seconds, limit]))


def _pixels(data: tf.Tensor) -> tf.Tensor:
    """A picture's pixels as its header says, 0 where it does not."""
    is_jpeg = _number(data, 0, 2) == 0xFFD8
    return tf.cond(is_jpeg, lambda: _jpeg_pixels(data), lambda: _number(data, 16, 4) * _number(data, 20, 4))


def _jpeg_pixels(data: tf.Tensor) -> tf.Tensor:
    """Goes from segment to segment up to the frame header, as decoders do; more pixels than allowed where there is none
    within reason."""

    def is_frame(marker):  # SOF0 to SOF15, but three of these codes mean something else
        within = tf.logical_and(marker >= 0xC0, marker <= 0xCF)
        return tf.logical_and(within, tf.reduce_all(marker != tf.constant([0xC4, 0xC8, 0xCC], tf.int64)))

    def goes_on(count, position):
        inside = tf.logical_and(count < _MOST_SEGMENTS, position + 9 <= _size(data))
        frame = tf.logical_and(_number(data, position, 1) == 0xFF, is_frame(_number(data, position + 1, 1)))
        return tf.logical_and(inside, tf.logical_not(frame))

    def advance(count, position):
        marker, length = _number(data, position + 1, 1), _number(data, position + 2, 2)
        alone = tf.logical_or(marker <= 0x01, tf.logical_and(marker >= 0xD0, marker <= 0xD8))
        step = tf.where(alone, tf.constant(2, tf.int64), 2 + length)
        # Between segments decoders pass over anything up to the next 0xFF, and over several of these.
        filling = tf.logical_or(_number(data, position, 1) != 0xFF, marker == 0xFF)
        return count + 1, position + tf.where(filling, tf.constant(1, tf.int64), step)

    count, position = tf.while_loop(goes_on, advance, (0, tf.constant(2, tf.int64)), parallel_iterations=1)
    pixels = _number(data, position + 5, 2) * _number(data, position + 7, 2)
    return tf.where(count < _MOST_SEGMENTS, pixels, MOST_PIXELS + 1)


def _scans(data: tf.Tensor) -> tf.Tensor:
    """How often a JPEG begins a scan: a small file can have its decoder pass over all pixels a hundred thousand times."""
    values = tf.io.decode_raw(tf.where(_number(data, 0, 2) == 0xFFD8, data, b"\0\0"), tf.uint8)
    return tf.reduce_sum(tf.cast(tf.logical_and(values[:-1] == 0xFF, values[1:] == 0xDA), tf.int64))


def _size(data: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(data), tf.int64)


def _number(data: tf.Tensor, position, count: int) -> tf.Tensor:
    return number(data, position, count, True, tf.int64)
