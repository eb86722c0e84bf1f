"""Sizes of batches: examples of like length share a bucket, whose batch size keeps a budget of positions."""

import dataclasses

from t2t_mm.input.augmentation import RandomCrop, SpecAugment
from t2t_mm.problem import Problem


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """Sizes of batches and examples.

    positions: budget of a text batch, in positions of its longer side, padding included.
    images: pictures of a batch. audio_frames: budget of a speech batch, in spectrogram frames.
    max_length: longest text, in tokens with the end token; max_frames: longest sound. Longer ones are reported and
      left out. image_size: rows and columns pictures are resized to.
    shuffle: how many examples the shuffle buffer holds.
    crop: how training pictures with class targets are changed; None leaves them. Captions say what is where in their
      pictures, so those are never changed.
    masks: what is masked in the spectrograms of training sounds; None masks nothing.
    static_shapes: pad every batch to its bucket's bounds, and the last one of an evaluation to its bucket's size (with
      rows of index −1), so that there are as many shapes as buckets: what a TPU needs, and what costs time elsewhere.
    """

    positions: int = 1024
    images: int = 32
    audio_frames: int = 8000
    max_length: int = 128
    max_frames: int = 1600
    image_size: int = 299
    shuffle: int = 20000
    crop: RandomCrop | None = None
    masks: SpecAugment | None = None
    static_shapes: bool = False


def _bounds(longest: int) -> list[int]:
    """Bucket lengths up to `longest`, each a quarter longer than the last."""
    bounds = [8]
    while bounds[-1] < longest:
        bounds.append(min(longest, max(bounds[-1] + 4, bounds[-1] * 5 // 4)))
    return bounds


def bucket_shapes(
    problem: Problem, settings: BatchSettings, replicas: int = 1, training: bool = True
) -> list[tuple[int, int]]:
    """(length bound, batch size) of each bucket, shortest first; pictures have one, bound by their size."""

    def size(budget, length):
        batch = max(budget // length, replicas)
        return batch // replicas * replicas if training else batch

    if problem.inputs == "image":
        return [(settings.image_size, max(settings.images, replicas) // replicas * replicas)]
    longest, budget = settings.max_length, settings.positions
    if problem.inputs == "audio":
        longest, budget = settings.max_frames, settings.audio_frames
    return [(bound, size(budget, bound)) for bound in _bounds(longest)]
