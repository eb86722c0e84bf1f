"""Building the one vocabulary of a set of problems."""

import random
from collections.abc import Iterable, Sequence

from absl import logging

from t2t_mm.corpora.corpus_files import stream
from t2t_mm.corpora.example import Example, Report
from t2t_mm.input.tokenizer import train_vocabulary, tree_to_text
from t2t_mm.problem import Problem
from t2t_mm.run import progress


def build_vocabulary(problems: Sequence[Problem], path: str, size: int = 8000, most: int = 1_000_000) -> None:
    """Trains the vocabulary on the training text of `problems` and writes it to `path`.

    Tree symbols become user-defined pieces. Sentences that serve two directions count once.

    Args:
      most: examples of one problem whose text is used, a uniform sample where there are more: SentencePiece holds all
        text in memory, and more of it changes few pieces.
    """
    texts: set[str] = set()
    symbols: set[str] = set()
    for problem in progress.shown(problems, "Reading training text", len(problems)):
        examples: Iterable[Example] = stream(problem.source, "train", Report(problem.name))
        if problem.targets == "tree":  # every symbol counts, the rarest too
            examples = list(examples)
            symbols.update(tree_to_text(symbol) for example in examples for symbol in example.target_text.split())
        for example in _sample(examples, most):
            texts.update(
                part for part, modality in zip(example.input_parts, problem.modalities) if modality.name == "language"
            )
            if problem.targets == "text":
                texts.add(example.target_text)
    logging.info("Training %d pieces on %d sentences", size, len(texts))
    train_vocabulary(sorted(texts), sorted(symbols), path, size)


def _sample(values, most: int) -> list:
    """At most `most` of the values, each with the same chance (reservoir sampling); all where they are no more."""
    chance, kept = random.Random(0), []
    for number, value in enumerate(values):
        if number < most:
            kept.append(value)
        elif (place := chance.randint(0, number)) < most:
            kept[place] = value
    return kept
