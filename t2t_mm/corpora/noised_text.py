"""Sentences with noise, from which a denoising autoencoder has to restore the clean ones."""

import random
from collections.abc import Iterator, Sequence

from t2t_mm.corpora.corpus_files import stream
from t2t_mm.corpora.example import DeclarationError, Example, Report
from t2t_mm.corpora.source import Source


class NoisedText:
    """The texts of other sources, with noise as inputs and without it as targets (Lample et al. 2018, 2.3).

    Words are dropped at random, and the others are shuffled locally. The noise of a sentence only depends on the sentence, so
    it is the same in every epoch, process and version of Python.

    Args:
      sources: sources of texts, for instance both translations from one language.
      drop: the probability with which a word is dropped. At least one word of a sentence is kept.
      distance: the largest number of places by which a word moves among the words that are kept; 0 keeps the order.
      side: which texts of the sources are used, their "inputs" or their "targets". The other side is not used.

    Raises:
      DeclarationError: there is no source, `drop` or `distance` is out of range, or there is no such side.
    """

    # The defaults are those of Lample et al.
    def __init__(self, sources: Sequence[Source], drop: float = 0.1, distance: int = 3, side: str = "inputs"):
        if not sources:
            raise DeclarationError("There is no source of sentences; the list `sources` is empty.")
        # Negated, because all comparisons with NaN are false.
        if not 0 <= drop < 1:
            raise DeclarationError(f"drop is {drop!r}; it must be at least 0 and less than 1.")
        if distance < 0:
            raise DeclarationError(f"distance is {distance!r}; it must be at least 0.")
        if side not in ("inputs", "targets"):
            raise DeclarationError(f'side is {side!r}; it must be "inputs" or "targets".')
        self.sources, self.drop, self.distance, self.side = tuple(sources), drop, distance, side

    def examples(self, split: str, report: Report) -> list[Example]:
        """Returns one example per sentence, in the order of the sources.

        Raises:
          CorpusError, TooManyBadExamples: as the sources raise them.
        """
        return list(self.stream(split, report))

    def stream(self, split: str, report: Report) -> Iterator[Example]:
        """Yields the same examples with as little memory as the sources need."""
        for source in self.sources:
            for example in stream(source, split, report):
                text = example.input_line if self.side == "inputs" else example.target_text
                yield Example(inputs=noised(text, self.drop, self.distance), targets=text, origin=example.origin)


def noised(text: str, drop: float, distance: int) -> str:
    """Returns a text with words dropped and moved; see `NoisedText`. The same text always gets the same noise."""
    words = text.split()
    if not words:
        return text
    # Seeded by the text and not by its place, so that a subset of a corpus has the same examples. Only `random()` is the same
    # in all versions of Python.
    chance = random.Random(text).random
    kept = [word for word in words if chance() >= drop] or [words[int(chance() * len(words))]]
    # Lample et al.: sort the places after adding a number of [0, k + 1) to each. A word is overtaken by at most k others, and
    # overtakes at most k others.
    places = [place + chance() * (distance + 1) for place in range(len(kept))]
    return " ".join(word for _, word in sorted(zip(places, kept), key=lambda pair: pair[0]))
