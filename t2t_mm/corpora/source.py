"""What a problem reads its examples from, whether they fit into memory or not.

These are the types alone; `split` has what implements them. A source of one's own needs nothing of this module: a class
with a method `examples` that returns a list is one.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from t2t_mm.corpora.example import Example, Report

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and declarations of problems do without it
    import tensorflow as tf


class Examples(Protocol):
    """The examples of a split, in memory or streamed.

    Iterating over them gives each as its corpus has it; `dataset` gives what training and evaluation read.
    """

    @property
    def form(self) -> str:
        """What the inputs in `dataset` are, besides text and token ids.

        "files": paths of pictures and sounds. "encoded": the bytes of pictures, the samples of sounds. "prepared": PNGs of
        the size that the model takes, samples at its rate.
        """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Example]: ...

    def first(self, count: int) -> "Examples":
        """The first `count` of them, or all where they are fewer."""

    def check(self, vocabulary: str, image_size: int, sample_rate: int) -> None:
        """Raises CorpusError if they were made for other settings than those of this run."""

    def dataset(self, training: bool, seed: int, shuffle: int) -> "tf.data.Dataset":
        """{"inputs", "targets", "index", "origin"} of each example; several inputs are a tuple.

        In training they are shuffled by `seed`, through a buffer of at most `shuffle` examples, and repeated without end;
        else "index" is the position of the example.
        """


class Source(Protocol):
    """Where the examples of a problem come from. Where its targets are classes it is a `ClassSource`."""

    def examples(self, split: str, report: Report) -> Sequence[Example] | Examples:
        """The examples of "train", "dev" or "test"; those that cannot be used go to `report`.

        Raises:
          CorpusError: the corpus, or this split of it, is not there or cannot be read.
        """


class NoExamples:
    """The source of a problem whose batches are made up, as benchmarks do."""

    def examples(self, split: str, report: Report) -> Sequence[Example]:
        return []


class ClassSource(Source, Protocol):
    """A source whose targets are classes."""

    def class_names(self) -> list[str]:
        """The names of the classes in the order of their indices."""


@runtime_checkable
class LineSource(Source, Protocol):
    """A source that can also go through its examples in the memory of a few of them."""

    def stream(self, split: str, report: Report) -> Iterator[Example]:
        """`examples`, one after the other."""
