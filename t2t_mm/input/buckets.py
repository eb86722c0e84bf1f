"""Batch sizes. Examples of similar length share a bucket, whose batch size is limited by a budget of positions."""

import dataclasses

from t2t_mm.input.augmentation import RandomCrop, SpecAugment
from t2t_mm.problem import Problem
from t2t_mm.run.errors import RunError


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
      factors: problem -> what its budget is multiplied with, so that a problem that learns fast costs less of each step, and
        one whose gradient is noisy (a class is one target for an image, a caption is a dozen) sees more.
      shuffle: number of examples in the shuffle buffer.
      crop: augmentation of training images with class targets; None disables it. Images with captions are never
        augmented, because captions describe where things are.
      masks: masks of time and frequency on training spectrograms (SpecAugment); None disables them.
      static_shapes: whether to pad every batch to the bounds of its bucket, and the last batch of an evaluation to the
        batch size of its bucket (with rows of index −1). There are then as many shapes as buckets, which TPUs need, but
        which costs time on other devices.

    Raises:
      RunError: a factor is not positive.
    """

    positions: int = 1024
    images: int = 32
    audio_frames: int = 8000
    max_length: int = 128
    max_frames: int = 1600
    image_size: int = 299
    factors: dict[str, float] | None = None
    shuffle: int = 20000
    crop: RandomCrop | None = None
    masks: SpecAugment | None = None
    static_shapes: bool = False

    def __post_init__(self):
        for name, factor in (self.factors or {}).items():
            if not factor > 0:
                raise RunError(f"BatchSettings.factors[{name!r}] is {factor!r}; it must be above 0.")

    def factor(self, problem: str) -> float:
        """What the budget of a problem, given by its name, is multiplied with."""
        return (self.factors or {}).get(problem, 1.0)


def _bounds(longest: int) -> list[int]:
    """Returns bucket lengths up to `longest`, each about a quarter longer than the one before."""
    bounds = [8]
    while bounds[-1] < longest:
        bounds.append(min(longest, max(bounds[-1] + 4, bounds[-1] * 5 // 4)))
    return bounds


def bucket_shapes(
    problem: Problem, settings: BatchSettings, replicas: int = 1, training: bool = True
) -> list[tuple[int, int]]:
    """Returns (length bound, batch size) for each bucket, shortest first.

    Images have one bucket, whose bound is their size. Batch sizes for training are multiples of the number of replicas.
    """

    factor = settings.factor(problem.name)

    def size(budget, length):
        batch = max(int(budget * factor) // length, replicas)
        return batch // replicas * replicas if training else batch

    if problem.inputs == "image":
        images = round(settings.images * factor)
        return [(settings.image_size, max(images, replicas) // replicas * replicas)]
    longest, budget = settings.max_length, settings.positions
    if problem.inputs == "audio":
        longest, budget = settings.max_frames, settings.audio_frames
    return [(bound, size(budget, bound)) for bound in _bounds(longest)]
