"""A subset of a corpus, for learning curves over its size."""

from typing import cast

import numpy as np

from t2t_mm.corpora.example import CorpusError, Report
from t2t_mm.corpora.source import ClassSource, Examples, Source
from t2t_mm.corpora.split import InMemory, examples_of


class Subset:
    """A random subset of `size` training examples, in the order of the corpus. The dev and test sets are complete.

    The subset only depends on the number of examples and `seed`, and a larger subset contains all smaller ones.

    Args:
      source: the source of a problem, whose examples are a list.
      size: number of training examples.
      seed: the seed of the choice.

    Raises:
      ValueError: `size` is less than 1.
    """

    def __init__(self, source: Source, size: int, seed: int = 0):
        if size < 1:
            raise ValueError(f"size is {size}; at least one example must be left.")
        self.source, self.size, self.seed = source, size, seed

    def class_names(self) -> list[str]:
        return cast(ClassSource, self.source).class_names()

    def examples(self, split: str, report: Report) -> Examples:
        """Returns the examples of a split.

        Raises:
          CorpusError: the source raises it, has fewer training examples than `size`, or streams its examples.
        """
        found = examples_of(self.source.examples(split, report))
        if split != "train":
            return found
        if not isinstance(found, InMemory):
            raise CorpusError(f"{report.name}: prepared records do not support subsets; use the corpus itself.")
        if len(found) < self.size:
            raise CorpusError(f"{report.name}: {self.size} training examples are requested, but there are only {len(found)}.")
        chosen = np.random.default_rng(self.seed).permutation(len(found))[: self.size]
        return InMemory(found[index] for index in sorted(chosen))
