"""Batch sizes. Examples of similar length share a bucket, whose batch size is limited by a budget of positions."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t2t_mm.common.errors import RunError, check_at_least
from t2t_mm.input.augmentation import RandomCrop, SpecAugment
from t2t_mm.modalities.features import Bounds
from t2t_mm.problem import Problem

if TYPE_CHECKING:
    from t2t_mm.input.features import AudioFeatures


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """Sizes of batches and examples.

    Attributes:
      positions: budget of a text batch, in positions of the longer of input and target, including padding.
      images: number of images in a batch.
      audio_frames: budget of a speech batch, in spectrogram frames.
      max_length: maximum length of a text, in tokens including the end token. Longer texts are reported and skipped.
      max_frames: maximum length of an audio clip, in frames. Longer clips are reported and skipped.
      image_size: height and width to which images are resized.
      factors: problem -> factor of its budget. A problem that learns fast can thus take less of each step, and a problem with
        a noisy gradient can see more examples (an image has one class as its target, but a caption has a dozen tokens).
      shuffle: number of examples in the shuffle buffer; 1 keeps the order of the corpus.
      crop: augmentation of training images with class targets; None disables it. Images with captions are never
        augmented, because captions describe where things are.
      masks: masks of time and frequency on training spectrograms (SpecAugment); None disables them.
      static_shapes: whether to pad every batch to the bounds of its bucket, and the last batch of an evaluation to the
        batch size of its bucket (with rows of index −1). There are then as many shapes as buckets, which TPUs need, but
        which costs time on other devices.

    Raises:
      RunError: a factor or a size is not positive.
    """

    positions: int = 1024
    images: int = 32
    audio_frames: int = 8000
    max_length: int = 128
    max_frames: int = 1600
    # The size of Xception's inputs, whose entry flow the image net is (paper, 2.5).
    image_size: int = 299
    factors: dict[str, float] | None = None
    shuffle: int = 20000
    crop: RandomCrop | None = None
    masks: SpecAugment | None = None
    static_shapes: bool = False

    def __post_init__(self):
        check_at_least(1, self, "positions", "images", "audio_frames", "max_length", "max_frames", "image_size", "shuffle")
        for name, factor in (self.factors or {}).items():
            if not factor > 0:
                raise RunError(f"BatchSettings.factors[{name!r}] is {factor!r}; it must be above 0.")

    def complete(self, audio: "AudioFeatures") -> "BatchSettings":
        """Returns the settings for evaluation, where long examples are not left out: such a set would not be comparable.

        The limits, of 4,096 tokens and eleven minutes, only bound the longest bucket.

        Args:
          audio: the features, on which the length of a frame depends.
        """
        frames = 65536 * (audio.hop if audio.bins == 1 else 1)  # a frame of a waveform is one sample
        return dataclasses.replace(self, max_length=max(self.max_length, 4096), max_frames=max(self.max_frames, frames))

    def factor(self, problem: str) -> float:
        """Returns the factor of the budget of a problem, given its name."""
        return (self.factors or {}).get(problem, 1.0)


def bounds_up_to(longest: int) -> list[int]:
    """Returns bucket lengths up to `longest`, each about a quarter longer than the one before."""
    bounds = [8]
    while bounds[-1] < longest:
        # With a growth of a quarter, an example is padded to at most 5/4 of its length. Steps of at least 4 avoid many small
        # buckets, each of which holds back an incomplete batch.
        bounds.append(min(longest, max(bounds[-1] + 4, bounds[-1] * 5 // 4)))
    return bounds


def bucket_shapes(problem: Problem, settings: BatchSettings, replicas: int = 1, training: bool = True) -> list[tuple[int, int]]:
    """Returns (length bound, batch size) for each bucket, shortest first. `Measure` defines the length.

    If no input is padded, there is a single bucket; for images, its bound is their size. Batch sizes for training are
    multiples of the number of replicas.
    """

    factor = settings.factor(problem.name)

    def size(budget, length):
        batch = int(budget * factor) // length
        # At least one example per replica, even if a single long one exceeds its share of the budget.
        batch = max(batch if most is None else min(batch, most), replicas)
        return batch // replicas * replicas if training else batch

    measure = Measure(problem, settings)
    most = None if measure.most is None else round(measure.most * factor)
    if not measure.budget:
        assert most is not None, "a modality has either a budget or a number of examples"
        return [(measure.longest, max(most, replicas) // replicas * replicas)]
    return [(bound, size(measure.budget, bound)) for bound in bounds_up_to(measure.longest)]


def unit(problem: Problem, settings: BatchSettings) -> str:
    """Returns the unit of the length of a bucket, for messages."""
    return Measure(problem, settings).unit


class Measure:
    """Measures the length of the examples of a problem, whose inputs may have different budgets.

    A length is given in positions of the input with the largest budget. The positions of another input are scaled by the
    ratio of the budgets. Therefore the input that needs the largest fraction of its budget determines the length.

    Attributes:
      budget: maximum number of positions of a batch; 0 if no input has a budget.
      longest: maximum length of an example.
      most: maximum number of examples of a batch; None if only the budgets limit it.
      unit: the unit of a length, for messages.
      with_target: whether a target text is measured too, with the budget of text inputs.
    """

    def __init__(self, problem: Problem, settings: BatchSettings):
        self.bounds = [of.bounds(settings) for of in problem.features]
        limited = [one for one in self.bounds if one.budget]
        # Scaling to the largest budget multiplies by a ratio of at least 1, so that different lengths stay different.
        decides = max(limited, key=lambda one: one.budget or 0, default=self.bounds[0])
        self.budget, self.unit = decides.budget or 0, decides.unit
        # The strictest of the inputs: an image and a question together are limited by the image.
        self.most = min((one.count for one in self.bounds if one.count is not None), default=None)
        texts = [one for one in limited if one.is_text]
        self.with_target = bool(texts) and problem.targets != "class"
        self._of_target = texts[0] if self.with_target else None
        self.longest = max((self.scaled(one.longest, one) for one in limited), default=self.bounds[0].longest)

    def scaled(self, positions: Any, bounds: Bounds) -> Any:
        """Converts positions of an input (a number or a tensor) to a length."""
        whole, own = self._ratio(bounds)
        # Rounded up, and `unscaled` down, so that an example always fits the bound of its bucket. In integers, because the
        # same formula runs on tensors.
        return (positions * whole + own - 1) // own

    def unscaled(self, length: Any, bounds: Bounds) -> Any:
        """Returns the maximum number of positions of an input in examples of a length (a number or a tensor)."""
        whole, own = self._ratio(bounds)
        return length * own // whole

    def _ratio(self, bounds):
        """Returns the ratio of the largest budget to that of an input, in lowest terms, so that products fit into 32 bits."""
        divisor = math.gcd(self.budget, bounds.budget)
        return self.budget // divisor, bounds.budget // divisor

    def lengths(self, inputs: Sequence, target: Any) -> list:
        """Returns the lengths of the measured inputs and target. The maximum is the length of the example.

        Args:
          inputs: number of positions of each input.
          target: number of positions of the target text.
        """
        found = [self.scaled(one, bounds) for one, bounds in zip(inputs, self.bounds) if bounds.budget]
        return [*found, self.scaled(target, self._of_target)] if self._of_target else found
