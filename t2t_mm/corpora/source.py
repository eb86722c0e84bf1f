"""The interfaces of the sources of examples, which may fit into memory or not.

This module only defines the types; `split` implements them. A custom source does not need this module: any class with a
method `examples` that returns a list is a source.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from t2t_mm.corpora.example import Example, Report

if TYPE_CHECKING:  # not at run time, because importing TensorFlow takes seconds and declarations do not need it
    import tensorflow as tf


class Examples(Protocol):
    """The examples of a split, in memory or streamed.

    Iteration yields the original examples of the corpus; `dataset` returns the form for training and evaluation.
    """

    @property
    def form(self) -> str:
        """The form of images and audio in `dataset`.

        "files": paths. "encoded": the bytes of images and the samples of audio. "prepared": PNGs with the image size of the
        model, and samples at its sample rate.
        """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Example]: ...

    def first(self, count: int) -> "Examples":
        """Returns the first `count` examples, or all if there are fewer."""

    def check(self, vocabulary: str, image_size: int, sample_rate: int, words_in_trees: bool = False) -> None:
        """Checks that the examples were made for the settings of this run.

        Raises:
          CorpusError: they were made for other settings.
        """

    def dataset(self, training: bool, seed: int, shuffle: int) -> "tf.data.Dataset":
        """Returns a dataset with {"inputs", "targets", "index", "origin"} of each example; several inputs are a tuple.

        In training, the examples are shuffled by `seed`, with a buffer of at most `shuffle` examples, and repeated endlessly.
        Otherwise, "index" is the position of the example.
        """


class Source(Protocol):
    """The source of the examples of a problem. If the targets are classes, it must be a `ClassSource`."""

    def examples(self, split: str, report: Report) -> Sequence[Example] | Examples:
        """Returns the examples of "train", "dev" or "test". Unusable examples are passed to `report`.

        Raises:
          CorpusError: the corpus or this split is missing or cannot be read.
        """


class NoExamples:
    """The source of a problem with artificial batches, for benchmarks."""

    def examples(self, split: str, report: Report) -> Sequence[Example]:
        return []


class ClassSource(Source, Protocol):
    """A source whose targets are classes."""

    def class_names(self) -> list[str]:
        """Returns the names of the classes in the order of their indices."""


@runtime_checkable
class LineSource(Source, Protocol):
    """A source that can also yield its examples with a small amount of memory."""

    def stream(self, split: str, report: Report) -> Iterator[Example]:
        """Yields the same examples as `examples`."""
