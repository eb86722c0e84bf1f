"""Trivial answers that need no model, as baselines for all metrics."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from t2t_mm.corpora.example import Example
from t2t_mm.corpora.source import Examples
from t2t_mm.metrics.parsing import PUNCTUATION
from t2t_mm.problem import Problem


def baseline(problem: Problem, train: Sequence[Example] | Examples, examples: Sequence[Example] | Examples) -> tuple[list, str]:
    """Returns the trivial answer to each example, and a description of it.

    Classes are ranked by their frequency in the training set. The parse tree of a text is right-branching. If input and
    target are texts, the answer is a copy of the input. All other answers are the most frequent target of the training
    set.
    """
    if problem.targets == "class":
        # The test set may contain classes that the training set lacks, whose score is then 0.
        classes = 1 + max(example.target_class for example in [*train, *examples])
        scores = np.bincount([example.target_class for example in train], minlength=classes).astype(float)
        return [scores] * len(examples), "majority class"
    if problem.targets == "tree" and problem.modality == "language":
        # The tags are guessed from the training set, because a parser gets words alone.
        tags = _frequent_tags(train)
        return [right_branching(example.input_line.split(), tags) for example in examples], "right-branching tree"
    if problem.modality == "language" and problem.targets == "text":
        return [example.input_line for example in examples], "copy of the source"
    answer, _ = Counter(example.targets for example in train).most_common(1)[0]
    return [answer] * len(examples), "most frequent target"


def _frequent_tags(train: Sequence[Example] | Examples) -> dict[str, str]:
    """Returns word -> its most frequent tag. A word that is not in the training set is tagged as a noun."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for example in train:
        tags = [symbol for symbol in example.target_text.split() if symbol[0] not in "()"]
        for word, tag in zip(example.input_line.split(), tags):
            counts[word][tag] += 1
    return defaultdict(lambda: "NN", {word: found.most_common(1)[0][0] for word, found in counts.items()})


def right_branching(words: Sequence[str], tags: dict[str, str]) -> str:
    """Returns a linearised right-branching tree.

    Every word is the sister of a VP that contains everything after it. The root is S, and final punctuation is attached
    to the root.
    """
    if not words:
        return "(S )S"
    final = [tags[words[-1]]] if tags[words[-1]] in PUNCTUATION else []
    body = [tags[word] for word in words[: len(words) - len(final)]]
    symbols = ["(S"]
    for index, tag in enumerate(body):
        # The first word is a child of the root, and the last two share the innermost VP.
        symbols += ["(VP", tag] if 0 < index < len(body) - 1 else [tag]
    symbols += [")VP"] * max(len(body) - 2, 0)
    return " ".join([*symbols, *final, ")S"])
