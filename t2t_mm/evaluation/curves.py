"""Reads the learning curves of a run from the events that it wrote for TensorBoard."""

import glob
import os
from collections.abc import Iterator, Sequence

import tensorflow as tf
from absl import logging

_SOURCES = {  # split -> path of the events, and the name of the value in nats per token
    "train": (("events", "events.*"), "loss"),
    "dev": (("events", "dev_in_training", "events.*"), "log_perplexity"),
}

COSINE = "gradient_cosine/"  # prefix of the tags of the cosines between gradients: PREFIX + problem/problem

Curves = dict[str, dict[str, dict[int, float]]]


def curves(model_dir: str) -> Curves:
    """Returns {"train" and "dev": problem -> {step: nats per token}} with steps in order.

    A split without events has no problems.
    """
    found: Curves = {}
    for split, (pattern, figure) in _SOURCES.items():
        points: dict[str, dict[int, float]] = {}
        for step, tag, value in _scalars(model_dir, pattern):
            problem, _, what = tag.rpartition("/")
            if what == figure and not tag.startswith(COSINE):
                points.setdefault(problem, {})[step] = value  # a resumed run repeats steps, and the last value is used
        found[split] = {problem: dict(sorted(steps.items())) for problem, steps in points.items()}
    return found


def cosines(model_dir: str) -> dict[str, dict[str, float]]:
    """Returns {problem: {other problem: cosine}}, symmetric: the means of the measured cosines between their gradients.

    The dict is empty if the run did not measure them (`settings.Observation.cosine_steps`).
    """
    measured: dict[tuple[str, str], dict[int, float]] = {}
    for step, tag, value in _scalars(model_dir, _SOURCES["train"][0]):
        if tag.startswith(COSINE):
            one, _, other = tag.removeprefix(COSINE).partition("/")
            measured.setdefault((one, other), {})[step] = value
    found: dict[str, dict[str, float]] = {}
    for (one, other), steps in measured.items():
        # The cosine of a single step is noisy: it is that of two batches.
        mean = sum(steps.values()) / len(steps)
        found.setdefault(one, {})[other] = mean
        found.setdefault(other, {})[one] = mean
    return found


def thinned(steps: dict[int, float], points: int = 10) -> dict[int, float]:
    """Reduces a curve to at most `points` evenly spread steps, including the first and the last one."""
    if len(steps) <= points:
        return dict(steps)
    places = {round(i * (len(steps) - 1) / (points - 1)) for i in range(points)}
    return {step: value for place, (step, value) in enumerate(steps.items()) if place in places}


def _scalars(model_dir: str, pattern: Sequence[str]) -> Iterator[tuple[int, str, float]]:
    """Yields (step, tag, value) from event files, each up to an incomplete record that a killed process left behind."""
    # The names contain the time at which a file was made, so a resumed run comes after the earlier one.
    for path in sorted(glob.glob(os.path.join(glob.escape(model_dir), *pattern))):
        try:
            for event in tf.compat.v1.train.summary_iterator(path):
                for value in event.summary.value:
                    if value.tensor.dtype == tf.float32.as_datatype_enum and not value.tensor.tensor_shape.dim:
                        yield event.step, value.tag, float(tf.make_ndarray(value.tensor))
        except tf.errors.DataLossError:
            logging.warning("%s ends with an incomplete record, which is ignored.", path)
