"""Tests which targets inputs find by their means: the formula, padding and fillings, and the option of an evaluation."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example
from t2t_mm.evaluation.evaluate import Evaluator, evaluate
from t2t_mm.evaluation.retrieval import Retrieval, ranks
from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.tokenizer import train_vocabulary
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.run.checkpoints import Checkpoints
from t2t_mm.run.folder import all_variables, prepare_folder

TEXTS = ["the cat sees a dog", "der Hund schläft", "le chien dort", "a dog sleeps here", "deux chats et un chien"]


def test_ranks_are_by_the_cosine_and_equal_targets_do_not_count_against_each_other():
    axes = np.eye(8)
    found = ranks(axes, 5 * axes)
    assert found == {"retrieval_top1": 100, "retrieval_top5": 100, "retrieval_median_rank": 1, "retrieval_chance": 12.5}
    turned = ranks(axes, np.roll(axes, 1, axis=0))  # the target of each input is that of another one; all others are equal
    assert turned["retrieval_top1"] == 0 and turned["retrieval_top5"] == 100 and turned["retrieval_median_rank"] == 2
    # Two inputs are far from their own targets. Those of the six others are equally near.
    far = np.tile(axes[0] + 1e-3 * axes[1], (8, 1))
    targets = np.tile(axes[0], (8, 1)) + 0.5 * np.eye(8)[np.arange(8)]
    targets[:2] = -axes[:2]
    found = ranks(far, targets)
    assert found["retrieval_top1"] == 75 and found["retrieval_median_rank"] == 1
    assert ranks(axes[:1], axes[:1])["retrieval_chance"] == 100


class Words:
    """A network that encodes a token as a vector of its own, and whose command turns the vectors of both sides alike."""

    def __init__(self):
        self.read = []

    def command_id(self, name):
        return {"To-X": 3}[name]

    def encode(self, modality, inputs, padding, command):
        self.read.append((modality, int(command)))
        return tf.one_hot(inputs, 9) * tf.cast(command, tf.float32), padding, None, None


def batch(index, inputs, targets, lengths):
    padding = np.arange(3)[None] >= np.array(lengths)[:, None]
    return {
        "inputs": tf.constant(inputs), "input_padding": tf.constant(padding), "targets": tf.constant(targets),
        "target_padding": tf.constant(padding), "index": tf.constant(index),
    }  # fmt: skip


def test_padding_and_fillings_are_no_part_of_it(eagerly):
    network = Words()
    data = [
        # Behind the second row's only token is padding, which says the same as the first row.
        batch([1, 0], [[1, 2, 3], [4, 1, 1]], [[1, 2, 3], [4, 2, 2]], [3, 1]),
        batch([2, -1], [[5, 6, 6], [4, 4, 4]], [[1, 2, 4], [4, 4, 4]], [3, 3]),
    ]
    found = Retrieval(network)(Problem("x", None, "language", "text", "To-X"), data)
    # The third target says nothing of its input, which is equally far from all of them.
    assert found["retrieval_chance"] == pytest.approx(100 / 3) and found["retrieval_top1"] == 100
    assert set(network.read) == {("language", 3)}
    data[0]["targets"] = data[0]["targets"][::-1]
    assert Retrieval(network)(Problem("x", None, "language", "text", "To-X"), data)["retrieval_top1"] < 50
    assert Retrieval(network)(Problem("x", None, "language", "text", "To-X"), []) == {}


class Lines:
    def __init__(self, targets):
        self.targets = targets

    def examples(self, split, report):
        return [Example(text, target, text) for text, target in zip(TEXTS, self.targets)]

    def class_names(self):
        return ["one", "two"]


SAME = Problem("restored", Lines(TEXTS), "language", "text", "To-English")
OTHER = Problem("turned", Lines(TEXTS[1:] + TEXTS[:1]), "language", "text", "To-English")
CLASS = Problem("language_of_text", Lines([0, 1, 0, 1, 0]), "language", "class", "To-Class")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An experiment, the folder of a model with its initial weights, its description and the model."""
    folder = str(tmp_path_factory.mktemp("run"))
    path = f"{folder}/v.model"
    train_vocabulary(TEXTS * 5, [], path, size=300)
    model = functools.partial(
        MultiModel, depth=16, encoder_blocks=1, mixer_blocks=0, decoder_blocks=1, mixtures=False,
        attention_block=functools.partial(AttentionBlock, heads=2, convs=1),
    )  # fmt: skip
    experiment = Experiment([SAME, OTHER, CLASS], path, model, BatchSettings(), AudioFeatures(bins=8))
    description = experiment.describe()
    prepare_folder(folder, experiment, description, "", 0)
    keras.utils.set_random_seed(0)
    network = experiment.build_model(description)
    done, seconds = tf.Variable(1, dtype=tf.int64), tf.Variable(1.0, dtype=tf.float64)
    Checkpoints(tf.train.Checkpoint(variables=all_variables(network), done=done, seconds=seconds), folder).save(1)
    return experiment, folder, description, network


def test_an_evaluation_measures_it_for_texts_alone(run):
    experiment, _, description, network = run
    evaluator = Evaluator(experiment, network, description, None, retrieval=True)
    same, other, label = (evaluator(problem, "dev").figures for problem in experiment.problems)
    assert same["retrieval_top1"] == 100 and same["retrieval_chance"] == 20 and same["examples"] == 5
    assert other["retrieval_top1"] == 0
    plain = Evaluator(experiment, network, description, None)(SAME, "dev").figures
    assert plain == {name: value for name, value in same.items() if not name.startswith("retrieval")}
    assert not any(name.startswith("retrieval") for name in label)


def test_without_texts_it_is_refused(run):
    experiment, folder, *_ = run
    with pytest.raises(RunError, match="Retrieval needs .*reads language, and the problems are language_of_text"):
        evaluate(experiment, folder, names=["language_of_text"], retrieval=True)
