"""Tests a fourth modality from outside the package, vectors of a sensor over time, which is declared and trained."""

import functools

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="training is TensorFlow's")

from t2t_mm.common.errors import RunError  # noqa: E402
from t2t_mm.corpora.example import CorpusError, Example, Report, TooManyBadExamples  # noqa: E402
from t2t_mm.experiment import Experiment  # noqa: E402
from t2t_mm.inference.predictor import Predictor, predict  # noqa: E402
from t2t_mm.input.buckets import BatchSettings, bucket_shapes  # noqa: E402
from t2t_mm.input.features import AudioFeatures  # noqa: E402
from t2t_mm.input.pipeline import make_batches  # noqa: E402
from t2t_mm.input.prepare import make_plan  # noqa: E402
from t2t_mm.input.tokenizer import Tokenizer, train_vocabulary  # noqa: E402
from t2t_mm.layers.attention import AttentionBlock  # noqa: E402
from t2t_mm.modalities.features import Arrays  # noqa: E402
from t2t_mm.modalities.modality import Modality  # noqa: E402
from t2t_mm.modalities.net import InputNet  # noqa: E402
from t2t_mm.model import MultiModel, path_below  # noqa: E402
from t2t_mm.problem import Problem  # noqa: E402
from t2t_mm.training.parts import rate_factors  # noqa: E402
from t2t_mm.training.step import TrainStep  # noqa: E402


@keras.saving.register_keras_serializable(package="mine")
class SensorInput(InputNet):
    """A linear map of each vector."""

    def __init__(self, depth, **kwargs):
        super().__init__(**kwargs)
        self.map = keras.layers.Dense(depth, name="map")

    def get_config(self):
        return super().get_config() | {"depth": self.map.units}

    def build(self, input_shape):
        self.map.build(input_shape)

    def call(self, x, padding):
        return self.map(x), padding, None


def read(path):
    return np.loadtxt(path, delimiter=",", ndmin=2)


SENSORS = Modality("sensors", SensorInput, (None, 3), Arrays(read, longest=20, budget=60))


class Gestures:
    """Files of one row a moment; a rising first column is "up"."""

    def __init__(self, folder):
        self.folder = folder

    def class_names(self):
        return ["up", "down"]

    def examples(self, split, report):
        found = []
        for number, length in enumerate([5, 9, 12, 3, 7, 5]):
            path, way = self.folder / f"{number}.csv", number % 2
            rows = np.stack([np.arange(length) * (1 - 2 * way), np.ones(length), np.zeros(length)], axis=1)
            np.savetxt(path, rows, delimiter=",")
            found.append(Example(str(path), way, f"gestures:{number}"))
        return found


@pytest.fixture
def made(tmp_path):
    """(experiment, its tools for batches): gestures, and sentences about them with the gesture as a second input."""
    vocabulary = str(tmp_path / "v.model")
    train_vocabulary(["word number one of a text"] * 9, [], vocabulary, 280)
    gestures = Problem("gestures", Gestures(tmp_path), SENSORS, "class", "To-Gesture")
    asked = Problem("asked", None, (SENSORS, "language"), "text", "To-English")
    model = functools.partial(
        MultiModel, depth=16, encoder_blocks=1, mixer_blocks=0, decoder_blocks=1, mixtures=False,
        attention_block=functools.partial(AttentionBlock, heads=2, convs=1),
    )  # fmt: skip
    experiment = Experiment([gestures, asked], vocabulary, model, BatchSettings(positions=64, max_length=20))
    tools = Tokenizer(vocabulary), AudioFeatures(bins=8), experiment.batches
    return experiment, tools


def batches(problem, examples, tools, report=None, training=False):
    return make_batches(problem, examples, *tools, report or Report("x", 0), training)


def description():
    return {"commands": ["To-English", "To-Gesture"], "inputs": ["language", "sensors"], "frequency_bins": 8,
            "class_names": {"gestures": ["up", "down"]}}  # fmt: skip


def test_a_declared_modality_is_read_batched_trained_and_answered(made):
    experiment, tools = made
    gestures, asked = experiment.problems
    assert experiment.describe()["inputs"] == ["language", "sensors"]
    examples = gestures.source.examples("train", Report("x"))
    lengths = [5, 9, 12, 3, 7, 5]
    for batch in batches(gestures, examples, tools):
        assert batch["inputs"].shape[0] * batch["inputs"].shape[1] <= 60 and batch["inputs"].shape[2] == 3
        kept = np.logical_not(batch["input_padding"].numpy()).sum(axis=1).tolist()
        assert kept == [lengths[index] for index in batch["index"].numpy()]
        np.testing.assert_array_equal(batch["inputs"].numpy()[:, 1, 0], 1 - 2 * batch["targets"].numpy())
    assert bucket_shapes(gestures, experiment.batches)[-1] == (20, 3)
    network = experiment.build_model(description())
    assert "sensors_in" in network.parts() and network.sensors_in.map.kernel.shape == (3, 16)
    pairs = [Example((one.inputs, "a word"), "one text", one.origin) for one in examples]
    data = {gestures.name: batches(gestures, examples, tools, training=True), asked.name: batches(asked, pairs, tools)}
    sgd = keras.optimizers.SGD(0.1)
    sgd.build(network.trainable_variables)
    step = TrainStep(
        tf.distribute.get_strategy(), network, sgd, experiment.problems, {"gestures": 1.0, "asked": 1.0}, 1.0, 0.0, 0.0,
        {name: of.element_spec for name, of in data.items()},
    )  # fmt: skip
    given = {name: next(iter(of)) for name, of in data.items()}
    before = network.sensors_in.map.kernel.numpy().copy()
    losses = [{name: float(found["loss"]) for name, found in step(given)[0].items()} for _ in range(6)]
    assert np.abs(network.sensors_in.map.kernel.numpy() - before).max() > 0
    assert losses[-1]["asked"] < losses[0]["asked"] and np.isfinite([*losses[-1].values()]).all()
    predictor = Predictor(network, tools[0], max_length=3)
    answers = predict(predictor, gestures, examples, *tools, Report("x", 0))
    assert [answer.shape for answer in answers] == [(2,)] * 6
    assert all(isinstance(one, str) for one in predict(predictor, asked, pairs, *tools, Report("x", 0)))


