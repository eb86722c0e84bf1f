"""A trained model over the whole dev or test set of each problem: teacher-forced figures and decoded metrics."""

import dataclasses
import os
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from t2t_mm.data.example import Report
from t2t_mm.data.pipeline import load_examples, make_batches
from t2t_mm.data.tokenizer import Tokenizer
from t2t_mm.evaluation.baselines import baseline
from t2t_mm.experiment import Experiment, RunError, load_trained
from t2t_mm.inference import Predictor, predict
from t2t_mm.problems.problem import Problem
from t2t_mm.training.losses import cross_entropy, forward, token_weights

# Evaluation leaves nothing out for its length; these only bound the largest bucket.
_LONGEST = {"max_length": 4096, "max_frames": 65536}


@dataclasses.dataclass(frozen=True)
class Decoding:
    """beam_size: 1 is greedy search. alpha: strength of the length penalty. max_length: tokens of an answer."""

    beam_size: int = 1
    alpha: float = 0.6
    max_length: int = 128


def evaluate(
    experiment: Experiment,
    model_dir: str,
    split: str = "dev",
    names: Sequence[str] = (),
    decoding: Decoding = Decoding(),
    samples: int = 3,
    max_bad_examples: int = 100,
    best: bool = False,
) -> dict:
    """Evaluates the newest (or the `best`) checkpoint of `model_dir` on each problem (or on those in `names`).

    Returns: {"step", "training_minutes", "seed", "results", "samples", "skipped"}; results is problem -> {metric: value},
      samples is problem -> [{"input", "target", "output"}], skipped is problem -> {origin: reason}.

    Raises:
      RunError: an unknown problem, no checkpoint, or one that does not fit.
      CorpusError: a corpus is missing.
    """
    problems = [experiment.problem(name) for name in names] or list(experiment.problems)
    network, description, trained = load_trained(experiment, model_dir, best)
    tokenizer = Tokenizer(experiment.vocabulary)
    predictor = Predictor(network, tokenizer, decoding.beam_size, decoding.alpha, decoding.max_length)
    teacher_forced = TeacherForced(network)
    settings = dataclasses.replace(experiment.batches, **_LONGEST)
    results, shown, skipped = {}, {}, {}
    for problem in problems:
        start, report = time.monotonic(), Report(problem.name, max_bad_examples)
        examples = load_examples(problem, split, report)
        _check_classes(problem, description)
        data = make_batches(problem, examples, tokenizer, experiment.audio, settings, report, training=False)
        results[problem.name] = teacher_forced(problem, data)
        answers = predict(predictor, problem, examples, tokenizer, experiment.audio, settings, report)
        answered = [(answer, example) for answer, example in zip(answers, examples) if answer is not None]
        results[problem.name] |= score(problem, *zip(*answered)) | {"examples": len(answered)}
        class_names = description["class_names"].get(problem.name)
        shown[problem.name] = [sample_of(problem, *pair, class_names) for pair in answered[:samples]]
        skipped[problem.name] = report.skipped
        logging.info("%s: %d examples in %.0f s", problem.name, len(answered), time.monotonic() - start)
    return {
        "step": trained["step"],
        "training_minutes": trained["seconds"] / 60,
        "seed": description["seed"],
        "results": results,
        "samples": shown,
        "skipped": {name: found for name, found in skipped.items() if found},
    }


def to_tensorboard(found: dict, model_dir: str, split: str) -> None:
    """Writes the figures and the decoded examples of an evaluation beside those of the training."""
    writer = tf.summary.create_file_writer(os.path.join(model_dir, "events", split))
    with writer.as_default(step=found["step"]):
        for problem, metrics in found["results"].items():
            for metric, value in metrics.items():
                if isinstance(value, float):
                    tf.summary.scalar(f"{problem}/{metric}", value)
            for number, sample in enumerate(found["samples"][problem], start=1):
                lines = "\n\n".join(f"{key}: {value}" for key, value in sample.items())
                tf.summary.text(f"{problem}/sample_{number}", lines)
    writer.flush()


def evaluate_baselines(experiment: Experiment, split: str = "dev", names: Sequence[str] = ()) -> dict:
    """Problem -> {metric: value} of the trivial answers that use no input, or copy it."""
    results = {}
    for problem in [experiment.problem(name) for name in names] or experiment.problems:
        report = Report(problem.name)
        examples = load_examples(problem, split, report)
        predictions, description = baseline(problem, load_examples(problem, "train", report), examples)
        results[problem.name] = {"baseline": description} | score(problem, predictions, examples)
    return results


def score(problem: Problem, predictions, examples) -> dict:
    """All metrics of a problem over decoded answers."""
    if not problem.metrics:
        right = [p == e.targets for p, e in zip(predictions, examples)]
        return {"exact_match": 100 * float(np.mean(right))}
    return {key: value for metric in problem.metrics for key, value in metric(predictions, examples).items()}


class TeacherForced:
    """Figures that need no decoding: the model sees the right previous tokens."""

    def __init__(self, network):
        self._network = network
        self._functions: dict = {}

    def __call__(self, problem: Problem, data: tf.data.Dataset) -> dict:
        """Log-perplexity (nats per token, over the whole set), token and whole-sequence accuracy (percent)."""
        command, totals = tf.constant(self._network.command_id(problem.command)), np.zeros(5)
        for batch in data:
            totals += [float(value) for value in self._function(problem)(batch, command)]
        nats, right, tokens, whole, sequences = totals
        return {
            "log_perplexity": nats / tokens,
            "token_accuracy": 100 * right / tokens,
            "sequence_accuracy": 100 * whole / sequences,
        }

    def _function(self, problem):
        kind = (problem.inputs, problem.name if problem.targets == "class" else "sequence")
        if kind not in self._functions:
            function = lambda batch, command: self._sums(problem, batch, command)  # noqa: E731
            self._functions[kind] = tf.function(function, reduce_retracing=True)
        return self._functions[kind]

    def _sums(self, problem, batch, command):
        logits, _ = forward(self._network, problem, batch, command, training=False)
        _, plain = cross_entropy(logits, batch["targets"], 0.0)
        weights = token_weights(problem, batch)
        right = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) == batch["targets"], tf.float32)
        wrong, counted = (
            tf.reduce_sum(tf.reshape(x, [tf.shape(weights)[0], -1]), axis=1) for x in ((1.0 - right) * weights, weights)
        )
        sequence = counted > 0  # else a row that only fills the batch
        whole = tf.reduce_sum(tf.cast(tf.logical_and(wrong == 0, sequence), tf.float32))
        return (
            tf.reduce_sum(plain * weights), tf.reduce_sum(right * weights), tf.reduce_sum(weights),
            whole, tf.reduce_sum(tf.cast(sequence, tf.float32)),
        )  # fmt: skip


def _check_classes(problem: Problem, description: dict) -> None:
    if problem.targets == "class" and problem.source.class_names() != description["class_names"].get(problem.name):
        raise RunError(f"{problem.name}: the corpus's classes are not those the model was trained on.")


def sample_of(problem: Problem, answer, example, class_names) -> dict:
    """An example and its answer, as text."""
    target = example.targets
    if problem.targets == "class":
        answer, target = class_names[int(np.argmax(answer))], class_names[target]
    return {"input": example.inputs, "target": target, "output": answer}
