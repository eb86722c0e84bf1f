"""A run that starts from another's weights, and what it may not start from."""

import dataclasses
import functools
import os

import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.vocabulary import build_vocabulary
from t2t_mm.run.errors import RunError
from t2t_mm.run.folder import load_description, load_trained
from t2t_mm.training import loop
from t2t_mm.training.schedule import InverseSquareRoot
from tests.training import tiny_run

CAPITALS, REVERSAL = tiny_run.PROBLEMS


@pytest.fixture(autouse=True, scope="module")
def eagerly():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a vocabulary and a joint run of two steps."""
    path = str(tmp_path_factory.mktemp("init_from"))
    build_vocabulary(list(tiny_run.PROBLEMS), os.path.join(path, "vocabulary.model"), size=310)
    train(path, "joint", tiny_run.PROBLEMS, 2)
    return path


def experiment(folder, problems, vocabulary="vocabulary.model"):
    batches = BatchSettings(positions=128, shuffle=8, max_length=64)
    return Experiment(problems, os.path.join(folder, vocabulary), tiny_run.tiny_model, batches)


def train(folder, name, problems, steps, vocabulary="vocabulary.model", **settings):
    schedule = functools.partial(InverseSquareRoot, 1e-2, 5)
    made = experiment(folder, problems, vocabulary)
    return loop.train(made, os.path.join(folder, name), steps, schedule=schedule, **settings)


def weights(network):
    return [weight.numpy() for weight in network.trainable_variables]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_weights_go_over_whole_and_training_goes_on_from_its_own(folder):
    joint, _, _ = load_trained(experiment(folder, tiny_run.PROBLEMS), os.path.join(folder, "joint"))
    still = functools.partial(InverseSquareRoot, 1e-30, 5)  # a step that moves nothing
    made = experiment(folder, [REVERSAL])
    start = os.path.join(folder, "joint")
    one = loop.train(made, os.path.join(folder, "still"), 1, schedule=still, init_from=start)
    assert same(weights(one), weights(joint))
    # The model keeps what the new run's problems do not need.
    assert load_description(os.path.join(folder, "still"))["commands"] == ["To-Capitals", "To-Reverse"]

    tuned = weights(train(folder, "tuned", [REVERSAL], 2, init_from=start))
    assert not same(tuned, weights(joint))
    _, _, state = load_trained(experiment(folder, [REVERSAL]), os.path.join(folder, "tuned"))
    assert state["step"] == 2  # of its own, the optimizer's too
    again = weights(train(folder, "tuned", [REVERSAL], 2, init_from=start))  # nothing to do: its own checkpoint counts
    assert same(again, tuned)


def test_what_the_other_model_does_not_know_is_named(folder):
    start = os.path.join(folder, "joint")
    other = dataclasses.replace(REVERSAL, command="To-Latin")
    with pytest.raises(RunError, match="knows nothing of commands To-Latin, so this run cannot start from it"):
        train(folder, "latin", [other], 1, init_from=start)
    build_vocabulary(list(tiny_run.PROBLEMS), os.path.join(folder, "other.model"), size=300)
    with pytest.raises(RunError, match="trained with another vocabulary"):
        train(folder, "words", [REVERSAL], 1, "other.model", init_from=start)
    with pytest.raises(RunError, match="holds no trained model"):
        train(folder, "nothing", [REVERSAL], 1, init_from=os.path.join(folder, "nowhere"))
