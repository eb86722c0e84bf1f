"""Answers of a trained model for people, and as objects for programs."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from t2t_mm.corpora.treebank import delinearise, to_brackets, to_indented
from t2t_mm.inference.predictor import Hypothesis
from t2t_mm.problem import Problem

RANKED = 5  # classes that are named


def one_shown(problem: Problem, text: str, answer: str) -> str:
    """A text on one line; a tree on one line and, below it, indented."""
    if problem.targets != "tree":
        return _on_one_line(answer)
    tree, repaired = delinearise(answer.split(), text.split())
    return f"{to_brackets(tree)}{'  (repaired)' if repaired else ''}\n{to_indented(tree)}"


def several_shown(problem: Problem, text: str, answers: Sequence[Hypothesis], count: int) -> str:
    """`count` lines, each with the score of an answer, a tab and the answer; blank lines where there are fewer answers."""
    lines = []
    for one in answers:
        shown = one_shown(problem, text, one.answer).split("\n")[0]
        lines.append(f"{one.score:.4f}\t{shown}")
    return "\n".join(lines + [""] * (count - len(lines)))


def classes_shown(log_probs: np.ndarray, class_names: Sequence[str]) -> str:
    """The likeliest classes, a line each with their probability."""
    return "\n".join(
        f"{class_names[index]}\t{100 * math.exp(log_probs[index]):.1f}%" for index in _likeliest(log_probs)
    )


def objects(problem: Problem, text: str, answers: Sequence[Hypothesis]) -> list[dict[str, Any]]:
    """Each answer as an object that JSON can hold.

    "answer" is the text, or the tree of the words; "score" what the search ranks by, "log_prob" the sum over the "tokens",
    which have "piece" and "log_prob" each (nats). A tree has its symbols as they came, "linearised", and whether they
    had to be "repaired".
    """
    found = []
    for one in answers:
        tokens = [{"piece": piece, "log_prob": value} for piece, value in zip(one.pieces, one.log_probs, strict=True)]
        line: dict[str, Any] = {"answer": one.answer}
        if problem.targets == "tree":
            tree, repaired = delinearise(one.answer.split(), text.split())
            line = {"answer": to_brackets(tree), "linearised": one.answer, "repaired": repaired}
        found.append(line | {"score": one.score, "log_prob": math.fsum(one.log_probs), "tokens": tokens})
    return found


def class_objects(log_probs: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The likeliest classes, each {"answer": name, "log_prob": nats}."""
    return [{"answer": class_names[index], "log_prob": float(log_probs[index])} for index in _likeliest(log_probs)]


def _likeliest(log_probs) -> list[int]:
    return sorted(range(len(log_probs)), key=lambda index: -log_probs[index])[:RANKED]


def _on_one_line(answer: str) -> str:
    return " ".join(re.split(r"[\r\n]+", answer))  # bytes of a line's end can be drawn like all others
