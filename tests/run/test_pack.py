"""Tests packed models: half the size, loadable like a run, usable to start another run, but not trainable."""

import os
import shutil
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.common import checkpoint_flags
from t2t_mm.common.errors import RunError
from t2t_mm.common.files import size_on_disk
from t2t_mm.input.vocabulary import build_vocabulary
from t2t_mm.run.checkpoints import Checkpoints
from t2t_mm.run.folder import all_variables, load_trained, weights_of
from t2t_mm.run.pack import pack
from t2t_mm.run.weights import Weights
from t2t_mm.training.settings import Optimizer
from tests.training import tiny_run

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a vocabulary, a run of two steps, and the run packed."""
    path = str(tmp_path_factory.mktemp("pack"))
    build_vocabulary(list(tiny_run.PROBLEMS), os.path.join(path, "vocabulary.model"), size=310)
    tiny_run.train(path, "run", steps=2)
    pack(tiny_run.experiment(path), os.path.join(path, "run"), os.path.join(path, "packed"))
    return path


def test_a_packed_model_is_the_run_s_with_its_matrices_rounded(folder):
    whole, description, state = load_trained(tiny_run.experiment(folder), os.path.join(folder, "run"))
    packed, of_packed, state_of_packed = load_trained(tiny_run.experiment(folder), os.path.join(folder, "packed"))
    assert state_of_packed == state and of_packed == description | {"packed": "bfloat16"}
    rounded = 0
    for one, other in zip(whole.weights, packed.weights, strict=True):
        one, other = one.numpy(), other.numpy()
        assert one.dtype == other.dtype
        if one.ndim > 1:
            rounded += int(np.any(one != other))
            np.testing.assert_array_equal(np.asarray(tf.cast(tf.cast(one, tf.bfloat16), one.dtype)), other)
        else:
            np.testing.assert_array_equal(one, other)
    assert rounded


def test_a_packed_model_is_far_smaller_than_the_run(folder):
    packed, whole = (size_on_disk(os.path.join(folder, name, "checkpoints")) for name in ("packed", "run"))
    assert packed < 0.25 * whole


def test_float32_loses_nothing(folder):
    pack(tiny_run.experiment(folder), os.path.join(folder, "run"), os.path.join(folder, "exact"), "float32")
    whole, exact = (load_trained(tiny_run.experiment(folder), os.path.join(folder, name))[0] for name in ("run", "exact"))
    for one, other in zip(whole.weights, exact.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("selected", [{"best": True}, {"step": 1}, {"average": 2}, {"moving_average": True}])
def test_what_the_configuration_of_the_run_selects_was_selected_by_packing(folder, selected):
    made, packed = tiny_run.experiment(folder), os.path.join(folder, "packed")
    plain = load_trained(made, packed)[0]
    found, _, state = load_trained(made.with_weights(Weights(**selected)), packed)
    assert state["step"] == 2
    for one, other in zip(plain.weights, found.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_flags_that_select_another_checkpoint_than_the_packed_one_are_refused(folder, monkeypatch):
    made, packed = tiny_run.experiment(folder), os.path.join(folder, "packed")

    def chosen(best, step, model_dir):
        monkeypatch.setattr(checkpoint_flags.flags, "FLAGS", types.SimpleNamespace(best=best, step=step))
        return checkpoint_flags.chosen(made, model_dir).weights

    with pytest.raises(RunError, match="holds a packed model.*drop --best"):
        chosen(True, None, packed)
    with pytest.raises(RunError, match="no checkpoint of step 1; there are checkpoints of the steps 2"):
        chosen(None, 1, packed)
    assert chosen(None, 2, packed) == Weights(step=2) and chosen(False, None, packed) == Weights()
    assert chosen(True, None, os.path.join(folder, "run")) == Weights(best=True)


class Counting:
    """A network with a weight that is no floating-point number, as nets of custom modalities may have, and random states."""

    def __init__(self, value, generators):
        layers = [keras.layers.Dropout(0.5) for _ in range(generators)]
        states = [state for layer in layers for state in layer.variables]
        self.weight, self.count = (keras.Variable([[value, 1.0]]), keras.Variable(int(value), dtype="int64"))
        self.variables = [*states, self.weight, self.count]


def test_a_counter_is_a_weight_and_a_random_state_is_none(folder, tmp_path):
    for name in ("model.json", "config.gin", "vocabulary.model"):
        shutil.copy(os.path.join(folder, "run", name), tmp_path)
    done, seconds = tf.Variable(1, dtype=tf.int64), tf.Variable(1.0, dtype=tf.float64)
    trained = tf.train.Checkpoint(variables=all_variables(Counting(7.0, 2)), done=done, seconds=seconds)
    Checkpoints(trained, str(tmp_path)).save(1)
    loaded = Counting(1.0, 1)
    made = tiny_run.experiment(folder)
    made.build_model = lambda description: loaded
    pack(made, str(tmp_path), str(tmp_path / "packed"))
    assert int(loaded.count) == 7 and float(loaded.weight[0, 0]) == 7
    loaded = Counting(2.0, 3)
    load_trained(made, str(tmp_path / "packed"))
    assert int(loaded.count) == 7 and float(loaded.weight[0, 0]) == 7


def test_a_run_starts_from_a_packed_model_and_does_not_go_on_in_its_folder(folder):
    with pytest.raises(RunError, match="holds a packed model.*--init_from="):
        tiny_run.train(folder, "packed", steps=3)
    packed, *_ = load_trained(tiny_run.experiment(folder), os.path.join(folder, "packed"))
    still = Optimizer(rates={"all": 0, "language_out": 1e-30})
    started = tiny_run.train(folder, "started", steps=1, init_from=os.path.join(folder, "packed"), optimizer=still)
    for one, other in zip(weights_of(packed), weights_of(started), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-20)


def test_nothing_is_written_over(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="is not empty"):
        pack(tiny_run.experiment(folder), os.path.join(folder, "run"), str(tmp_path))
    assert os.listdir(tmp_path) == ["mine.txt"]
    (tmp_path / "mine.txt").unlink()
    pack(tiny_run.experiment(folder), os.path.join(folder, "run"), str(tmp_path))
    assert os.path.isfile(tmp_path / "model.json") and not [name for name in os.listdir(tmp_path.parent) if "packing" in name]
