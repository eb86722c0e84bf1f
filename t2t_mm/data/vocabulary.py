"""Building the one vocabulary of a set of problems."""

from collections.abc import Sequence

from t2t_mm.data.example import Report
from t2t_mm.data.tokenizer import train_vocabulary, tree_to_text
from t2t_mm.problems.problem import Problem


def build_vocabulary(problems: Sequence[Problem], path: str, size: int = 8000) -> None:
    """Trains the vocabulary on all training text of `problems` and writes it to `path`.

    Tree symbols become user-defined pieces. Sentences that serve two directions count once.
    """
    texts, symbols = set(), set()
    for problem in problems:
        for example in problem.source.examples("train", Report(problem.name)):
            if problem.inputs == "language":
                texts.add(example.inputs)
            if problem.targets == "text":
                texts.add(example.targets)
            elif problem.targets == "tree":
                symbols.update(tree_to_text(symbol) for symbol in example.targets.split())
    train_vocabulary(sorted(texts), sorted(symbols), path, size)
