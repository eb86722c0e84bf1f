"""A part of a corpus, for learning curves over its size."""

from typing import cast

import numpy as np

from t2t_mm.corpora.example import CorpusError, Report
from t2t_mm.corpora.source import ClassSource, Examples, Source
from t2t_mm.corpora.split import InMemory, examples_of


class Subset:
    """The first `size` training examples of a random order, in the order of the corpus; dev and test whole.

    The order depends on the number of examples and `seed` alone, so that each size holds all smaller ones.

    Args:
      source: of a problem, with a list of examples.
    """

    def __init__(self, source: Source, size: int, seed: int = 0):
        if size < 1:
            raise ValueError(f"size is {size}; at least one example must be left.")
        self.source, self.size, self.seed = source, size, seed

    def class_names(self) -> list[str]:
        return cast(ClassSource, self.source).class_names()

    def examples(self, split: str, report: Report) -> Examples:
        """As the source's.

        Raises:
          CorpusError: the source's, or it holds fewer training examples than are asked for, or streams them.
        """
        found = examples_of(self.source.examples(split, report))
        if split != "train":
            return found
        if not isinstance(found, InMemory):
            raise CorpusError(f"{report.name}: a part of prepared records cannot be taken; read the corpus itself.")
        if len(found) < self.size:
            raise CorpusError(f"{report.name}: {self.size} training examples are asked for, there are {len(found)}.")
        chosen = np.random.default_rng(self.seed).permutation(len(found))[: self.size]
        return InMemory(found[index] for index in sorted(chosen))
