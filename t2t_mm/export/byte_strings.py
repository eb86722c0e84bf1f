"""Reads bytes and numbers inside a string tensor in the graph. Positions after the end of a string are empty."""

import tensorflow as tf


def substring(strings: tf.Tensor, position: int | tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
    """Returns the bytes `strings[position:position + length]`, as far as they exist, for strings of any shape."""
    # `tf.strings.substr` fails if it begins beyond the end, which damaged files ask for.
    begin = tf.minimum(tf.cast(position, tf.int64), tf.cast(tf.strings.length(strings), tf.int64))
    return tf.strings.substr(strings, begin, tf.fill(tf.shape(begin), tf.cast(length, tf.int64)))


def starts_with(strings: tf.Tensor, prefix: bytes) -> tf.Tensor:
    """Returns whether each string begins with `prefix`."""
    return substring(strings, 0, len(prefix)) == prefix


def number(
    data: tf.Tensor, position: int | tf.Tensor, size: int, big: bool | tf.Tensor, dtype: tf.DType = tf.int32
) -> tf.Tensor:
    """Returns the unsigned number of `size` bytes at `position` of a string, or 0 if the string is too short.

    A number that is too large for `dtype` becomes its largest value.

    Args:
      big: whether the highest byte comes first, a bool or a boolean tensor.
    """
    digits = substring(data, position, size)
    whole = tf.strings.length(digits) == size
    digits = tf.io.decode_raw(tf.where(whole, digits, b"\0" * size), tf.uint8)
    digits = tf.cast(tf.ensure_shape(digits, [size]), tf.int64)
    if not isinstance(big, bool):
        digits = tf.where(big, digits, digits[::-1])
    powers = [256**place for place in range(size)]
    if big is not False:
        powers = powers[::-1]
    if size == 8:  # because the highest bit would make it negative
        high = digits[0] if big is not False else digits[7]
        return tf.where(high > 127, dtype.max, _within(digits, powers, dtype))
    return _within(digits, powers, dtype)


def _within(digits: tf.Tensor, powers: list[int], dtype) -> tf.Tensor:
    total = tf.reduce_sum(digits * tf.constant(powers, tf.int64))
    return tf.cast(tf.minimum(total, dtype.max), dtype)
