"""Band-limited resampling, with the same implementation for files and for exported graphs."""

import functools
import math
from collections.abc import Callable

import tensorflow as tf


@functools.cache
def resampler(new_rate: int) -> Callable[[tf.Tensor, int], tf.Tensor]:
    """Returns `resample` to `new_rate` as a compiled function, because eager execution takes 30 ms or more for one word."""
    signature = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32)]
    return tf.function(functools.partial(resample, new_rate=new_rate), input_signature=signature, autograph=False)


def resample(samples: tf.Tensor, rate: int | tf.Tensor, new_rate: int, zeros: int = 24) -> tf.Tensor:
    """Resamples audio with a Kaiser-windowed sinc (Smith 2002, "Digital Audio Resampling").

    Output n is at position n·down/up of the old samples, and all outputs of the same phase, n mod up, share their weights.
    The sum is computed tap by tap, so that it needs no more memory than the audio itself, whatever the two rates.

    Args:
      samples: float32 [samples] at `rate` Hz.
      rate: an integer or an int32 scalar, in Hz.
      new_rate: the rate of the result in Hz.
      zeros: number of zero crossings of the sinc on each side.

    Returns:
      float32 [ceil(samples · new_rate / rate)].
    """
    samples, rate = tf.convert_to_tensor(samples, tf.float32), tf.cast(rate, tf.int64)
    divisor = _greatest_common_divisor(rate, tf.constant(new_rate, tf.int64))
    up, down = new_rate // divisor, rate // divisor
    step = tf.cast(down, tf.float64) / tf.cast(up, tf.float64)
    cutoff = tf.minimum(tf.constant(1.0, tf.float64), 1.0 / step) * 0.95  # below half of both rates, with a transition band
    reach = tf.cast(tf.math.ceil(zeros / cutoff), tf.int64)
    phases = tf.range(up)
    first = phases * down // up  # [up], the centre tap of each phase
    offset = tf.cast(phases, tf.float64) * step - tf.cast(first, tf.float64)
    distance = tf.cast(tf.range(-reach, reach + 1), tf.float64)[:, None] - offset[None, :]  # [taps, up]
    kernel = cutoff * _sinc(cutoff * distance) * _kaiser(distance / tf.cast(reach + 1, tf.float64))
    kernel = tf.cast(kernel, tf.float32)
    length = -(-tf.size(samples, tf.int64) * up // down)
    blocks = -(-length // up)
    places = tf.range(blocks)[:, None] * down + first[None, :]  # [blocks, up], the position of the first tap of each output
    samples = tf.pad(samples, [[reach, reach + down + 1]])

    def add_tap(tap, total):
        return tap + 1, total + tf.gather(samples, places + tap) * kernel[tap]

    nothing = tf.zeros(tf.stack([blocks, up]), tf.float32)
    total = tf.while_loop(lambda tap, _: tap <= 2 * reach, add_tap, (tf.constant(0, tf.int64), nothing))[1]
    return tf.reshape(total, [-1])[:length]


def _greatest_common_divisor(a, b):
    return tf.while_loop(lambda a, b: b > 0, lambda a, b: (b, a % b), (a, b))[0]


def _sinc(x):
    angle = math.pi * x
    return tf.where(x == 0, tf.ones_like(x), tf.sin(angle) / tf.where(x == 0, tf.ones_like(x), angle))


def _kaiser(x, beta: float = 12.0):
    """Returns the window at x in [-1, 1], which is 1 at 0. Outside this range, it keeps its value at the ends."""
    inside = tf.sqrt(tf.maximum(1.0 - x**2, 0.0))
    return tf.math.bessel_i0(beta * inside) / tf.math.bessel_i0(tf.constant(beta, tf.float64))
