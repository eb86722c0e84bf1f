"""Text, pictures and sounds as a client sends them, read in the graph as `t2t_mm.data` reads files.

Every function names the row it refuses; an error in one row fails its whole batch, as TensorFlow's own errors do.
"""

import tensorflow as tf

from t2t_mm.data.features import AudioFeatures
from t2t_mm.data.resampling import resample

MODALITIES = ("language", "image", "audio")
_JPEG, _PNG, _RIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF"
_RATES = 1000, 400000  # Hz
_MOST_PIXELS = 2**26  # of a picture before it is resized: 800 MB as float32


def modality(inputs: tf.Tensor) -> tf.Tensor:
    """[B] strings -> [B] int32, the index in MODALITIES that each one's first bytes tell."""
    picture = tf.logical_or(_starts_with(inputs, _JPEG), _starts_with(inputs, _PNG))
    sound = tf.logical_and(_starts_with(inputs, _RIFF), _substring(inputs, 8, 4) == b"WAVE")
    return tf.where(picture, 1, tf.where(sound, 2, 0))


def require(valid: tf.Tensor, rows: tf.Tensor, what: str, message) -> None:
    """INVALID_ARGUMENT `what[row]: message` for the first row that is not valid.

    Args:
      valid: [B] boolean. rows: [B] int32, the rows' numbers in the request. message: a string, or strings [B].
    """
    first = tf.argmin(tf.cast(valid, tf.int32))
    message = tf.broadcast_to(message, tf.shape(valid))
    text = lambda: tf.strings.join([what, "[", tf.strings.as_string(rows[first]), "]: ", message[first]])  # noqa: E731
    whole = tf.reduce_all(valid)
    tf.debugging.Assert(whole, [tf.cond(whole, lambda: "", text)])


def read_texts(inputs: tf.Tensor, rows: tf.Tensor, tokenizer, max_length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """[B] UTF-8 -> ids [B, S], padding [B, S]; longer texts than `max_length` tokens are refused."""
    kept = tf.strings.unicode_transcode(inputs, "UTF-8", "UTF-8", errors="ignore", replace_control_characters=False)
    require(kept == inputs, rows, "inputs", "neither a picture nor a sound that is read, nor text in UTF-8")
    ids = tokenizer.tokenize(inputs)
    require(ids.row_lengths() <= max_length, rows, "inputs", f"longer than the limit of {max_length} tokens")
    return ids.to_tensor(), tf.logical_not(tf.sequence_mask(ids.row_lengths()))


def read_pictures(inputs: tf.Tensor, rows: tf.Tensor, size: int) -> tf.Tensor:
    """[B] JPEG or PNG -> [B, size, size, 3] standardised pixels."""
    require(modality(inputs) == 1, rows, "inputs", "neither a JPEG nor a PNG picture")
    return tf.map_fn(
        lambda pair: read_picture(pair[0], pair[1], size),
        (inputs, rows),
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
    )


def read_picture(data: tf.Tensor, row: tf.Tensor, size: int) -> tf.Tensor:
    """One picture, [size, size, 3]: what `data.media.decode_image` and `standardise_image` make of it.

    Pillow resizes columns, then rows, and rounds to whole grey levels after each: so does this.
    """
    is_jpeg = _starts_with(data, _JPEG)
    shape = tf.cond(is_jpeg, lambda: tf.image.extract_jpeg_shape(data)[:2], lambda: _png_shape(data))
    height, width = tf.unstack(shape)
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    require((pixels <= _MOST_PIXELS)[None], row[None], "inputs", f"a picture of more than {_MOST_PIXELS} pixels")
    picture = tf.cond(
        is_jpeg,
        lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(data, channels=3),
    )
    resized = tf.cast(picture, tf.float32)
    for shape in ((height, size), (size, size)):
        resized = tf.image.resize(resized, shape, method="bilinear", antialias=True)
        resized = tf.floor(tf.clip_by_value(resized, 0.0, 255.0) + 0.5)
    deviation = tf.maximum(tf.math.reduce_std(resized), (3.0 * size * size) ** -0.5)
    return tf.ensure_shape((resized - tf.reduce_mean(resized)) / deviation, [size, size, 3])


def _png_shape(data: tf.Tensor) -> tf.Tensor:
    """[height, width] from the header, which the PNG standard puts first."""
    width_height = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
    return tf.ensure_shape(tf.reverse(width_height, [0]), [2])


def read_sounds(inputs: tf.Tensor, rows: tf.Tensor, audio: AudioFeatures, max_frames: int) -> tuple:
    """[B] WAV of 16 bits -> features [B, time, bins], padding [B, time]; longer than `max_frames` is refused."""
    require(modality(inputs) == 2, rows, "inputs", "not a WAV sound")
    features = tf.map_fn(
        lambda pair: read_sound(pair[0], pair[1], audio),
        (inputs, rows),
        fn_output_signature=tf.RaggedTensorSpec([None, audio.bins], tf.float32, ragged_rank=0),
    )
    require(features.row_lengths() <= max_frames, rows, "inputs", f"longer than the limit of {max_frames} frames")
    padding = tf.logical_not(tf.sequence_mask(features.row_lengths()))
    return tf.ensure_shape(features.to_tensor(), [None, None, audio.bins]), padding


def read_sound(data: tf.Tensor, row: tf.Tensor, audio: AudioFeatures) -> tf.Tensor:
    """One sound's features, [time, bins]: what `data.media.decode_audio` and AudioFeatures make of it."""
    samples, rate = tf.audio.decode_wav(data)
    known = tf.logical_and(rate >= _RATES[0], rate <= _RATES[1])
    require(known[None], row[None], "inputs", f"a sample rate outside {_RATES[0]} to {_RATES[1]} Hz")
    require((tf.shape(samples)[0] > 0)[None], row[None], "inputs", "no sample in it")
    mono = tf.reduce_mean(samples, axis=1)
    rate = tf.clip_by_value(rate, *_RATES)
    return audio(tf.cond(rate == audio.sample_rate, lambda: mono, lambda: resample(mono, rate, audio.sample_rate)))


def _starts_with(strings: tf.Tensor, prefix: bytes) -> tf.Tensor:
    return _substring(strings, 0, len(prefix)) == prefix


def _substring(strings: tf.Tensor, position: int, length: int) -> tf.Tensor:
    """`strings[position:position + length]` byte by byte, empty where a string is too short to have it."""
    long_enough = tf.strings.length(strings) >= position + length
    return tf.strings.substr(tf.where(long_enough, strings, tf.fill([], b"\0" * (position + length))), position, length)
