"""Builds the vocabulary that a set of problems shares."""

import random
from collections.abc import Iterable, Sequence

from absl import logging

from t2t_mm.common import progress
from t2t_mm.corpora.corpus_files import stream
from t2t_mm.corpora.example import Example, Report
from t2t_mm.input.tokenizer import train_vocabulary, tree_to_text
from t2t_mm.problem import Problem


def build_vocabulary(
    problems: Sequence[Problem], path: str, size: int = 8000, most: int = 1_000_000, max_bad_examples: int = 100
) -> None:
    """Trains the vocabulary on the training text of `problems` and writes it to `path`.

    Tree symbols become user-defined pieces. Sentences that are used in both translation directions count once.

    Args:
      problems: the problems.
      path: the model file.
      size: number of pieces, see `train_vocabulary`.
      most: maximum number of examples of a problem. If there are more, a uniform sample is used, because SentencePiece keeps
        all text in memory, and more text changes few pieces.

      max_bad_examples: maximum number of unusable examples of a problem.

    Raises:
      CorpusError: a corpus is missing or has more unusable examples, or the texts do not allow a vocabulary of this size.
    """
    texts: set[str] = set()
    symbols: set[str] = set()
    for problem in progress.shown(problems, "Reading training text", len(problems)):
        examples: Iterable[Example] = stream(problem.source, "train", Report(problem.name, max_bad_examples))
        if problem.targets == "tree":  # all examples, because even the rarest symbol is needed
            examples = list(examples)
            symbols.update(tree_to_text(symbol) for example in examples for symbol in example.target_text.split())
        for example in _sample(examples, most):
            texts.update(part for part, modality in zip(example.input_parts, problem.modalities) if modality.name == "language")
            if problem.targets == "text":
                texts.add(example.target_text)
    logging.info("Training %d pieces on %d sentences", size, len(texts))
    # Sorted, because the order of a set differs between processes and would change the vocabulary.
    train_vocabulary(sorted(texts), sorted(symbols), path, size)


def _sample(values, most: int) -> list:
    """Returns a uniform sample of at most `most` values (reservoir sampling)."""
    # The values come from a stream whose length is unknown, and must not all be in memory (Vitter 1985, algorithm R).
    chance, kept = random.Random(0), []
    for number, value in enumerate(values):
        if number < most:
            kept.append(value)
        elif (place := chance.randint(0, number)) < most:
            kept[place] = value
    return kept
