"""Text, pictures and sounds as a client sends them, read in the graph as `t2t_mm.corpora` reads files.

Every function names the row it refuses; an error in one row fails its whole batch, as TensorFlow's own errors do.
"""

from collections.abc import Callable

import tensorflow as tf

from t2t_mm.corpora.media import SAMPLE_RATES
from t2t_mm.corpora.resampling import resample
from t2t_mm.export import limits
from t2t_mm.export.limits import MOST_PIXELS, held, require
from t2t_mm.input.features import AudioFeatures

MODALITIES = ("language", "image", "audio")
_JPEG, _PNG, _RIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF"
_WAV_HEADER_BYTES = 36  # RIFF header and format chunk


def modality(inputs: tf.Tensor) -> tf.Tensor:
    """[B] strings -> [B] int32, the index in MODALITIES that each one's first bytes tell."""
    picture = tf.logical_or(_starts_with(inputs, _JPEG), _starts_with(inputs, _PNG))
    sound = tf.logical_and(_starts_with(inputs, _RIFF), _substring(inputs, 8, 4) == b"WAVE")
    return tf.where(picture, 1, tf.where(sound, 2, 0))


def read_texts(inputs: tf.Tensor, rows: tf.Tensor, tokenizer, max_length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """[B] UTF-8 -> ids [B, S], padding [B, S]; empty texts and those longer than `max_length` tokens are refused.

    Args:
      inputs: as `limits.short_texts` gives them. tokenizer: adds the end token.
    """
    kept = tf.strings.unicode_transcode(inputs, "UTF-8", "UTF-8", errors="ignore", replace_control_characters=False)
    message = "neither a picture nor a sound that is read, nor text in UTF-8"
    ids = tokenizer.tokenize(held(inputs, require(kept == inputs, rows, "inputs", message)))
    lengths = ids.row_lengths()
    message = ["a text of ", tf.strings.as_string(lengths), f" tokens; at most {max_length} are read"]
    short = require(lengths <= max_length, rows, "inputs", tf.strings.join(message))
    ids = held(ids, short, require(lengths > 1, rows, "inputs", "an empty text"))
    return ids.to_tensor(), tf.logical_not(tf.sequence_mask(ids.row_lengths()))


def read_pictures(inputs: tf.Tensor, rows: tf.Tensor, size: int) -> tf.Tensor:
    """[B] JPEG or PNG -> [B, size, size, 3] standardised pixels."""
    inputs = held(inputs, require(modality(inputs) == 1, rows, "inputs", "neither a JPEG nor a PNG picture"))
    return tf.map_fn(
        lambda pair: read_picture(pair[0], pair[1], size),
        (limits.small_pictures(inputs, rows), rows),
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        parallel_iterations=1,  # decoded pictures are large
    )


def read_picture(data: tf.Tensor, row: tf.Tensor, size: int) -> tf.Tensor:
    """One picture, [size, size, 3]: what `corpora.media.decode_image` and `standardise_image` make of it.

    Pillow resizes columns, then rows, and rounds to whole grey levels after each: so does this, and differs by a level
    at most, where a sum lies at the half. TensorFlow resizes rows first, and into float32: on its side, the picture is
    never that large.
    """
    height, picture = decode_picture(data, row)
    columns = _resized(tf.transpose(picture, [1, 0, 2]), (size, height))
    resized = _resized(tf.transpose(columns, [1, 0, 2]), (size, size))
    deviation = tf.maximum(tf.math.reduce_std(resized), (3.0 * size * size) ** -0.5)
    return tf.ensure_shape((resized - tf.reduce_mean(resized)) / deviation, [size, size, 3])


def _resized(picture: tf.Tensor, shape: tuple) -> tf.Tensor:
    resized = tf.image.resize(picture, shape, method="bilinear", antialias=True)
    return tf.floor(tf.clip_by_value(resized, 0.0, 255.0) + 0.5)


def decode_picture(data: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One JPEG or PNG -> its height, uint8 [height, width, 3]; damaged and huge ones are refused."""

    def decode(data):
        is_jpeg = _starts_with(data, _JPEG)
        shape = tf.cond(is_jpeg, lambda: tf.image.extract_jpeg_shape(data)[:2], lambda: _png_shape(data))
        pixels = tf.reduce_prod(tf.cast(shape, tf.int64))
        picture = tf.case(
            [(pixels > MOST_PIXELS, lambda: nothing),
             (is_jpeg, lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"))],
            lambda: tf.io.decode_png(data, channels=3),
        )  # fmt: skip
        return pixels, picture

    nothing = tf.zeros([1, 1, 3], tf.uint8)
    whole, (pixels, picture) = _attempted(decode, data, (tf.constant(0, tf.int64), nothing))
    message = "a damaged JPEG or PNG picture, or one of a kind that is not read; save it anew as a baseline JPEG or PNG"
    require(whole[None], row[None], "inputs", message)
    require((pixels <= MOST_PIXELS)[None], row[None], "inputs", f"a picture of more than {MOST_PIXELS} pixels")
    return tf.shape(picture)[0], picture


def _attempted(decode: Callable, data: tf.Tensor, instead: tuple) -> tuple[tf.Tensor, tuple]:
    """Whether `decode(data)` succeeds, and what it gives; `instead` where it does not.

    A decoder's own error would end the run, and does not say which row it is about. Only tf.data passes errors over.
    """
    decoded = tf.data.Dataset.from_tensors(data).map(lambda data: (True, decode(data))).ignore_errors()
    otherwise = tf.data.Dataset.from_tensors((False, instead))
    # `reduce` would do as well, but optimises the dataset anew each time, for 50 ms.
    return decoded.concatenate(otherwise).take(1).get_single_element()


def _png_shape(data: tf.Tensor) -> tf.Tensor:
    """[height, width] from the header, which the PNG standard puts first."""
    width_height = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
    return tf.ensure_shape(tf.reverse(width_height, [0]), [2])


def read_sounds(inputs: tf.Tensor, rows: tf.Tensor, audio: AudioFeatures, max_frames: int) -> tuple:
    """[B] WAV of 16 bits -> features [B, time, bins], padding [B, time]; longer than `max_frames` is refused."""
    inputs = held(inputs, require(modality(inputs) == 2, rows, "inputs", "not a WAV sound"))
    features = tf.map_fn(
        lambda pair: read_sound(pair[0], pair[1], audio, max_frames),
        (limits.short_sounds(inputs, rows, audio, max_frames), rows),
        fn_output_signature=tf.RaggedTensorSpec([None, audio.bins], tf.float32, ragged_rank=0),
        parallel_iterations=1,
    )
    padding = tf.logical_not(tf.sequence_mask(features.row_lengths()))
    return tf.ensure_shape(features.to_tensor(), [None, None, audio.bins]), padding


def read_sound(data: tf.Tensor, row: tf.Tensor, audio: AudioFeatures, max_frames: int) -> tf.Tensor:
    """One sound's features, [time, bins]: what `corpora.media.decode_audio` and AudioFeatures make of it."""
    lowest, highest = SAMPLE_RATES
    mono, rate = decode_sound(data, row)
    known = tf.logical_and(rate >= lowest, rate <= highest)
    mono = held(mono, require(known[None], row[None], "inputs", f"a sample rate outside {lowest} to {highest} Hz"))
    rate = tf.clip_by_value(rate, lowest, highest)
    length = -(-tf.size(mono, tf.int64) * audio.sample_rate // tf.cast(rate, tf.int64))
    mono = held(mono, limits.require_short(length[None], row[None], audio, max_frames))  # if the header said otherwise
    return audio(tf.cond(rate == audio.sample_rate, lambda: mono, lambda: resample(mono, rate, audio.sample_rate)))


def decode_sound(data: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One WAV of 16-bit PCM -> [samples] in [-1, 1], the mean of its channels, and its rate in Hz."""
    coding, bits = _little_endian(data, 20), _little_endian(data, 34)
    described = tf.logical_and(_substring(data, 12, 4) == b"fmt ", tf.strings.length(data) >= _WAV_HEADER_BYTES)
    read = tf.logical_and(coding == 1, bits == 16)
    message = tf.strings.join([
        "a WAV of ", tf.strings.as_string(bits), " bits a sample in format ", tf.strings.as_string(coding),
        "; 16 bits in format 1 (PCM) are read: convert it, with ffmpeg -i in.wav -c:a pcm_s16le out.wav for instance",
    ])  # fmt: skip
    require(tf.logical_or(read, tf.logical_not(described))[None], row[None], "inputs", message)
    nothing = tf.zeros([1, 1]), tf.constant(SAMPLE_RATES[0])
    whole, (samples, rate) = _attempted(lambda data: tuple(tf.audio.decode_wav(data)), data, nothing)
    # A refused encoding is not a damaged one, and either assertion may be the one that is reported.
    fine = tf.logical_or(whole, tf.logical_and(described, tf.logical_not(read)))
    require(fine[None], row[None], "inputs", "a damaged WAV sound, or one cut short; save it anew")
    require((tf.shape(samples)[0] > 0)[None], row[None], "inputs", "no sample in it")
    return tf.reduce_mean(samples, axis=1), rate


def _little_endian(data: tf.Tensor, position: int) -> tf.Tensor:
    """The number of 16 bits at `position` of one string, 0 where it is too short."""
    return tf.cast(tf.io.decode_raw(_substring(data, position, 2), tf.uint16)[0], tf.int32)


def _starts_with(strings: tf.Tensor, prefix: bytes) -> tf.Tensor:
    return _substring(strings, 0, len(prefix)) == prefix


def _substring(strings: tf.Tensor, position: int, length: int) -> tf.Tensor:
    """`strings[position:position + length]` byte by byte, empty where a string is too short to have it."""
    long_enough = tf.strings.length(strings) >= position + length
    return tf.strings.substr(tf.where(long_enough, strings, tf.fill([], b"\0" * (position + length))), position, length)
