"""Answers through another language, with two directions that a model was trained for.

This is the usual baseline of zero-shot translation, called bridging by Johnson et al. 2017 (arXiv 1611.04558): German text is
first translated into English, and the English text into French. It works for any input and any command, for instance for
captions in German.
"""

import dataclasses
from collections.abc import Callable, Sequence

from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.source import Examples
from t2t_mm.inference.predictor import Answer, Predictor, predict
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.problem import Problem


def has_pivot(problem: Problem, through: str) -> bool:
    """Returns whether the problem is answered with text or trees, and not already in the language of the command `through`."""
    return problem.targets != "class" and problem.command != through


def pivot(
    predictor: Predictor,
    problem: Problem,
    examples: Sequence[Example] | Examples,
    tokenizer: Tokenizer,
    audio: AudioFeatures,
    batches: BatchSettings,
    report: Report,
    through: str = "To-English",
    at_once: int = 1,
    done: Callable[[int], None] = lambda count: None,
) -> tuple[list[Answer | None], list[Answer | None]]:
    """Answers each example in two steps: its input with the command `through`, and this answer with the command of the problem.

    Args:
      problem: a problem for which `has_pivot` is true.
      predictor, examples, tokenizer, audio, batches, report, at_once, done: see `predictor.predict`. `done` counts the answers
        of the second step.

    Returns:
      The answers in order, and the texts between the two steps. Both are None for examples that cannot be read, or are too long
      in one of the steps.

    Raises:
      ValueError: the problem is answered with classes, or already with the command `through`.
    """
    if not has_pivot(problem, through):
        answered = "with classes" if problem.targets == "class" else f"with the command {through}"
        raise ValueError(f"{problem.name}: it is answered {answered}, so there is no way through {through}.")
    first = dataclasses.replace(problem, targets="text", command=through, metrics=())
    between = predict(predictor, first, examples, tokenizer, audio, batches, report, at_once)
    # What cannot be read in the first step has no second one.
    said = [(place, text) for place, text in enumerate(between) if text is not None]
    second = dataclasses.replace(problem, inputs="language")
    again = [Example(inputs=str(text), targets="", origin=f"{problem.name}[{place}] {through}") for place, text in said]
    answers: list[Answer | None] = [None] * len(between)
    for (place, _), answer in zip(said, predict(predictor, second, again, tokenizer, audio, batches, report, at_once, done)):
        answers[place] = answer
    return answers, between
