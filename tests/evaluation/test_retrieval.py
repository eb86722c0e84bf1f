"""Tests which targets inputs find by their means: the formula, padding and fillings, and the option of an evaluation."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example
from t2t_mm.evaluation.evaluate import Evaluator, evaluate
from t2t_mm.evaluation.retrieval import Retrieval, ranks
from t2t_mm.experiment import Experiment
from t2t_mm.inference.search import Decoding
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.tokenizer import train_vocabulary
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.modalities.image import ImageInput
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.run.checkpoints import Checkpoints
from t2t_mm.run.folder import all_variables, prepare_folder

TEXTS = ["the cat sees a dog", "der Hund schläft", "le chien dort", "a dog sleeps here", "deux chats et un chien"]


def test_ranks_are_by_the_cosine():
    axes, own = np.eye(8), np.arange(8)
    found = ranks(axes, 5 * axes, own)
    assert found == {"retrieval_top1": 100, "retrieval_top5": 100, "retrieval_median_rank": 1, "retrieval_chance": 12.5}
    # Of the targets of three inputs, none, four and five are nearer than the own one.
    targets = np.stack([axes[0] + 0.1 * place * axes[1] for place in range(6)])
    found = ranks(np.tile(axes[0], (3, 1)), targets, np.array([0, 4, 5]))
    assert found["retrieval_top1"] == pytest.approx(100 / 3) and found["retrieval_top5"] == pytest.approx(200 / 3)
    assert found["retrieval_median_rank"] == 5 and found["retrieval_chance"] == pytest.approx(100 / 6)
    many = np.random.default_rng(0).normal(size=(3000, 16))  # more than are compared at once
    assert ranks(many, many, np.arange(3000))["retrieval_top1"] == 100
    assert ranks(many, many, np.roll(np.arange(3000), 1))["retrieval_top1"] < 1


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_an_encoder_to_which_all_is_equal_finds_nothing(value):
    means = np.full((20, 4), value)
    assert ranks(means, means, np.arange(20)) == {
        "retrieval_top1": 0, "retrieval_top5": 0, "retrieval_median_rank": 20, "retrieval_chance": 5
    }  # fmt: skip


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
        # The third input has the same target as the first, which is therefore one of two.
        batch([2, -1], [[1, 2, 7], [4, 4, 4]], [[1, 2, 3], [5, 5, 5]], [3, 3]),
    ]
    found = Retrieval(network)(Problem("x", None, "language", "text", "To-X"), data)
    assert found["retrieval_chance"] == 50 and found["retrieval_top1"] == 100
    assert set(network.read) == {("language", 3)}
    data[0]["targets"] = data[0]["targets"][::-1]
    assert Retrieval(network)(Problem("x", None, "language", "text", "To-X"), data)["retrieval_top1"] < 50
    assert Retrieval(network)(Problem("x", None, "language", "text", "To-X"), []) == {}


class Lines:
    def __init__(self, targets, inputs=TEXTS):
        self.targets, self.inputs = targets, inputs

    def examples(self, split, report):
        return [Example(line, target, str(line)) for line, target in zip(self.inputs, self.targets)]

    def class_names(self):
        return ["one", "two"]


SAME = Problem("restored", Lines(TEXTS), "language", "text", "To-English")
OTHER = Problem("turned", Lines(TEXTS[1:] + TEXTS[:1]), "language", "text", "To-English")
CLASS = Problem("language_of_text", Lines([0, 1, 0, 1, 0]), "language", "class", "To-Class")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An experiment, the folder of a model with its initial weights, its description and the model."""
    folder = str(tmp_path_factory.mktemp("run"))
    pictures = [f"{folder}/{number}.png" for number in range(5)]
    for number, path in enumerate(pictures):
        Image.fromarray(np.full((32, 32, 3), 50 * number, "uint8")).save(path)
    captions = Problem("coco", Lines(TEXTS, pictures), "image", "text", "To-English")
    both = Problem("compared", Lines(TEXTS, [(text, text) for text in TEXTS]), ("language", "language"), "text", "To-English")
    path = f"{folder}/v.model"
    train_vocabulary(TEXTS * 5, [], path, size=300)
    model = functools.partial(
        MultiModel, depth=16, encoder_blocks=1, mixer_blocks=0, decoder_blocks=1, mixtures=False,
        attention_block=functools.partial(AttentionBlock, heads=2, convs=1),
        image=functools.partial(ImageInput, filters=(4, 8)),
    )  # fmt: skip
    problems = [SAME, OTHER, CLASS, captions, both]
    experiment = Experiment(problems, path, model, BatchSettings(image_size=32), AudioFeatures(bins=8))
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
    same, other, label, captions, both = (evaluator(problem, "dev").figures for problem in experiment.problems)
    assert same["retrieval_top1"] == 100 and same["retrieval_chance"] == 20 and same["examples"] == 5
    assert other["retrieval_top1"] == 0
    assert (
        captions["retrieval_chance"] == both["retrieval_chance"] == 20 and both["retrieval_top1"] > captions["retrieval_top1"]
    )
    plain = Evaluator(experiment, network, description, None)(SAME, "dev").figures
    assert plain == {name: value for name, value in same.items() if not name.startswith("retrieval")}
    assert not any(name.startswith("retrieval") for name in label)


def test_a_whole_evaluation_measures_it_of_several_problems_at_once(run):
    experiment, folder, *_ = run
    found = evaluate(
        experiment, folder, names=["restored", "turned"], decoding=Decoding(max_length=3), retrieval=True, at_once=2
    )
    assert [found["results"][name]["retrieval_top1"] for name in ("restored", "turned")] == [100, 0]


def test_without_texts_it_is_refused(run):
    with pytest.raises(RunError, match="problems with texts as targets, and none of language_of_text is one"):
        evaluate(run[0], "nowhere", names=["language_of_text"], retrieval=True)
