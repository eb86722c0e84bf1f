"""The examples of a split, in memory or streamed from records. `source.Examples` defines their interface."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from t2t_mm.corpora.example import Example
from t2t_mm.corpora.source import Examples


class InMemory(list[Example]):
    """A list of examples. Images and audio are paths, which the pipeline reads when they are needed."""

    form = "files"

    def first(self, count: int) -> "InMemory":
        return InMemory(self[:count])

    def check(self, vocabulary: str, image_size: int, sample_rate: int, words_in_trees: bool = False) -> None:
        """Does nothing, because a corpus does not depend on the settings of a run."""

    def dataset(self, training: bool, seed: int, shuffle: int) -> tf.data.Dataset:
        targets = [example.targets for example in self]
        of_classes = bool(targets) and not isinstance(targets[0], str)
        data = tf.data.Dataset.from_tensor_slices({
            "inputs": _columns([example.inputs for example in self]),
            "origin": _texts([example.origin for example in self]),
            "targets": np.array(targets, np.int32) if of_classes else _texts([str(target) for target in targets]),
            "index": np.arange(len(self)),
        })  # fmt: skip
        return data.shuffle(min(len(self), shuffle), seed=seed).repeat() if training else data


def _columns(inputs: Sequence) -> np.ndarray | tuple[np.ndarray, ...]:
    """Returns an array of the inputs of all examples, or a tuple of arrays if they have several inputs."""
    if inputs and not isinstance(inputs[0], str):
        return tuple(_texts(column) for column in zip(*inputs))
    return _texts(inputs)


def _texts(texts: Sequence[str]) -> np.ndarray:
    return np.array([text.encode() for text in texts], object)


class Streamed(Examples):
    """Base class of examples that are read from records on disk when they are needed."""

    def first(self, count: int) -> Examples:
        return First(self, count)


class First(Streamed):
    """The first examples of a stream, for evaluation only."""

    def __init__(self, examples: Examples, count: int):
        self._examples, self._count = examples, count

    @property
    def form(self) -> str:
        return self._examples.form

    def __len__(self) -> int:
        return min(len(self._examples), self._count)

    def __iter__(self) -> Iterator[Example]:
        return itertools.islice(self._examples, self._count)

    def check(self, vocabulary: str, image_size: int, sample_rate: int, words_in_trees: bool = False) -> None:
        self._examples.check(vocabulary, image_size, sample_rate, words_in_trees)

    def dataset(self, training: bool, seed: int, shuffle: int) -> tf.data.Dataset:
        """Returns the dataset of these examples, see `source.Examples.dataset`.

        Raises:
          ValueError: `training` is True.
        """
        if training:
            raise ValueError("The first examples of a stream are for evaluation; training must use all of them.")
        return self._examples.dataset(training, seed, shuffle).take(self._count)


def examples_of(found: Sequence[Example] | Examples) -> Examples:
    """Returns the result of a source as `Examples`: a plain list becomes examples in memory."""
    return InMemory(found) if isinstance(found, Sequence) else found
