"""Tests the teacher-forced figures for given logits: nats, correct tokens, tokens among the top five, and gates."""

import math

import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.corpora.example import Example
from t2t_mm.evaluation.evaluate import TeacherForced, score
from t2t_mm.evaluation.measured import Measured
from t2t_mm.problem import Problem

# Seven ids, the first the likeliest: rank and id are the same.
P = np.array([0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05], "float32")


class Fixed:
    """Answers `P` at every position; its mixture's gates are the number of the examples."""

    def command_id(self, name):
        return {"To-X": 1}[name]

    def encode(self, modality, inputs, padding, command, training):
        assert not training
        gates = tf.cast(tf.shape(inputs)[0], tf.float32) * tf.constant([1.0, 2.0])
        return inputs, padding, None, {"importance": gates, "load": gates}

    def decode_text(self, encoded, padding, command, targets, target_padding, training):
        return tf.math.log(tf.tile(tf.constant(P)[None, None], [*tf.unstack(tf.shape(targets)), 1])), None


def batch(index, targets, lengths):
    targets = tf.constant(targets, tf.int32)
    return {
        "inputs": targets, "input_padding": tf.zeros_like(targets, tf.bool), "targets": targets,
        "target_padding": tf.range(targets.shape[1])[None] >= tf.constant(lengths)[:, None],
        "index": tf.constant(index),
    }  # fmt: skip


BATCHES = [
    batch([2, 0], [[0, 4, 5], [0, 0, 6]], [3, 2]),  # the third of the second is padding
    batch([1, -1], [[6], [0]], [1, 1]),  # the last row only fills the batch
]
PROBLEM = Problem("x", None, "language", "text", "To-X")


def test_every_example_counts_once_in_the_order_of_its_index():
    found = TeacherForced(Fixed()).measure(PROBLEM, BATCHES)
    assert found.index.tolist() == [0, 1, 2] and found.tokens.tolist() == [2, 1, 3]
    assert found.right.tolist() == [2, 0, 1]
    assert found.right5.tolist() == [2, 0, 2], "of ranks 0, 4 and 5 (from 0) two are among the five likeliest"
    nats = [-2 * math.log(P[0]), -math.log(P[6]), -math.log(P[0]) - math.log(P[4]) - math.log(P[5])]
    np.testing.assert_allclose(found.nats, nats, rtol=1e-5)
    np.testing.assert_allclose(found.experts["encoder"], [2 + 2, 4 + 4])
    assert set(found.experts) == {"encoder"}


def test_figures_are_of_tokens_but_for_whole_sequences():
    figures = TeacherForced(Fixed())(PROBLEM, BATCHES)
    assert figures["token_accuracy"] == pytest.approx(100 * 3 / 6) and figures["token_top5"] == pytest.approx(100 * 4 / 6)
    assert figures["sequence_accuracy"] == pytest.approx(100 / 3)
    nats = [3 * math.log(P[0]), math.log(P[6]), math.log(P[4]), math.log(P[5])]
    assert figures["log_perplexity"] == pytest.approx(-sum(nats) / 6)


def test_a_set_without_examples_has_no_figures():
    found = TeacherForced(Fixed()).measure(PROBLEM, [])
    assert found.figures() == {} and not len(found.index)
    assert score(PROBLEM, [], []) == {}


def test_without_a_metric_whole_answers_are_compared():
    examples = [Example("", target, "x") for target in ("a", "b", "c", "d")]
    assert score(PROBLEM, ["a", "B", "c", ""], examples) == {"exact_match": 50.0}
    assert isinstance(TeacherForced(Fixed()).measure(PROBLEM, BATCHES[:1]), Measured)
