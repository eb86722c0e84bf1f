"""How the inputs of examples become arrays, for the three known modalities and for custom ones.

TensorFlow is only imported by functions that make a graph, because a model and the sizes of batches do not need it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from t2t_mm.corpora import pictures, sounds
from t2t_mm.corpora.example import CorpusError, MediaError, Report

if TYPE_CHECKING:
    import tensorflow as tf

    from t2t_mm.input.buckets import BatchSettings
    from t2t_mm.input.features import AudioFeatures
    from t2t_mm.input.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The limits of the examples and batches of a modality.

    Attributes:
      longest: maximum number of positions of an example, along its first axis.
      budget: maximum number of positions of a batch, including padding; None if only the number of examples is limited.
      count: maximum number of examples of a batch; None if only the positions are limited.
      unit: the name of the positions in messages.
      is_text: whether the budget also applies to target texts.
    """

    longest: int
    budget: int | None = None
    count: int | None = None
    unit: str = "positions"
    is_text: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """The settings for reading the examples of one problem and split.

    Attributes:
      tokenizer: the tokenizer of the run.
      audio: the settings of spectrograms.
      batches: the settings of batches.
      form: the form of the inputs, see `corpora.source.Examples.form`.
      report: where unusable examples are reported.
      training: whether the examples may be augmented.
      is_class: whether the target is a class.
      alone: whether the problem has only one input. If there is a question about an image, a crop may lose the answer.
    """

    tokenizer: Tokenizer
    audio: AudioFeatures
    batches: BatchSettings
    form: str
    report: Report
    training: bool
    is_class: bool
    alone: bool


Reader = Callable[..., tuple[Any, Any]]


class Features:
    """Base class: how the inputs of a modality become arrays."""

    def bounds(self, batches: BatchSettings) -> Bounds:
        """Returns the limits of examples and batches."""
        raise NotImplementedError

    def is_random(self, reading: Reading) -> bool:
        """Returns whether the reader augments examples and therefore needs a seed for each."""
        return False

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        """Returns the function that reads an example.

        The function takes three tensors, the input of the example, its origin and its seed [2], and returns its array and
        whether it is usable.

        Args:
          shape: the shape of the modality.
        """
        raise NotImplementedError


class Texts(Features):
    """Text as token ids [L]."""

    def bounds(self, batches: BatchSettings) -> Bounds:
        return Bounds(batches.max_length, batches.positions, unit="length", is_text=True)

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        import tensorflow as tf

        def text(value, origin, seed):
            # The type is known while tracing: strings come from a corpus, and integers are the ids of prepared records.
            return reading.tokenizer.tokenize(value) if value.dtype == tf.string else value, tf.constant(True)

        return text


class Pictures(Features):
    """Images as standardised pixels [H, W, 3]. In training, images of classes are cropped if the settings say so."""

    def bounds(self, batches: BatchSettings) -> Bounds:
        # All images have one size, so a batch is limited by their number and not by positions.
        return Bounds(batches.image_size, count=batches.images, unit="pixels a side")

    def is_random(self, reading: Reading) -> bool:
        return self._crop(reading) is not None

    def _crop(self, reading):
        # Only classes survive a crop: a caption or an answer may be about what it cuts off.
        return reading.batches.crop if reading.training and reading.is_class and reading.alone else None

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        import tensorflow as tf

        from t2t_mm.input.features import standardise_image

        crop, size = self._crop(reading), reading.batches.image_size
        # What an unreadable image becomes until it is filtered out; it only has to have the right shape.
        nothing = np.zeros([size, size, 3])

        def pixels(value, origin, size):
            # "encoded" records contain the bytes of files, and "files" contain their paths.
            if reading.form == "encoded":
                return pictures.decode_image(value, origin, size)
            return pictures.load_image(value.decode(), size)

        def image(value, origin, seed):
            if reading.form == "prepared":
                x, usable = tf.io.decode_png(value, channels=3), tf.constant(True)
            elif crop:
                # In its own size: the crop selects a part of the whole image, and is resized only afterwards.
                read = lambda value, origin: pixels(value, origin, None)  # noqa: E731
                x, usable = guarded(read, tf.uint8, nothing, value, origin, reading.report)
            else:
                read = lambda value, origin: standardise_image(pixels(value, origin, size))  # noqa: E731
                x, usable = guarded(read, tf.float32, nothing, value, origin, reading.report)
                # The function runs outside the graph, so TensorFlow does not know the shape of its result. Batches need it.
                return tf.ensure_shape(x, [size, size, 3]), usable
            if crop:
                x = crop(x, size, seed)
            # The same formula as standardise_image.
            return tf.image.per_image_standardization(tf.ensure_shape(x, [size, size, 3])), usable

        return image


