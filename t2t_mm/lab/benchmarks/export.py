"""Compares exports whose weights are stored in different types: their size, load time, and share of changed answers."""

import os
import time
from collections.abc import Sequence

import numpy as np
from absl import logging

from t2t_mm.common.errors import RunError
from t2t_mm.common.files import size_on_disk
from t2t_mm.corpora.example import Report
from t2t_mm.export import save
from t2t_mm.input.pipeline import load_examples
from t2t_mm.lab.benchmarks.serve import client_bytes
from t2t_mm.problem import Problem
from t2t_mm.serving.errors import ServingError
from t2t_mm.serving.servable import Servable

_TIMEOUT_SECONDS = 600.0  # per batch


def run(
    exports: dict[str, str], problems: Sequence[Problem], split: str = "test", batch_size: int = 16, repeats: int = 3
) -> dict[str, dict[str, float]]:
    """Measures each export, compares its answers with those of the first, and returns name -> {figure: value}.

    Args:
      exports: name -> folder of one version.
      problems: problems to answer; every export needs a signature for each of them.
      split: the split whose inputs are answered, all of them.
      repeats: how often each export is loaded; the fastest time is reported.

    Raises:
      RunError: a folder cannot be loaded, or a signature reports an error.
      CorpusError: a corpus is missing or unreadable.
    """
    inputs = {}
    for problem in problems:
        examples = load_examples(problem, split, Report(problem.name))
        inputs[problem.name] = [client_bytes(problem, one) for one in examples]
    found: dict[str, dict] = {}
    expected: dict[str, list] = {}
    for name, folder in exports.items():
        try:
            figures, answers = _measure(folder, inputs, batch_size, repeats)
        except ServingError as error:
            raise RunError(f"{error}. Write the export with bin/export.py and set export.run.exports.") from error
        expected = expected or answers
        for problem, given in answers.items():
            figures[f"share of {problem}'s {len(given)} answers equal to {next(iter(exports))}'s"] = sum(
                one == other for one, other in zip(given, expected[problem])
            ) / len(given)
        found[name] = figures
        logging.info("%s: %s", name, figures)
    return found


def _measure(folder: str, inputs: dict, batch_size: int, repeats: int) -> tuple[dict, dict]:
    """Returns the figures of the version in `folder`, and problem -> the answer to each input."""
    loaded = Servable(folder, 0)
    figures = {
        "MB on disk": size_on_disk(folder) / 1e6,
        "MB of weights": size_on_disk(os.path.join(folder, "variables")) / 1e6,
        "load seconds": min(save.load_seconds(folder) for _ in range(repeats)),
    }
    start = time.monotonic()
    loaded.warm_up(_TIMEOUT_SECONDS)
    figures["warm-up seconds"] = time.monotonic() - start
    answers: dict[str, list] = {}
    for problem, given in inputs.items():
        output = "classes" if "classes" in loaded.signature(problem).outputs else "outputs"
        answers[problem] = []
        for first in range(0, len(given), batch_size):
            part = {"inputs": np.array(given[first : first + batch_size], object)}
            answered = loaded.run(problem, part, (output,), _TIMEOUT_SECONDS)[output]
            answers[problem] += answered[:, 0].tolist() if answered.ndim == 2 else answered.tolist()
    loaded.close()
    return figures, answers
