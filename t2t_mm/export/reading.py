"""Reads text, images and audio of a client in the graph, in the same way as `t2t_mm.corpora` reads files.

The errors of all functions name the row. Like TensorFlow's own errors, an error in one row fails its whole batch.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from t2t_mm.corpora import sound_files
from t2t_mm.corpora.resampling import resample
from t2t_mm.corpora.sounds import SAMPLE_RATES
from t2t_mm.export import limits
from t2t_mm.export.byte_strings import number, starts_with, substring
from t2t_mm.export.limits import MOST_PIXELS, held, require
from t2t_mm.input.features import AudioFeatures

MODALITIES = ("language", "image", "audio")
_JPEG, _PNG, _WAVS = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", (b"RIFF", b"RF64", b"BW64")
_ORIENTATION = 0x0112  # the EXIF tag for the orientation of the camera
_MOST_PARTS = 1000  # maximum number of JPEG segments, PNG chunks or EXIF tags to search


def modality(inputs: tf.Tensor) -> tf.Tensor:
    """Returns the index in MODALITIES [B] int32 of each input [B], judged by its first bytes."""
    # By the content, because a request has no file names. A text cannot be taken for an image: the first byte of a JPEG or
    # PNG does not occur at the beginning of UTF-8 text.
    picture = tf.logical_or(starts_with(inputs, _JPEG), starts_with(inputs, _PNG))
    riff = tf.reduce_any([starts_with(inputs, name) for name in _WAVS], axis=0)
    sound = tf.logical_and(riff, substring(inputs, 8, 4) == b"WAVE")
    return tf.where(picture, 1, tf.where(sound, 2, 0))


def read_texts(inputs: tf.Tensor, rows: tf.Tensor, tokenizer: Any, max_length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the ids [B, S] and padding [B, S] of UTF-8 texts. Rejects empty texts and those over `max_length` tokens.

    Args:
      inputs: [B], the result of `limits.short_texts`.
      rows: [B] int32, the numbers of the rows in the request.
      tokenizer: a tokenizer that adds the end token.
    """
    # Invalid bytes are dropped here, and what has lost something is rejected below, with the number of its row.
    kept = tf.strings.unicode_transcode(inputs, "UTF-8", "UTF-8", errors="ignore", replace_control_characters=False)
    message = "neither UTF-8 text nor a JPEG, PNG or WAV file"
    ids = tokenizer.tokenize(held(inputs, require(kept == inputs, rows, "inputs", message)))
    lengths = ids.row_lengths()
    too_long = ["a text of ", tf.strings.as_string(lengths), f" tokens; at most {max_length} are allowed"]
    short = require(lengths <= max_length, rows, "inputs", tf.strings.join(too_long))
    blank = tf.strings.regex_full_match(inputs, r"[\s\pZ\pC]*")  # all kinds of spaces and non-printing characters
    # One token is the end token alone.
    said = tf.logical_and(lengths > 1, tf.logical_not(blank))
    ids = held(ids, short, require(said, rows, "inputs", "an empty text"))
    return ids.to_tensor(), tf.logical_not(tf.sequence_mask(ids.row_lengths()))