class Sounds(Features):
    """Audio as spectrograms [frames, bins]. In training, they are masked if the settings say so."""

    def bounds(self, batches: BatchSettings) -> Bounds:
        return Bounds(batches.max_frames, batches.audio_frames, unit="frames")

    def is_random(self, reading: Reading) -> bool:
        return reading.training and reading.batches.masks is not None

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        import tensorflow as tf

        # Evaluation must not be random.
        audio, masks = reading.audio, reading.batches.masks if reading.training else None

        def sound(value, origin, seed):
            # Samples from records are 16-bit integers, and are scaled to the range from −1 to 1 as in a file.
            if reading.form != "files":
                samples, usable = tf.cast(value, tf.float32) / 2**15, tf.constant(True)
            else:
                read = lambda path, _: sounds.load_audio(path.decode(), audio.sample_rate)  # noqa: E731
                samples, usable = guarded(read, tf.float32, np.zeros([8]), value, origin, reading.report)
            # In the graph, not by the reader, so that exports compute spectrograms with the same code.
            spectrogram = audio(tf.ensure_shape(samples, [None]))
            return masks(spectrogram, seed) if masks else spectrogram, usable

        return sound


@dataclasses.dataclass(frozen=True)
class Arrays(Features):
    """Arrays for a custom modality, which a function reads.

    Attributes:
      read: a function of the input of an example (a text or the path of a file) that returns an array with the shape of
        the modality, which is converted to float32. If it raises a `MediaError`, an OSError or a ValueError, the example is
        reported and left out.
      longest: maximum number of positions of an example; longer examples are left out.
      budget: maximum number of positions of a batch, including padding.

    Raises:
      ValueError: `longest` or `budget` is not an integer of at least 1.
    """

    read: Callable[[str], np.ndarray]
    longest: int = 1024
    budget: int = 8192

    def __post_init__(self):
        for name, value in (("longest", self.longest), ("budget", self.budget)):
            if value < 1:
                raise ValueError(f"Arrays: {name} is {value}; it must be at least 1.")

    def bounds(self, batches: BatchSettings) -> Bounds:
        return Bounds(self.longest, self.budget)

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        import tensorflow as tf

        if reading.form != "files":
            raise CorpusError(f"{reading.report.name}: only text, images and audio are read from {reading.form} records.")

        def read(value, origin):
            try:
                found = np.asarray(self.read(value.decode()), np.float32)
            except (OSError, ValueError) as error:
                # These two are what bad data cause in a reading function. Other errors are faults of the function itself,
                # and end the run.
                raise MediaError(f"{value.decode()}: {error}") from error
            fits = len(found.shape) == len(shape) and all(b in (None, a) for a, b in zip(found.shape, shape))
            if not fits:
                raise MediaError(f"{value.decode()}: an array of shape {list(found.shape)}; it must be {list(shape)}.")
            return found

        nothing = np.zeros([8 if size is None else size for size in shape])

        def array(value, origin, seed):
            x, usable = guarded(read, tf.float32, nothing, value, origin, reading.report)
            return tf.ensure_shape(x, shape), usable

        return array


def guarded(
    read: Callable[[bytes, str], np.ndarray], kind: tf.DType, nothing: np.ndarray, value: tf.Tensor, origin: tf.Tensor,
    report: Report,
) -> tuple[tf.Tensor, tf.Tensor]:  # fmt: skip
    """Calls `read` with a value, outside the graph.

    Args:
      read: a function of the value and the origin that returns an array.
      kind: the dtype of the result.
      nothing: the array to return if `read` raises a MediaError.
      value: the input of an example.
      origin: the origin of the example, a string.
      report: where a MediaError is reported.

    Returns:
      The array and True; or, after a MediaError, `nothing` and False.
    """
    import tensorflow as tf

    # Decoding is Python code (Pillow, soundfile), which a graph can only call. Exceptions must not leave it: TensorFlow would
    # turn them into an error of a kernel and lose their type.
    def call(value, origin):
        try:
            return read(value, origin.decode()), np.bool_(True)
        except MediaError as error:
            report.skip(origin.decode(), str(error))
            return nothing.astype(kind.as_numpy_dtype), np.bool_(False)

    return tf.numpy_function(call, [value, origin], (kind, tf.bool))
