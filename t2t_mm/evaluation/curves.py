"""The losses of a run against its steps, read back from what it wrote for TensorBoard."""

import glob
import os

import tensorflow as tf
from absl import logging

_SOURCES = {  # split -> events, and the figure there that is nats per token
    "train": (("events", "events.*"), "loss"),
    "dev": (("events", "dev_in_training", "events.*"), "log_perplexity"),
}

Curves = dict[str, dict[str, dict[int, float]]]


def curves(model_dir: str) -> Curves:
    """{"train" and "dev": problem -> {step: nats per token}}, steps in order; empty where no events are left."""
    found: Curves = {}
    for split, (pattern, figure) in _SOURCES.items():
        points: dict[str, dict[int, float]] = {}
        for path in sorted(glob.glob(os.path.join(glob.escape(model_dir), *pattern))):
            for step, tag, value in _scalars(path):
                problem, _, what = tag.rpartition("/")
                if what == figure:
                    points.setdefault(problem, {})[step] = value  # a step trained again after a resume counts once
        found[split] = {problem: dict(sorted(steps.items())) for problem, steps in points.items()}
    return found


def thinned(steps: dict[int, float], points: int = 10) -> dict[int, float]:
    """Of a curve, values at `points` steps spread evenly, the first and the last included."""
    if len(steps) <= points:
        return dict(steps)
    places = {round(i * (len(steps) - 1) / (points - 1)) for i in range(points)}
    return {step: value for place, (step, value) in enumerate(steps.items()) if place in places}


def _scalars(path: str):
    """(step, tag, value) of an event file, up to where a killed process left it."""
    try:
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                if value.tensor.dtype == tf.float32.as_datatype_enum and not value.tensor.tensor_shape.dim:
                    yield event.step, value.tag, float(tf.make_ndarray(value.tensor))
    except tf.errors.DataLossError:
        logging.warning("%s ends in the middle of a record", path)
