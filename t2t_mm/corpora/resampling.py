"""Band-limited resampling, one implementation for files and for the graphs that are served."""

import functools
import math
from collections.abc import Callable

import tensorflow as tf


@functools.cache
def resampler(new_rate: int) -> Callable[[tf.Tensor, int], tf.Tensor]:
    """`resample` to `new_rate` as one compiled function: step by step, a spoken word takes it 30 ms and more."""
    signature = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32)]
    return tf.function(functools.partial(resample, new_rate=new_rate), input_signature=signature, autograph=False)


def resample(samples: tf.Tensor, rate: int | tf.Tensor, new_rate: int, zeros: int = 24) -> tf.Tensor:
    """Resampling with a Kaiser-windowed sinc (Smith 2002, "Digital Audio Resampling").

    Output n lies at n·down/up of the old samples; the outputs of one phase, n mod up, share their weights. The sum runs
    tap by tap, so that it needs no more memory than the sound, whatever the two rates.

    Args:
      samples: float32 [samples] at `rate` Hz. rate: an integer or an int32 scalar.
      zeros: zero crossings of the sinc on each side.

    Returns: float32 [ceil(samples · new_rate / rate)].
    """
    samples, rate = tf.convert_to_tensor(samples, tf.float32), tf.cast(rate, tf.int64)
    divisor = _greatest_common_divisor(rate, tf.constant(new_rate, tf.int64))
    up, down = new_rate // divisor, rate // divisor
    step = tf.cast(down, tf.float64) / tf.cast(up, tf.float64)
    cutoff = tf.minimum(tf.constant(1.0, tf.float64), 1.0 / step) * 0.95  # below both rates' halves, with room to fall
    reach = tf.cast(tf.math.ceil(zeros / cutoff), tf.int64)
    phases = tf.range(up)
    first = phases * down // up  # [up], each phase's centre tap
    offset = tf.cast(phases, tf.float64) * step - tf.cast(first, tf.float64)
    distance = tf.cast(tf.range(-reach, reach + 1), tf.float64)[:, None] - offset[None, :]  # [taps, up]
    kernel = cutoff * _sinc(cutoff * distance) * _kaiser(distance / tf.cast(reach + 1, tf.float64))
    kernel = tf.cast(kernel, tf.float32)
    length = -(-tf.size(samples, tf.int64) * up // down)
    blocks = -(-length // up)
    places = tf.range(blocks)[:, None] * down + first[None, :]  # [blocks, up], where each output's first tap lies
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
    """The window at x in [-1, 1], one at 0; beyond, its value at the ends."""
    inside = tf.sqrt(tf.maximum(1.0 - x**2, 0.0))
    return tf.math.bessel_i0(beta * inside) / tf.math.bessel_i0(tf.constant(beta, tf.float64))