def test_what_cannot_be_read_is_reported(made, tmp_path):
    experiment, tools = made
    gestures, asked = experiment.problems
    (tmp_path / "good.csv").write_text("1,2,3\n")
    (tmp_path / "wide.csv").write_text("1,2,3,4\n")
    (tmp_path / "words.csv").write_text("a,b,c\n")
    np.savetxt(tmp_path / "long.csv", np.ones((21, 3)), delimiter=",")
    names = ["good", "wide", "words", "long", "absent"]
    report = Report("x", 9)
    pairs = [Example((str(tmp_path / f"{name}.csv"), "a word"), "one", name) for name in names]
    (batch,) = batches(asked, pairs, tools, report)
    assert batch["index"].numpy().tolist() == [0]
    assert set(report.skipped) == {"wide", "words", "absent"} and set(report.left_out) == {"long"}
    assert "shape [1, 4]; it must be [None, 3]" in report.skipped["wide"] and "absent.csv" in report.skipped["absent"]
    with pytest.raises((TooManyBadExamples, tf.errors.OpError)):
        list(batches(asked, pairs, tools, Report("x", 2)))
    with pytest.raises(CorpusError, match="train the problem with the modality sensors on its corpus"):
        make_plan(asked, tools[0], 8, 16000)


def test_the_model_is_saved_with_its_declared_modality(made, tmp_path):
    network = made[0].build_model(description())
    network.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert type(loaded.sensors_in) is SensorInput and loaded.get_config() == network.get_config()
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    batch = {"modality": "sensors", "inputs": x, "command": "To-Gesture"}
    np.testing.assert_array_equal(np.asarray(loaded(batch)), np.asarray(network(batch)))
    factors = rate_factors(network, {"all": 0, "modality nets": 1})
    assert factors["sensors_in/map/kernel"] == 1 and factors["command_in/embedding"] == 0
    assert [path_below(v) for v in network.variables] == [path_below(v) for v in loaded.variables]


@pytest.mark.parametrize("inputs, targets", [("language", "text"), ("audio", "tree"), (("language", "image"), "tree")])
def test_words_in_trees_need_trees_of_one_text(inputs, targets):
    with pytest.raises(ValueError, match="x: words_in_trees requires trees of a single text"):
        Problem("x", None, inputs, targets, "To-X", words_in_trees=True)


@pytest.mark.parametrize("name", ["en-it", "2nd", "a/b", "späh", ""])
def test_the_name_of_a_problem_can_be_that_of_a_signature_and_a_folder(name):
    with pytest.raises(ValueError, match="The name of a problem is .*; it must consist of letters, digits and underscores"):
        Problem(name, None, "language", "text", "To-German")


def test_declarations_that_cannot_be_meant_are_refused(made):
    other = Modality("sensors", SensorInput, (None, 4), Arrays(read))
    problems = [Problem("a", None, SENSORS, "class", "c"), Problem("b", None, other, "class", "c")]
    with pytest.raises(RunError, match="Two modalities are called 'sensors'"):
        Experiment(problems, "v")
    with pytest.raises(RunError, match="the modality 'smells', which no problem of this configuration declares"):
        made[0].build_model(description() | {"inputs": ["smells"]})
    for name in ("Sensors", "command", "two words"):
        with pytest.raises(ValueError, match=f"A modality is named '{name}'"):
            Modality(name, SensorInput, (None, 3))
    with pytest.raises(ValueError, match="at least one dimension"):
        Modality("sensors", SensorInput, ())
    with pytest.raises(ValueError, match="p: the modality sensors has no features"):
        Problem("p", None, Modality("sensors", SensorInput, (None, 3)), "class", "c")
    with pytest.raises(ValueError, match=r"p: inputs is \('image',\); give a single modality by itself"):
        Problem("p", None, ("image",), "class", "c")
    with pytest.raises(ValueError, match="p: inputs is 'smell'; choose one of language, image, audio"):
        Problem("p", None, ("image", "smell"), "class", "c")
    with pytest.raises(ValueError, match="two modalities that are called 'image'"):
        MultiModel(9, ("c",), inputs=("image", Modality("image", SensorInput, (None, 3))), depth=8)
