"""Tests which weights a run takes over from another one, which are new or dropped, and which runs are rejected."""

import dataclasses
import functools
import os
import re

import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.common.description import load_description
from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example
from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.input.vocabulary import build_vocabulary
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.problem import Problem
from t2t_mm.run.folder import load_trained
from t2t_mm.training import loop
from t2t_mm.training.schedule import InverseSquareRoot
from t2t_mm.training.settings import Optimizer
from tests.training import tiny_run

CAPITALS, REVERSAL = tiny_run.PROBLEMS


pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a vocabulary and a joint run of two steps."""
    path = str(tmp_path_factory.mktemp("init_from"))
    build_vocabulary(list(tiny_run.PROBLEMS), os.path.join(path, "vocabulary.model"), size=310)
    train(path, "joint", tiny_run.PROBLEMS, 2)
    return path


def experiment(folder, problems, vocabulary="vocabulary.model", model=tiny_run.tiny_model):
    batches = BatchSettings(positions=128, shuffle=8, max_length=64)
    return Experiment(problems, os.path.join(folder, vocabulary), model, batches)


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


class Kinds:
    """Which animal a sentence is about: classes."""

    def __init__(self, *names):
        self._names = sorted(names)

    def class_names(self):
        return self._names

    def examples(self, split, report):
        found = [(line, name) for line in tiny_run.ENGLISH for name in self._names if f" {name} sees" in line]
        return [Example(line, self._names.index(name), f"kinds:{line}") for line, name in found]


def kinds(*names):
    return Problem("kinds", Kinds(*names), "language", "class", "To-Kind")


def pieces(folder, vocabulary):
    processor = Tokenizer(os.path.join(folder, vocabulary)).processor
    return [processor.IdToPiece(index) for index in range(processor.vocab_size())]


STILL = functools.partial(InverseSquareRoot, 1e-30, 5)  # a step that moves nothing


def by_path(network):
    return {variable.path.split("/", 1)[1]: variable.numpy() for variable in network.variables}


def start_from(folder, name, start, problems, caplog, vocabulary="vocabulary.model", model=tiny_run.tiny_model):
    """A run of a step that moves nothing -> its weights by path, and the report."""
    made = experiment(folder, problems, vocabulary, model)
    caplog.set_level("INFO", logger="absl")
    caplog.clear()
    network = loop.train(
        made, os.path.join(folder, name), 1, schedule=STILL, init_from=os.path.join(folder, start),
        seed=len(name),  # another one's initial weights
    )  # fmt: skip
    found = re.search(r"  kept: +(.*)\n.*  new: +(.*)\n.*  dropped: +(.*)\n", caplog.text)
    assert caplog.text.index("  dropped:") < caplog.text.index("step 1/1")
    return network, by_path(network), found.groups()


def test_the_dropout_may_be_another(folder):
    """It determines how many states of random numbers the model has besides its weights."""
    joint, _, _ = load_trained(experiment(folder, tiny_run.PROBLEMS), os.path.join(folder, "joint"))
    still = functools.partial(InverseSquareRoot, 1e-30, 5)
    made = experiment(
        folder, [REVERSAL], model=functools.partial(tiny_run.tiny_model, conv_block=functools.partial(ConvBlock, dropout=0.0))
    )
    one = loop.train(made, os.path.join(folder, "dry"), 1, schedule=still, init_from=os.path.join(folder, "joint"))
    assert len(one.variables) < len(joint.variables) and same(weights(one), weights(joint))


def test_a_new_command_and_new_classes_join_what_is_kept(folder, caplog):
    joint, _, _ = load_trained(experiment(folder, tiny_run.PROBLEMS), os.path.join(folder, "joint"))
    before = by_path(joint)
    latin = dataclasses.replace(REVERSAL, name="latin", command="To-Latin")
    network, now, (kept, new, dropped) = start_from(folder, "latin", "joint", [latin, kinds("cat", "dog")], caplog)
    assert network.commands == ("To-Capitals", "To-Kind", "To-Latin", "To-Reverse")
    rows = now["command_in/embedding"]
    np.testing.assert_array_equal(rows[[0, 3]], before["command_in/embedding"])
    assert np.abs(rows[[1, 2]]).min(axis=1).max() > 0
    for path in before:
        if not path.startswith("command_in") and "seed" not in path:
            np.testing.assert_array_equal(now[path], before[path], err_msg=path)
    assert kept == "language_in; command_in; encoder; mixer; decoder; language_out"
    assert new == "categorical_out; commands To-Kind, To-Latin" and dropped == "nothing"

    # Then other classes: those of one name keep their column.
    _, then, (kept, new, dropped) = start_from(folder, "birds_only", "latin", [kinds("bird", "dog")], caplog)
    old, columns = now["categorical_out/kinds/kernel"], then["categorical_out/kinds/kernel"]
    np.testing.assert_array_equal(columns[:, 1], old[:, 1])  # dog
    assert not np.array_equal(columns[:, 0], old[:, 0])
    assert "1 of 2 classes of kinds" in kept and new == "classes of kinds bird" and dropped == "classes of kinds cat"
    # A label set more.
    more = Problem("more", Kinds("bird", "cat", "dog"), "language", "class", "To-Kind")
    _, last, (_, new, _) = start_from(folder, "more", "birds_only", [more], caplog)
    np.testing.assert_array_equal(last["categorical_out/kinds/kernel"], columns)
    flow = [path for path in then if path.startswith("categorical_out/h5/")]
    assert flow and all(np.allclose(last[path], then[path], rtol=0, atol=1e-20) for path in flow)
    assert new == "label set more"


def test_rows_of_a_larger_vocabulary_are_kept_by_piece(folder, caplog):
    joint, _, _ = load_trained(experiment(folder, tiny_run.PROBLEMS), os.path.join(folder, "joint"))
    before = by_path(joint)
    build_vocabulary([REVERSAL], os.path.join(folder, "larger.model"), size=330)
    old, new = pieces(folder, "vocabulary.model"), pieces(folder, "larger.model")
    common = [piece for piece in new if piece in old]
    assert 270 < len(common) < 310 < len(new) and [old.index(p) for p in common] != [new.index(p) for p in common]
    _, now, (kept, came, went) = start_from(folder, "larger", "joint", [REVERSAL], caplog, "larger.model")
    for path, axis in (("language_in/embedding", 0), ("language_out/kernel", 1)):
        mine, theirs = np.moveaxis(now[path], axis, 0), np.moveaxis(before[path], axis, 0)
        np.testing.assert_array_equal(
            mine[[new.index(p) for p in common]], theirs[[old.index(p) for p in common]], err_msg=path
        )
        assert len(mine) == 330 and np.abs(mine).max(axis=1).min() > 0
    assert f"{len(common)} of 310 pieces of the vocabulary" in kept
    assert came == f"{330 - len(common)} pieces of the vocabulary"
    assert went == f"{310 - len(common)} pieces of the vocabulary"
    # The run is whole: it goes on, and is loaded with its own vocabulary.
    train(folder, "larger", [REVERSAL], 2, "larger.model", init_from=os.path.join(folder, "joint"))
    _, _, state = load_trained(experiment(folder, [REVERSAL], "larger.model"), os.path.join(folder, "larger"))
    assert state["step"] == 2


def with_experts(count, depth=8):
    mixture = functools.partial(MixtureOfExperts, num_experts=count, chosen=2, hidden=8)
    return functools.partial(tiny_run.tiny_model, mixture=mixture, depth=depth)


def test_experts_come_and_go(folder, caplog):
    joint, _, _ = load_trained(experiment(folder, tiny_run.PROBLEMS), os.path.join(folder, "joint"))
    before = by_path(joint)
    _, more, (kept, new, dropped) = start_from(folder, "five", "joint", [REVERSAL], caplog, model=with_experts(5))
    for name, axis in (("gate", 1), ("noise", 1), ("expert_in", 0), ("expert_out", 0)):
        path = f"decoder/middle/mixture/{name}"
        assert more[path].shape[axis] == 5
        np.testing.assert_array_equal(np.moveaxis(more[path], axis, 0)[:3], np.moveaxis(before[path], axis, 0))
    assert new == "experts of the encoder number 4, number 5; experts of the decoder number 4, number 5"
    assert dropped == "nothing"
    _, fewer, (kept, new, dropped) = start_from(folder, "three", "five", [REVERSAL], caplog, model=with_experts(3))
    np.testing.assert_array_equal(fewer["encoder/middle/mixture/expert_in"], before["encoder/middle/mixture/expert_in"])
    assert "3 of 5 experts of the encoder" in kept and new == "nothing" and "number 4, number 5" in dropped


def test_what_cannot_match_is_one_line(folder):
    start = os.path.join(folder, "joint")
    for name, model, message in (
        ("deep", with_experts(3, depth=16), r"joint: \w+\S* has the shape \(\d+, 8.*\) there and .*16.* here, so this"),
        ("blocks", functools.partial(tiny_run.tiny_model, encoder_blocks=2), "has other layers than this configuration"),
    ):
        made = experiment(folder, [REVERSAL], model=model)
        with pytest.raises(RunError, match=message) as refused:
            loop.train(made, os.path.join(folder, name), 1, schedule=STILL, init_from=start)
        assert "\n" not in str(refused.value) and not os.path.exists(os.path.join(folder, name))
    with pytest.raises(RunError, match="holds no trained model"):
        train(folder, "nothing", [REVERSAL], 1, init_from=os.path.join(folder, "nowhere"))


def test_frozen_parts_do_not_move_and_others_learn_at_their_rate(folder, caplog):
    caplog.set_level("INFO", logger="absl")
    start = os.path.join(folder, "joint")
    joint, _, _ = load_trained(experiment(folder, tiny_run.PROBLEMS), start)
    before, rates = by_path(joint), {"encoder": 0, "modality nets": 0, "language_out": 1, "mixer": 0.1}
    tuned = train(folder, "frozen", [REVERSAL], 2, init_from=start, optimizer=Optimizer(rates=rates))
    assert "Frozen: language_in, encoder\n" in caplog.text and "Learning rate × 0.1: mixer\n" in caplog.text
    now = by_path(tuned)
    moved = {path for path in before if not np.array_equal(now[path], before[path])}
    assert not [path for path in moved if path.startswith(("encoder/", "language_in/"))]
    assert {path.split("/")[0] for path in moved} >= {"mixer", "decoder", "language_out"}
    # Adam holds no moments for what is frozen, and the run goes on with it alone.
    newest = os.path.join(folder, "frozen", "checkpoints", "ckpt-2")
    moments = [shape for key, shape in tf.train.list_variables(newest) if "_momentums" in key or "optimizer" in key]
    assert before["language_in/embedding"].shape not in [tuple(shape) for shape in moments if len(shape) > 1]
    train(folder, "frozen", [REVERSAL], 3, init_from=start, optimizer=Optimizer(rates=rates))
    with pytest.raises(RunError, match="ckpt-3: .* weights were frozen and are not now"):
        train(folder, "frozen", [REVERSAL], 4, init_from=start)
    misspelt = {"encodr": "encoder", "encoder/blok1": "encoder/block1", "modality net": "'modality nets'"}
    for name, close in misspelt.items():
        expected = (
            rf"rates names '{name}', which is not a part of this model \(did you mean {close}.*\). Its parts are language_in"
        )
        with pytest.raises(RunError, match=expected):
            train(folder, "misspelt", [REVERSAL], 1, optimizer=Optimizer(rates={name: 0}))
    with pytest.raises(RunError, match="freezes the whole model"):
        train(folder, "nothing left", [REVERSAL], 1, optimizer=Optimizer(rates={"all": 0}))
