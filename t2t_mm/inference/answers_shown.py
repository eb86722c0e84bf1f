"""Formats the answers of a trained model as text for people and as objects for programs."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from t2t_mm.corpora.treebank import Tree, delinearise, tags_of, to_brackets, to_indented
from t2t_mm.inference.predictor import Hypothesis
from t2t_mm.problem import Problem

RANKED = 5  # number of classes to show


def one_shown(problem: Problem, text: str, answer: str) -> str:
    """Returns a text as one line, or a tree as one line followed by its indented form.

    Args:
      text: the words of the tree, if the input is a text. Otherwise, the tags take their places.
    """
    if problem.targets != "tree":
        return _on_one_line(answer)
    tree, repaired = _tree(problem, text, answer)
    return f"{to_brackets(tree)}{'  (repaired)' if repaired else ''}\n{to_indented(tree)}"


def several_shown(problem: Problem, text: str, answers: Sequence[Hypothesis], count: int) -> str:
    """Returns `count` lines, each with the score of an answer, a tab and the answer; missing answers are blank lines."""
    lines = []
    for one in answers:
        shown = one_shown(problem, text, one.answer).split("\n")[0]
        lines.append(f"{one.score:.4f}\t{shown}")
    return "\n".join(lines + [""] * (count - len(lines)))


def classes_shown(log_probs: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns the most likely classes, one per line, with their probabilities."""
    return "\n".join(f"{class_names[index]}\t{100 * math.exp(log_probs[index]):.1f}%" for index in _most_likely(log_probs))


def objects(problem: Problem, text: str, answers: Sequence[Hypothesis]) -> list[dict[str, Any]]:
    """Returns each answer as an object that can be written as JSON.

    "answer" is the text, or the tree with its words. "score" is the value by which the search ranks, "log_prob" is the sum
    over the "tokens", each of which has a "piece" and a "log_prob" (in nats). A tree also has its symbols as generated
    ("linearised"), and whether they had to be "repaired".
    """
    found = []
    for one in answers:
        tokens = [{"piece": piece, "log_prob": value} for piece, value in zip(one.pieces, one.log_probs, strict=True)]
        line: dict[str, Any] = {"answer": one.answer}
        if problem.targets == "tree":
            tree, repaired = _tree(problem, text, one.answer)
            line = {"answer": to_brackets(tree), "linearised": one.answer, "repaired": repaired}
        found.append(line | {"score": one.score, "log_prob": math.fsum(one.log_probs), "tokens": tokens})
    return found


def class_objects(log_probs: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the most likely classes, each as {"answer": name, "log_prob": nats}."""
    return [{"answer": class_names[index], "log_prob": float(log_probs[index])} for index in _most_likely(log_probs)]


def _tree(problem: Problem, text: str, answer: str) -> tuple[Tree, bool]:
    """Returns a tree, and whether it had to be repaired: an unconstrained search may leave brackets or words without a leaf."""
    symbols = answer.split()
    # Nobody has said which words an image or a recording contains.
    words = text.split() if any(one.name == "language" for one in problem.modalities) else tags_of(symbols)
    return delinearise(symbols, words)


def _most_likely(log_probs) -> list[int]:
    # Python's sort is stable, so equal classes stay in the order of their indices, as in `metrics.classification`.
    return sorted(range(len(log_probs)), key=lambda index: -log_probs[index])[:RANKED]


def _on_one_line(answer: str) -> str:
    return " ".join(re.split(r"[\r\n]+", answer))  # sampling can produce line breaks
