"""How the inputs of examples become arrays: those of the three modalities, and of one's own.

TensorFlow is imported where a graph is made, because a model and the sizes of batches do without it.
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
    """What bounds the examples and the batches of a modality.

    Attributes:
      longest: most positions of an example, along its first axis.
      budget: positions of a batch, padding included; None where the number of examples alone counts.
      count: most examples of a batch; None where the budget alone counts.
      unit: what the positions are called.
      is_text: whether target texts are measured by the same budget.
    """

    longest: int
    budget: int | None = None
    count: int | None = None
    unit: str = "positions"
    is_text: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """With what the examples of one problem and split are read.

    Attributes:
      form: of the inputs, see `corpora.source.Examples.form`.
      training: whether they may be augmented.
      is_class: whether the target is a class.
      alone: whether the problem has no other input. Where a second one asks about the first, a crop may lose the answer.
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
    """How the inputs of a modality become arrays; the base of all."""

    def bounds(self, batches: BatchSettings) -> Bounds:
        """What bounds examples and batches."""
        raise NotImplementedError

    def is_random(self, reading: Reading) -> bool:
        """Whether the reader augments, and so needs a seed for each example."""
        return False

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        """A function of an example's input, its origin and its seed [2], tensors all -> its array, whether it is usable.

        Args:
          shape: the modality's.
        """
        raise NotImplementedError


class Texts(Features):
    """Token ids of text."""

    def bounds(self, batches: BatchSettings) -> Bounds:
        return Bounds(batches.max_length, batches.positions, unit="length", is_text=True)

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        import tensorflow as tf

        def text(value, origin, seed):
            return reading.tokenizer.tokenize(value) if value.dtype == tf.string else value, tf.constant(True)

        return text


class Pictures(Features):
    """Standardised pixels of pictures; those of classes are cropped in training where the settings say so."""

    def bounds(self, batches: BatchSettings) -> Bounds:
        return Bounds(batches.image_size, count=batches.images, unit="pixels a side")

    def is_random(self, reading: Reading) -> bool:
        return self._crop(reading) is not None

    def _crop(self, reading):
        return reading.batches.crop if reading.training and reading.is_class and reading.alone else None

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        import tensorflow as tf

        from t2t_mm.input.features import standardise_image

        crop, size = self._crop(reading), reading.batches.image_size
        nothing = np.zeros([size, size, 3])

        def pixels(value, origin, size):
            if reading.form == "encoded":
                return pictures.decode_image(value, origin, size)
            return pictures.load_image(value.decode(), size)

        def image(value, origin, seed):
            if reading.form == "prepared":
                x, usable = tf.io.decode_png(value, channels=3), tf.constant(True)
            elif crop:
                read = lambda value, origin: pixels(value, origin, None)  # noqa: E731
                x, usable = guarded(read, tf.uint8, nothing, value, origin, reading.report)
            else:
                read = lambda value, origin: standardise_image(pixels(value, origin, size))  # noqa: E731
                x, usable = guarded(read, tf.float32, nothing, value, origin, reading.report)
                return tf.ensure_shape(x, [size, size, 3]), usable
            if crop:
                x = crop(x, size, seed)
            # The same formula as standardise_image.
            return tf.image.per_image_standardization(tf.ensure_shape(x, [size, size, 3])), usable

        return image


class Sounds(Features):
    """Spectrograms of sounds; in training they are masked where the settings say so."""

    def bounds(self, batches: BatchSettings) -> Bounds:
        return Bounds(batches.max_frames, batches.audio_frames, unit="frames")

    def is_random(self, reading: Reading) -> bool:
        return reading.training and reading.batches.masks is not None

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        import tensorflow as tf

        audio, masks = reading.audio, reading.batches.masks if reading.training else None

        def sound(value, origin, seed):
            if reading.form != "files":
                samples, usable = tf.cast(value, tf.float32) / 2**15, tf.constant(True)
            else:
                read = lambda path, _: sounds.load_audio(path.decode(), audio.sample_rate)  # noqa: E731
                samples, usable = guarded(read, tf.float32, np.zeros([8]), value, origin, reading.report)
            spectrogram = audio(tf.ensure_shape(samples, [None]))
            return masks(spectrogram, seed) if masks else spectrogram, usable

        return sound


@dataclasses.dataclass(frozen=True)
class Arrays(Features):
    """Arrays that a function reads, for a modality of one's own.

    Attributes:
      read: a function of an example's input (a text, or the path of a file) that returns its array, as float32 of the
        modality's shape. What it cannot read it refuses with a `MediaError`, an OSError or a ValueError; the example is
        then reported and left out.
      longest: most positions of an example; longer ones are left out.
      budget: positions of a batch, padding included.
    """

    read: Callable[[str], np.ndarray]
    longest: int = 1024
    budget: int = 8192

    def bounds(self, batches: BatchSettings) -> Bounds:
        return Bounds(self.longest, self.budget)

    def reader(self, reading: Reading, shape: tuple[int | None, ...]) -> Reader:
        import tensorflow as tf

        if reading.form != "files":
            raise CorpusError(f"{reading.report.name}: only text, pictures and sounds are read from {reading.form} records.")

        def read(value, origin):
            try:
                found = np.asarray(self.read(value.decode()), np.float32)
            except (OSError, ValueError) as error:
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
    """What `read` makes of a value outside the graph, and True; where it raises a MediaError, `nothing`, False and a note
    in the report.

    Args:
      kind: the dtype of the result. origin: the example's, a string.
    """
    import tensorflow as tf

    def call(value, origin):
        try:
            return read(value, origin.decode()), np.bool_(True)
        except MediaError as error:
            report.skip(origin.decode(), str(error))
            return nothing.astype(kind.as_numpy_dtype), np.bool_(False)

    return tf.numpy_function(call, [value, origin], (kind, tf.bool))
