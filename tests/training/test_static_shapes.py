"""Tests batches with static shapes: one per bucket, the same figures, and a step that XLA compiles."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.corpora.example import Report
from t2t_mm.evaluation.evaluate import TeacherForced
from t2t_mm.input.buckets import BatchSettings, bucket_shapes
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.pipeline import load_examples, make_batches
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.input.vocabulary import build_vocabulary
from t2t_mm.training.step import TrainStep
from tests.training import tiny_run

SETTINGS = BatchSettings(positions=96, shuffle=8, max_length=48, static_shapes=True)
PROBLEM = tiny_run.PROBLEMS[0]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("static") / "vocabulary.model")
    build_vocabulary(list(tiny_run.PROBLEMS), path, size=310)
    return Tokenizer(path)


@pytest.fixture(scope="module")
def model(tokenizer):
    return made(tokenizer)


def made(tokenizer):
    keras.utils.set_random_seed(3)
    commands = sorted(problem.command for problem in tiny_run.PROBLEMS)
    model = tiny_run.tiny_model(noise=False, vocabulary_size=tokenizer.size, commands=commands, inputs=("language",))
    model.build()
    return model


def batches(tokenizer, settings, training):
    report = Report(PROBLEM.name)
    examples = load_examples(PROBLEM, "dev", report)[:11]  # not a multiple of a batch
    return make_batches(PROBLEM, examples, tokenizer, AudioFeatures(), settings, report, training)


def test_there_are_as_many_shapes_as_buckets(tokenizer):
    known = {(size, bound) for bound, size in bucket_shapes(PROBLEM, SETTINGS)}
    for batch in batches(tokenizer, SETTINGS, training=True).take(30):
        assert tuple(batch["inputs"].shape) == tuple(batch["targets"].shape) and tuple(batch["inputs"].shape) in known
    indices = []
    for batch in batches(tokenizer, SETTINGS, training=False):
        assert tuple(batch["targets"].shape) in known
        filled = batch["index"].numpy() < 0
        assert batch["target_padding"].numpy()[filled].all() and batch["input_padding"].numpy()[filled].all()
        indices += list(batch["index"].numpy()[~filled])
    assert sorted(indices) == list(range(11))


@pytest.mark.usefixtures("uncompiled")
def test_rows_that_fill_a_batch_do_not_count(tokenizer, model):
    found = [
        TeacherForced(model)(PROBLEM, batches(tokenizer, settings, training=False))
        for settings in (SETTINGS, dataclasses.replace(SETTINGS, static_shapes=False))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def random_batch(size, length):
    """The last position is padding."""
    rng = np.random.default_rng(length)
    ids = {name: rng.integers(3, 300, size=(size, length)).astype("int32") for name in ("inputs", "targets")}
    for values in ids.values():
        values[:, -1] = 0
    padding = {"input_padding": ids["inputs"] == 0, "target_padding": ids["targets"] == 0}
    return {name: tf.constant(value) for name, value in {**ids, **padding, "index": np.arange(size)}.items()}


def test_xla_compiles_each_shape_once_to_the_same_step(tokenizer, model):
    spec = batches(tokenizer, SETTINGS, training=True).element_spec
    wanted = [random_batch(size, bound) for bound, size in bucket_shapes(PROBLEM, SETTINGS)[:2]]
    results = []
    for jit_compile in (False, True):
        network = made(tokenizer)
        sgd = keras.optimizers.SGD(0.1)
        sgd.build(network.trainable_variables)
        step = TrainStep(
            tf.distribute.get_strategy(), network, sgd, [PROBLEM], {PROBLEM.name: 1.0}, 1.0, 0.1, 0.01,
            {PROBLEM.name: spec}, static_shapes=True, jit_compile=jit_compile,
        )  # fmt: skip
        if not jit_compile:
            tf.config.run_functions_eagerly(True)
        losses = [float(step({PROBLEM.name: batch})[0][PROBLEM.name]["loss"]) for batch in wanted * 2]
        tf.config.run_functions_eagerly(False)
        results.append(losses)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4)
    assert step.functions[PROBLEM.name].experimental_get_tracing_count() == len(wanted)
