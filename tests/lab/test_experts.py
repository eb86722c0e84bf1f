"""Tests that the lists of experts are of the right tokens, places and classes, and that all gates are counted."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.common.description import load_description
from t2t_mm.evaluation.evaluate import TeacherForced
from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.input.vocabulary import build_vocabulary
from t2t_mm.lab import experts
from t2t_mm.lab.results import write_results
from t2t_mm.problem import Problem
from t2t_mm.run.checkpoints import Checkpoints
from t2t_mm.run.folder import all_variables, prepare_folder
from tests.training import tiny_run

EXPERTS = 3
TEXTS, PICTURES = tiny_run.PROBLEMS[0], Problem("imagenet", None, "image", "class", "To-Class")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experts")
    build_vocabulary(list(tiny_run.PROBLEMS), str(folder / "vocabulary.model"), size=310)
    model = functools.partial(tiny_run.tiny_model, False)
    return Experiment(tiny_run.PROBLEMS, str(folder / "vocabulary.model"), model, BatchSettings(positions=128, max_length=64))


def batch(inputs, targets, index):
    """Two rows; the last two positions of the second one are padding."""
    padding = np.zeros([2, 8], bool)
    padding[1, 6:] = True
    return {
        "inputs": tf.constant(inputs), "input_padding": tf.constant(padding), "targets": tf.constant(targets),
        "target_padding": tf.constant(padding), "index": tf.constant(index),
    }  # fmt: skip


def planted(length):
    """A model's forward pass whose expert is the remainder of a token's id, or the quarter of an image's position."""

    def forward(network, problem, batch, command, training):
        ids = batch["inputs"] if problem.modality == "language" else tf.tile(tf.range(length)[None], [2, 1])
        keep = tf.reshape(tf.logical_not(batch["input_padding"]) if problem.modality == "language" else ids >= 0, [-1])
        chosen = tf.reshape(ids, [-1])[:, None] % EXPERTS
        weights = tf.cast(keep, tf.float32)[:, None]
        part = {"chosen": (weights, chosen), "importance": tf.zeros([EXPERTS])}
        return None, {"encoder": part}, None

    return forward


class Network:
    def command_id(self, name):
        return 0


def test_each_token_and_class_is_listed_for_its_expert(experiment, monkeypatch):
    tokenizer = Tokenizer(experiment.vocabulary)
    ids = np.random.default_rng(0).integers(260, 300, [2, 8]).astype("int32")
    ids[0, :5] = 271
    monkeypatch.setattr(experts, "forward", planted(8))
    kinds = experts.gates_of(Network(), TEXTS, [batch(ids, ids, [0, 1])], tokenizer, None)["encoder"]
    piece = tokenizer.processor.IdToPiece(271)
    assert kinds["tokens"].shares(271 % EXPERTS)[piece] == 1 and kinds["tokens"].shares((271 + 1) % EXPERTS)[piece] == 0
    assert sum(kinds["tokens"].counts.values()) == kinds["all"].counts[""] == 14  # without padding
    assert kinds["places"].counts == {"first quarter": 4, "second quarter": 3, "third quarter": 4, "last quarter": 3}
    assert set(kinds["tokens"].shares(0)) == {p for p, n in kinds["tokens"].counts.items() if n >= experts.LEAST}
    # A row of index −1 only fills the batch.
    kinds = experts.gates_of(Network(), TEXTS, [batch(ids, ids, [0, -1])], tokenizer, None)["encoder"]
    assert kinds["all"].counts[""] == 8


def test_the_places_of_an_image_are_those_of_its_area(experiment, monkeypatch):
    monkeypatch.setattr(experts, "forward", planted(16))
    data = batch(np.zeros([2, 8], "int32"), np.array([1, 0], "int32"), [0, 1])
    kinds = experts.gates_of(Network(), PICTURES, [data], Tokenizer(experiment.vocabulary), ["cat", "dog"])["encoder"]
    assert kinds["places"].counts == {"upper left": 8, "upper right": 8, "lower left": 8, "lower right": 8}
    # Positions 0, 1, 4, 5 are the upper left ones of a grid of 4 × 4, and those with a remainder of 2 have expert 2.
    assert kinds["places"].shares(2)["upper left"] == np.mean([p % EXPERTS == 2 for p in (0, 1, 4, 5)])
    assert kinds["classes"].counts == {"dog": 16, "cat": 16} and not kinds["tokens"].counts


def test_the_gates_of_a_trained_run_are_all_there(experiment, tmp_path):
    folder = str(tmp_path / "run")
    description = experiment.describe()
    prepare_folder(folder, experiment, description, "", 0)
    network = experiment.build_model(load_description(folder))
    for weight in network.trainable_weights:  # gates start at zero
        if weight.path.endswith("gate"):
            weight.assign(np.random.default_rng(1).normal(size=weight.shape).astype("float32"))
    state = {"done": tf.Variable(1, dtype=tf.int64), "seconds": tf.Variable(1.0, dtype=tf.float64)}
    Checkpoints(tf.train.Checkpoint(variables=all_variables(network), **state), folder).save(1)
    found = experts.specialties(experiment, folder)
    assert found["step"] == 1 and found["mixtures"].keys() == {"encoder", "decoder"}
    evaluator = experts.Evaluator(experiment, network, description, None)
    examples, report = evaluator.load(TEXTS, "dev")
    measured = TeacherForced(network).measure(TEXTS, evaluator.batches(TEXTS, examples, report)).experts
    for mixture, problems in found["mixtures"].items():
        shares = np.array([entry["share"] for entry in problems[TEXTS.name]])
        np.testing.assert_allclose(shares, measured[mixture] / measured[mixture].sum(), atol=1e-3)
        assert any(entry["tokens"] for entry in problems[TEXTS.name])
    path = str(tmp_path / "experts.json")
    write_results(path, "command", 0, 0.1, found["mixtures"], render=experts.page)
    with open(path.replace(".json", ".md")) as file:
        text = file.read()
    assert "## Encoder" in text and "### Decoder, expert 2" in text and f"- **{TEXTS.name}**, " in text
    with open(path) as file:
        assert json.load(file)["results"] == found["mixtures"]