def read_pictures(inputs: tf.Tensor, rows: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the standardised pixels [B, size, size, 3] of JPEG or PNG images [B]."""
    inputs = held(inputs, require(modality(inputs) == 1, rows, "inputs", "neither a JPEG nor a PNG image"))
    return tf.map_fn(
        lambda pair: read_picture(pair[0], pair[1], size),
        (limits.small_pictures(inputs, rows), rows),
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        parallel_iterations=1,  # because decoded images are large
    )


def read_picture(data: tf.Tensor, row: tf.Tensor, size: int) -> tf.Tensor:
    """Returns one image [size, size, 3] like `corpora.pictures.decode_image` and `standardise_image`.

    Like Pillow, this resizes columns first, then rows, and rounds to integers after each. The result differs from Pillow's
    by at most 1, if a sum is halfway between two integers. TensorFlow resizes rows first, to float32. Therefore the image
    is transposed, so that it never becomes that large.
    """
    height, picture = decode_picture(data, row)
    columns = _resized(tf.transpose(picture, [1, 0, 2]), (size, height))
    resized = _resized(tf.transpose(columns, [1, 0, 2]), (size, size))
    # The formula of `standardise_image`.
    deviation = tf.maximum(tf.math.reduce_std(resized), (3.0 * size * size) ** -0.5)
    return tf.ensure_shape((resized - tf.reduce_mean(resized)) / deviation, [size, size, 3])


def _resized(picture: tf.Tensor, shape: tuple) -> tf.Tensor:
    resized = tf.image.resize(picture, shape, method="bilinear", antialias=True)
    # Pillow rounds halves up, while `tf.round` rounds them to even numbers.
    return tf.floor(tf.clip_by_value(resized, 0.0, 255.0) + 0.5)


def decode_picture(data: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the height and the pixels, uint8 [height, width, 3], of a JPEG or PNG, rotated by its EXIF orientation.

    Rejects damaged and very large images.
    """

    def decode(data):
        is_jpeg = starts_with(data, _JPEG)
        # The size is read first, so that a small file cannot claim gigabytes of memory.
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
    message = "a damaged or unsupported JPEG or PNG image; save it again as a baseline JPEG or PNG"
    require(whole[None], row[None], "inputs", message)
    require((pixels <= MOST_PIXELS)[None], row[None], "inputs", f"an image of more than {MOST_PIXELS} pixels")
    picture = _upright(picture, _orientation(_exif(data)))
    return tf.shape(picture)[0], picture


def _attempted(decode: Callable, data: tf.Tensor, instead: tuple) -> tuple[tf.Tensor, tuple]:
    """Returns whether `decode(data)` succeeds, and its result, or `instead` if it fails.

    The error of a decoder would end the run without naming the row. Only tf.data can ignore errors.
    """
    decoded = tf.data.Dataset.from_tensors(data).map(lambda data: (True, decode(data))).ignore_errors()
    otherwise = tf.data.Dataset.from_tensors((False, instead))
    # `reduce` would work too, but optimises the dataset in every call, which takes 50 ms.
    return decoded.concatenate(otherwise).take(1).get_single_element()


def _exif(data: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF data of a JPEG or PNG, which is a small TIFF file, or an empty string."""

    def in_jpeg():
        """Searches the segments: 0xFF (or several), a type, and the size of the content. The pixels follow the type 0xDA."""

        def is_exif(at):
            return tf.logical_and(_byte(data, at + 1) == 0xE1, substring(data, at + 4, 6) == b"Exif\0\0")

        def before_pixels(at):
            return tf.logical_and(_byte(data, at) == 0xFF, _byte(data, at + 1) != 0xDA)

        def step(at):
            return tf.where(_byte(data, at + 1) == 0xFF, at + 1, at + 2 + number(data, at + 2, 2, True))

        at = _walk(2, lambda at: tf.logical_and(before_pixels(at), tf.logical_not(is_exif(at))), step)
        # The size counts itself (2 bytes) and the mark "Exif" with two zeros (6 bytes).
        size = tf.maximum(number(data, at + 2, 2, True) - 8, 0)
        return tf.cond(is_exif(at), lambda: substring(data, at + 10, size), lambda: tf.constant(b""))

    def in_png():
        """Searches the chunks: the size of the content, a name, the content, and a checksum."""
        length = tf.strings.length(data)

        def step(at):
            # Twelve bytes around the content: size, name and checksum. A wrong size must not lead beyond the file.
            return tf.minimum(at + 12 + tf.minimum(number(data, at, 4, True), length), length)

        def other(at):
            return tf.logical_and(at < length, substring(data, at + 4, 4) != b"eXIf")

        # After the signature.
        at = _walk(8, other, step)
        found = at < length
        size = tf.minimum(number(data, at, 4, True), length)
        return tf.cond(found, lambda: substring(data, at + 8, size), lambda: tf.constant(b""))

    return tf.cond(starts_with(data, _JPEG), in_jpeg, in_png)


def _orientation(exif: tf.Tensor) -> tf.Tensor:
    """Returns the orientation, 1 to 8, in the first directory of a TIFF file (12 bytes per tag, either byte order)."""
    big = starts_with(exif, b"MM")
    field = lambda at, size: number(exif, at, size, big)  # noqa: E731
    is_tiff = tf.logical_and(tf.logical_or(big, starts_with(exif, b"II")), field(2, 2) == 42)
    directory = tf.minimum(field(4, 4), tf.strings.length(exif))
    first, end = directory + 2, directory + 2 + 12 * field(directory, 2)
    at = _walk(first, lambda at: tf.logical_and(at < end, field(at, 2) != _ORIENTATION), lambda at: at + 12)
    # Most programs write type 3, 16 bits. Pillow accepts 32 bits (4) and signed numbers (8, 9), too.
    of_type = lambda *types: tf.reduce_any(field(at + 2, 2) == list(types))  # noqa: E731
    value = tf.where(of_type(3, 8), field(at + 8, 2), tf.where(of_type(4, 9), field(at + 8, 4), 1))
    found = tf.reduce_all([is_tiff, at < end, field(at + 4, 4) == 1, value >= 1, value <= 8])
    return tf.where(found, value, 1)


def _upright(picture: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors an image [H, W, 3] according to its EXIF orientation."""
    # The eight orientations are a transposition, a mirroring of columns and one of rows, in this order.
    turned = tf.reduce_any(orientation == [5, 6, 7, 8])
    picture = tf.cond(turned, lambda: tf.transpose(picture, [1, 0, 2]), lambda: picture)
    mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    picture = tf.cond(mirrored, lambda: picture[:, ::-1], lambda: picture)
    upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    return tf.ensure_shape(tf.cond(upside_down, lambda: picture[::-1], lambda: picture), [None, None, 3])


def _png_shape(data: tf.Tensor) -> tf.Tensor:
    """Returns [height, width] in the header, which comes first in a PNG."""
    # The width comes first, in bytes 16 to 19, after the signature and the head of the first chunk.
    width_height = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
    return tf.ensure_shape(tf.reverse(width_height, [0]), [2])


def read_sounds(inputs: tf.Tensor, rows: tf.Tensor, audio: AudioFeatures, max_frames: int) -> tuple:
    """Returns the features [B, time, bins] and padding [B, time] of WAV files [B]. Rejects audio over `max_frames`."""
    inputs = held(inputs, require(modality(inputs) == 2, rows, "inputs", "not a WAV file"))
    features = tf.map_fn(
        lambda pair: read_sound(pair[0], pair[1], audio, max_frames),
        (limits.short_sounds(inputs, rows, audio, max_frames, _length), rows),
        # Ragged, because recordings have different lengths.
        fn_output_signature=tf.RaggedTensorSpec([None, audio.bins], tf.float32, ragged_rank=0),
        parallel_iterations=1,
    )
    padding = tf.logical_not(tf.sequence_mask(features.row_lengths()))
    return tf.ensure_shape(features.to_tensor(), [None, None, audio.bins]), padding


def read_sound(data: tf.Tensor, row: tf.Tensor, audio: AudioFeatures, max_frames: int) -> tf.Tensor:
    """Returns the features [time, bins] of one recording, like `corpora.sounds.decode_audio` and AudioFeatures."""
    lowest, highest = SAMPLE_RATES
    mono, rate = decode_sound(data, row)
    # A rate of 1 Hz in the header would make resampling enlarge a short file thousands of times.
    known = tf.logical_and(rate >= lowest, rate <= highest)
    mono = held(mono, require(known[None], row[None], "inputs", f"a sample rate outside {lowest} to {highest} Hz"))
    # A rejected rate still enters the computations that shapes depend on, and must not be zero there.
    rate = tf.clip_by_value(rate, lowest, highest)
    # Rounded up, and in 64 bits, because the product exceeds 32 for a long recording.
    length = -(-tf.size(mono, tf.int64) * audio.sample_rate // tf.cast(rate, tf.int64))
    mono = held(mono, limits.require_short(length[None], row[None], audio, max_frames))  # in case the header was wrong
    return audio(tf.cond(rate == audio.sample_rate, lambda: mono, lambda: resample(mono, rate, audio.sample_rate)))


def decode_sound(data: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean of the channels [samples] of a WAV and its rate in Hz, following the rules of `plain_wav`."""
    form, begin, size, fits = _find_samples(data)
    field = lambda at, size: number(form, at, size, False)  # noqa: E731
    code, channels, align, bits = field(0, 2), field(2, 2), field(12, 2), field(14, 2)
    rate = tf.maximum(field(4, 4), 0)
    described = tf.strings.length(form) >= 16
    # WAVE_FORMAT_EXTENSIBLE: the actual format is in the first bytes of a GUID, whose rest is always the same.
    is_extensible = tf.logical_and(code == sound_files.EXTENSIBLE, substring(form, 25, 15) == sound_files.GUID)
    code = tf.where(is_extensible, _byte(form, 24), code)
    kinds = [(code, bits) for code, widths in sound_files.CODINGS.items() for bits in widths]
    known = [tf.logical_and(code == a, bits == b) for a, b in kinds]
    message = tf.strings.join([
        "a WAV with ", tf.strings.as_string(bits), " bits per sample in format ", tf.strings.as_string(code), "; ",
        sound_files.READ_CODINGS,
    ])  # fmt: skip
    read = tf.reduce_any(known)
    require(tf.logical_or(read, tf.logical_not(described))[None], row[None], "inputs", message)
    # A file with an unsupported coding must not count as damaged too, because either assertion may be reported.
    framed = tf.reduce_all([channels > 0, rate > 0, align == channels * bits // 8])
    whole = tf.reduce_all([fits, described, size % tf.maximum(tf.cast(align, tf.int64), 1) == 0])
    fine = tf.logical_or(tf.logical_and(whole, framed), tf.logical_and(described, tf.logical_not(read)))
    require(fine[None], row[None], "inputs", "a damaged or truncated WAV file; save it again")
    size = tf.where(tf.reduce_all([whole, framed, read]), tf.cast(tf.minimum(size, tf.int32.max), tf.int32), 0)
    content = tf.strings.substr(data, tf.minimum(begin, tf.strings.length(data)), size)
    # All codings are in the graph; the header of each file selects one.
    samples = tf.switch_case(
        tf.cast(tf.argmax(tf.cast(known, tf.int32)), tf.int32),
        [lambda kind=kind: _samples(content, *kind) for kind in kinds],
    )
    require((tf.size(samples) > 0)[None], row[None], "inputs", "it contains no samples")
    mono = tf.reduce_mean(tf.reshape(samples, [-1, tf.where(tf.size(samples) > 0, channels, 1)]), axis=1)
    finite = tf.reduce_all(tf.math.is_finite(mono))
    require(finite[None], row[None], "inputs", "some of its samples are infinite or NaN")
    return mono, rate


def _length(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the samples per channel (int64) and the rate in the header of a WAV. `decode_sound` rejects damaged files."""
    form, _, size, fits = _find_samples(data)
    block = tf.maximum(number(form, 2, 2, False, tf.int64) * number(form, 14, 2, False, tf.int64) // 8, 1)
    return tf.where(fits, size, 0) // block, number(form, 4, 4, False, tf.int64)


def _find_samples(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the format chunk of a WAV, the begin and size in bytes of its samples, and whether the chunks fit the file."""
    length = tf.strings.length(data)
    name = lambda at: substring(data, at, 4)  # noqa: E731
    chunk_size = lambda at: number(data, at + 4, 4, False, tf.int64)  # noqa: E731

    def more(at, form, wide):
        return tf.logical_and(at + 8 <= length, name(at) != b"data")

    def step(at, form, wide):
        begin, size = at + 8, chunk_size(at)
        held = tf.cast(tf.minimum(size, tf.cast(length, tf.int64)), tf.int32)
        form = tf.cond(name(at) == b"fmt ", lambda: substring(data, begin, held), lambda: form)
        is_wide = tf.logical_and(name(at) == b"ds64", size >= 16)
        wide = tf.where(is_wide, number(data, begin + 8, 8, False, tf.int64), wide)
        end = begin + held
        # RIFF pads chunks to an even size, which some programs forget.
        padded = tf.logical_and(held % 2 == 1, tf.reduce_all(name(end) != list(sound_files.UNPADDED)))
        # For a chunk that extends beyond the file, use a position that no chunk can have.
        overlong = tf.cast(begin, tf.int64) + size > tf.cast(length, tf.int64)
        return tf.where(overlong, length + 1, end + tf.cast(padded, tf.int32)), form, wide

    unknown = tf.constant(-1, tf.int64)
    at, form, wide = tf.while_loop(
        more, step, (tf.constant(12), tf.constant(b""), unknown), maximum_iterations=sound_files.MOST_CHUNKS
    )
    fits = tf.logical_and(at + 8 <= length, name(at) == b"data")
    begin = at + 8
    present, size = tf.cast(length - begin, tf.int64), chunk_size(at)
    # RF64 has its real size in the chunk ds64, because it exceeds 32 bits.
    size = tf.where(tf.logical_and(size == 0xFFFFFFFF, wide >= 0), wide, size)
    # A program that writes to a pipe cannot know the size: the samples reach to the end of the file.
    size = tf.where(size >= sound_files.STREAMED, present, size)
    return form, begin, size, tf.reduce_all([fits, size <= present, size >= 0])


def _samples(content: tf.Tensor, code: int, bits: int) -> tf.Tensor:
    """Converts the bytes of all channels to float32, scaled like libsndfile does."""
    if code == 3:
        return tf.cast(tf.io.decode_raw(content, tf.float32 if bits == 32 else tf.float64), tf.float32)
    if code in (6, 7):
        return tf.gather(_law(code), tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32))
    if bits == 8:
        return (tf.cast(tf.io.decode_raw(content, tf.uint8), tf.float32) - 128) / 128
    if bits == 24:
        # TensorFlow has no 24-bit type. The highest bit is the sign.
        low, middle, high = tf.unstack(tf.cast(tf.reshape(tf.io.decode_raw(content, tf.uint8), [-1, 3]), tf.int32), axis=1)
        return tf.cast(low + middle * 2**8 + high * 2**16 - tf.where(high > 127, 2**24, 0), tf.float32) / 2**23
    return tf.cast(tf.io.decode_raw(content, tf.int16 if bits == 16 else tf.int32), tf.float32) / 2 ** (bits - 1)


def _law(code: int) -> np.ndarray:
    """Returns the 256 samples of A-law (6) or µ-law (7), float32 (ITU-T G.711)."""
    # G.711 transmits bits inverted: every second one in A-law, all of them in µ-law.
    byte = np.arange(256) ^ (0x55 if code == 6 else 0xFF)
    exponent, mantissa, negative = byte >> 4 & 7, byte & 15, byte & 128
    if code == 6:
        size = np.where(exponent, (mantissa * 16 + 264) << np.maximum(exponent - 1, 0), mantissa * 16 + 8)
        return (np.where(negative, size, -size) / 2**15).astype(np.float32)
    size = ((mantissa * 8 + 132) << exponent) - 132
    return (np.where(negative, -size, size) / 2**15).astype(np.float32)


def _walk(begin, goes_on: Callable, step: Callable) -> tf.Tensor:
    """Applies `step` from `begin` on while `goes_on` is true, up to a limit, and returns the final position."""
    return tf.while_loop(goes_on, lambda at: (step(at),), (tf.convert_to_tensor(begin),), maximum_iterations=_MOST_PARTS)[0]


def _byte(data: tf.Tensor, position) -> tf.Tensor:
    return number(data, position, 1, True)
