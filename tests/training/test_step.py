"""Tests what the joint step sums, clips and distributes."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.layers.randomness import Dropout, of_replica
from t2t_mm.losses import problem_loss
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.training import step as step_module
from t2t_mm.training.optimizer import OfWholeBatch
from t2t_mm.training.step import TrainStep, split_batch

PROBLEMS = (
    Problem("one", None, "language", "text", "To-German"),
    Problem("two", None, "language", "tree", "To-Parse-Tree"),
)


def small_model(**settings):
    model = MultiModel(
        40,
        ("To-German", "To-Parse-Tree"),
        inputs=("language",),
        depth=16,
        mixer_blocks=1,
        decoder_blocks=1,
        attention_block=functools.partial(AttentionBlock, heads=2, convs=1),
        **{
            "encoder_blocks": 1,
            "conv_block": functools.partial(ConvBlock, dropout=0.0),
            "mixture": functools.partial(MixtureOfExperts, num_experts=3, chosen=2, hidden=8),
            **settings,
        },
    )
    model.build()
    return model


def batch(seed):
    rng = np.random.default_rng(seed)
    x, y = (tf.constant(rng.integers(3, 40, size=(4, 6)), tf.int32) for _ in range(2))
    none = tf.zeros([4, 6], tf.bool)
    return {"inputs": x, "input_padding": none, "targets": y, "target_padding": none}


SIGNATURE = {name: tf.TensorSpec([None, None], tf.bool if name.endswith("padding") else tf.int32) for name in batch(0)}


def step_of(
    strategy, model, optimizer, problems=PROBLEMS, weights=None, clip_norm=1e9, smoothing=0.0, balance=0.0, contrast=0.0
):
    return TrainStep(
        strategy, model, optimizer, problems, weights or {"one": 1.0, "two": 1.0}, clip_norm, smoothing, balance,
        {"one": SIGNATURE, "two": SIGNATURE}, contrast_weight=contrast,
    )  # fmt: skip


def test_cosines_are_those_of_the_gradients_on_the_weights_that_both_use():
    rng = np.random.default_rng(0)
    found = [
        {index: tf.constant(rng.normal(size=shape), tf.float32) for index, shape in shapes.items()}
        for shapes in ({0: (3, 2), 1: (4,), 2: (2, 2)}, {0: (3, 2), 1: (4,)}, {0: (3, 2), 2: (2, 2), 3: (5,)}, {3: (5,)})
    ]
    expected = []
    for a, b in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        common = sorted(found[a].keys() & found[b].keys())
        x, y = (np.concatenate([found[i][index].numpy().ravel() for index in common] or [[0.0]]) for i in (a, b))
        expected.append(x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-9))
    np.testing.assert_allclose(step_module._cosines(found), expected, atol=1e-6)
    assert expected[2] == 0 and abs(expected[0]) > 0.01


def test_gradients_of_weighted_losses_are_summed_and_clipped():
    model, batches = small_model(mixtures=False), {"one": batch(1), "two": batch(2)}  # no mixture, no noise
    before = [v.numpy().copy() for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss = sum(
            weight * problem_loss(model, problem, batches[problem.name], 0.0, 0.0, training=False)[0]
            for problem, weight in zip(PROBLEMS, (1.0, 3.0))
        )
    expected = tape.gradient(loss, [v.value for v in model.trainable_variables])
    expected = [np.zeros_like(b) if e is None else tf.convert_to_tensor(e).numpy() for e, b in zip(expected, before)]
    norm = np.sqrt(sum((g**2).sum() for g in expected))
    sgd = keras.optimizers.SGD(1.0)
    sgd.build(model.trainable_variables)
    step = step_of(tf.distribute.get_strategy(), model, sgd, weights={"one": 1.0, "two": 3.0}, clip_norm=0.5 * norm)
    figures, reported = step(batches)
    assert set(figures) == {"one", "two"}
    np.testing.assert_allclose(float(reported), norm, rtol=1e-4)
    for old, variable, gradient in zip(before, model.trainable_variables, expected):
        np.testing.assert_allclose(old - variable.numpy(), 0.5 * gradient, atol=1e-5)


def test_gradients_of_micro_batches_are_averaged(uncompiled):
    """With SGD, an update from two micro-batches is the mean of the updates from each."""
    ends, batches = [], [{"one": batch(1)}, {"one": batch(2), "two": batch(3)}]
    for given in (batches[:1], batches[1:], batches):
        keras.utils.set_random_seed(3)
        model = small_model(mixtures=False)
        sgd = keras.optimizers.SGD(1.0)
        sgd.build(model.trainable_variables)
        step = TrainStep(
            tf.distribute.get_strategy(), model, sgd, PROBLEMS, {"one": 1.0, "two": 1.0}, 1e9, 0.0, 0.0,
            {"one": SIGNATURE, "two": SIGNATURE}, accumulate=len(given),
        )  # fmt: skip
        figures, _ = step(given if len(given) > 1 else given[0])
        assert int(sgd.iterations) == 1
        ends.append([v.numpy() for v in model.trainable_variables] + [float(figures["one"]["loss"])])
    for first, second, both in zip(*ends):
        np.testing.assert_allclose(both, (first + second) / 2, atol=1e-5)


def test_metrics_of_micro_batches_are_averaged_and_finite_only_together():
    parts = [{"loss": 2.0, "load": [0.0, 1.0, 2.0], "finite": 1.0}, {"loss": 4.0, "load": [1.0, 2.0, 6.0], "finite": 0.0}]
    parts = [{"one": {name: tf.constant(value) for name, value in part.items()}} for part in parts]
    found = step_module._means([*parts, {"two": parts[0]["one"]}])
    assert {name: value.numpy().tolist() for name, value in found["one"].items()} == {
        "loss": 3.0, "load": [0.5, 1.5, 4.0], "finite": 0.0,
    }  # fmt: skip
    assert found["two"]["load"].numpy().tolist() == [0.0, 1.0, 2.0]


def test_a_loss_that_is_not_finite_changes_nothing_even_if_its_gradient_is_finite(monkeypatch):
    def infinite(*arguments, **settings):
        loss, figures = problem_loss(*arguments, **settings)
        return loss + np.inf, figures

    monkeypatch.setattr(step_module, "problem_loss", infinite)
    model = small_model(mixtures=False)
    before = [v.numpy().copy() for v in model.trainable_variables]
    sgd = keras.optimizers.SGD(1.0)
    sgd.build(model.trainable_variables)
    figures, norm = step_of(tf.distribute.get_strategy(), model, sgd, PROBLEMS[:1])({"one": batch(1)})
    assert figures["one"]["finite"] == 0 and 0 < float(norm) < np.inf
    for old, variable in zip(before, model.trainable_variables):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_each_problems_gradient_may_be_clipped_by_itself(uncompiled):
    """With SGD, an update is the sum of what each problem alone would do, however large the other's gradient is."""
    updates = []
    for names, weight in ((["one"], 1.0), (["two"], 1.0), (["one", "two"], 1.0), (["one", "two"], 50.0)):
        keras.utils.set_random_seed(3)
        model = small_model(mixtures=False)
        sgd = keras.optimizers.SGD(1.0)
        sgd.build(model.trainable_variables)
        step = TrainStep(
            tf.distribute.get_strategy(), model, sgd, PROBLEMS, {"one": 1.0, "two": weight}, 0.01, 0.0, 0.0,
            {"one": SIGNATURE, "two": SIGNATURE}, clip_each=True,
        )  # fmt: skip
        before = [v.numpy() for v in model.trainable_variables]
        step({name: batch(1 + (name == "two")) for name in names})
        updates.append(np.concatenate([(old - v.numpy()).ravel() for old, v in zip(before, model.trainable_variables)]))
    one, two, both, heavier = updates
    assert np.linalg.norm(one) == pytest.approx(0.01, rel=1e-2) == np.linalg.norm(two)
    np.testing.assert_allclose(both, one + two, atol=1e-6)
    np.testing.assert_allclose(heavier, both, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"smoothing": 0.3}, {"balance": 0.7}, {"contrast": 0.5}], ids=lambda given: next(iter(given))
)
def test_settings_of_the_loss_reach_the_gradients(settings, uncompiled):
    mixture = functools.partial(MixtureOfExperts, num_experts=3, chosen=2, hidden=8, gate_noise=False)
    model, batches = small_model(mixture=mixture), {"one": batch(1)}
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if variable.path.endswith("/gate"):
            variable.assign(rng.normal(size=variable.shape))
    before = [v.numpy().copy() for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        smoothing, balance, contrast = (settings.get(name, 0.0) for name in ("smoothing", "balance", "contrast"))
        loss, _ = problem_loss(model, PROBLEMS[0], batches["one"], smoothing, balance, training=False, contrast_weight=contrast)
    expected = tape.gradient(loss, [v.value for v in model.trainable_variables])
    sgd = keras.optimizers.SGD(1.0)
    sgd.build(model.trainable_variables)
    step_of(tf.distribute.get_strategy(), model, sgd, PROBLEMS[:1], **settings)(batches)
    for old, variable, gradient in zip(before, model.trainable_variables, expected):
        gradient = 0.0 if gradient is None else tf.convert_to_tensor(gradient).numpy()
        np.testing.assert_allclose(old - variable.numpy(), gradient, atol=1e-5, err_msg=variable.path)


def test_only_the_problems_with_texts_share_the_function_with_a_contrast():
    """The second problem has trees, and without a contrast the same function."""
    model, batches = small_model(), {"one": batch(1), "two": batch(2)}
    for contrast in (0.0, 0.5):
        adam = keras.optimizers.Adam(1e-2)
        adam.build(model.trainable_variables)
        step = step_of(tf.distribute.get_strategy(), model, adam, contrast=contrast)
        assert (step.functions["one"] is step.functions["two"]) == (not contrast)
    figures, _ = step(batches)
    assert "contrast_loss" in figures["one"] and "contrast_loss" not in figures["two"]


def test_loss_falls_for_every_problem():
    model, batches = small_model(), {"one": batch(1), "two": batch(2)}
    adam = keras.optimizers.Adam(1e-2)
    adam.build(model.trainable_variables)
    step = step_of(tf.distribute.get_strategy(), model, adam)
    first, _ = step(batches)
    for _ in range(60):
        last, _ = step(batches)
    for name in ("one", "two"):
        assert float(last[name]["loss"]) < 0.7 * float(first[name]["loss"])


@pytest.mark.parametrize("names", [["one"], ["two"]])
def test_any_subset_of_problems_trains(names):
    model = small_model()
    sgd = keras.optimizers.SGD(0.1)
    sgd.build(model.trainable_variables)
    problems = [problem for problem in PROBLEMS if problem.name in names]
    figures, _ = step_of(tf.distribute.get_strategy(), model, sgd, problems)({name: batch(1) for name in names})
    assert list(figures) == names


def test_a_batch_is_shared_out_whole():
    assert split_batch(tf.distribute.get_strategy(), {"one": batch(1)})["one"]["inputs"].shape == (4, 6)


@functools.cache  # a second one would use the same keys for other collective operations
def mirrored():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(devices) < 2:
        pytest.fail("tests/conftest.py must make two CPU devices before TensorFlow starts")
    return tf.distribute.MirroredStrategy([name.replace("/device:", "") for name in devices[:2]])


class WholeBatchSGD(OfWholeBatch, keras.optimizers.SGD):
    pass


def test_replicas_draw_other_masks_each_and_the_first_those_of_one_device():
    found = []
    for strategy in (tf.distribute.get_strategy(), mirrored()):
        keras.utils.set_random_seed(3)
        with strategy.scope():
            dropout = Dropout(0.5)

        @tf.function(autograph=False)
        def draw():
            def replica():
                context = tf.distribute.get_replica_context()
                with of_replica(context.replica_id_in_sync_group if context.num_replicas_in_sync > 1 else None):
                    return dropout(tf.ones([64]), training=True)

            return strategy.experimental_local_results(strategy.run(replica))

        found.append([[mask.numpy() for mask in draw()] for _ in range(2)])
    (alone, alone_later), ((first, second), (first_later, second_later)) = ([m for (m,) in found[0]]), found[1]
    np.testing.assert_array_equal(first, alone)
    np.testing.assert_array_equal(first_later, alone_later)
    for one, other in ((first, second), (first_later, second_later), (first, first_later), (second, second_later)):
        assert 0.2 < np.mean(one != other) < 0.8


def test_a_step_draws_by_replica(monkeypatch):
    """Equal halves of a batch, dropped out alike or not: the losses tell."""
    batches = {"one": {name: tf.concat([part[:2], part[:2]], 0) for name, part in batch(1).items()}}
    losses = []
    for context in (step_module.of_replica, lambda index: contextlib.nullcontext()):
        monkeypatch.setattr(step_module, "of_replica", context)
        keras.utils.set_random_seed(3)
        strategy = mirrored()
        with strategy.scope():
            model = small_model(mixtures=False, conv_block=functools.partial(ConvBlock, dropout=0.5))
            sgd = WholeBatchSGD(1.0)
            sgd.build(model.trainable_variables)
        figures, _ = step_of(strategy, model, sgd, PROBLEMS[:1])(split_batch(strategy, batches))
        losses.append(float(figures["one"]["loss"]))
    assert abs(losses[0] - losses[1]) > 1e-4


def test_two_replicas_are_one_large_batch():
    """With unequal padding in the halves, so that a mean of the replicas' means would be wrong."""
    batches = {"one": batch(1), "two": batch(2)}
    padded = np.zeros([4, 6], bool)
    padded[2:, 2:] = True
    for part in batches.values():
        part["target_padding"] = tf.constant(padded)
    results = []
    for strategy in (tf.distribute.get_strategy(), mirrored()):
        keras.utils.set_random_seed(3)
        with strategy.scope():
            model = small_model(mixtures=False)
            sgd = WholeBatchSGD(1.0)
            sgd.build(model.trainable_variables)
        step = step_of(strategy, model, sgd, clip_norm=0.5)
        figures, norm = step(split_batch(strategy, batches))
        results.append((model, figures, norm))
    (single, figures, norm), (double, figures2, norm2) = results
    np.testing.assert_allclose(float(norm), float(norm2), rtol=1e-4)
    for name in figures:
        np.testing.assert_allclose(float(figures[name]["loss"]), float(figures2[name]["loss"]), rtol=1e-5)
    for one, two in zip(single.trainable_variables, double.trainable_variables):
        np.testing.assert_allclose(one.numpy(), two.numpy(), atol=1e-5)


def test_balancing_losses_of_replicas_are_those_of_the_whole():
    found = []
    for strategy in (tf.distribute.get_strategy(), mirrored()):
        keras.utils.set_random_seed(3)
        with strategy.scope():
            model = small_model()
            for layer in (model.encoder.mixture.mixture, model.decoder.mixture.mixture):
                layer.gate.assign(np.random.default_rng(0).normal(size=layer.gate.shape))
                layer.noise.assign(np.full(layer.noise.shape, 0.0))
            figures = _balance(strategy, model, batch(1))
        found.append(figures)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def _balance(strategy, model, whole):
    """Both balancing losses without gate noise, on however many replicas."""

    def replica(part):
        mean = lambda x: x  # noqa: E731
        if strategy.num_replicas_in_sync > 1:
            context = tf.distribute.get_replica_context()
            mean = lambda x: context.all_reduce(tf.distribute.ReduceOp.MEAN, x)  # noqa: E731
        _, figures = problem_loss(model, PROBLEMS[0], part, 0.0, 0.1, training=False, mean=mean)
        return figures["importance_loss"], figures["load_loss"]

    losses = tf.function(lambda part: strategy.run(replica, args=(part,)))(split_batch(strategy, whole))
    return [float(strategy.reduce(tf.distribute.ReduceOp.MEAN, loss, axis=None)) for loss in losses]


def test_batch_norm_of_the_class_head_is_that_of_the_whole_batch():
    x = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")
    none = np.zeros((4, 6), bool)
    results = []
    for strategy in (tf.distribute.get_strategy(), mirrored()):
        keras.utils.set_random_seed(3)
        with strategy.scope():
            head = CategoricalOutput({"labels": 3}, widths=(8, 8))
            head.build((None, None, 8))

        def replica(part):
            return head(part["x"], part["padding"], labels="labels", training=True)

        parts = split_batch(strategy, {"x": tf.constant(x), "padding": tf.constant(none)})
        logits = strategy.experimental_local_results(tf.function(lambda p: strategy.run(replica, args=(p,)))(parts))
        results.append((np.concatenate([part.numpy() for part in logits]), head.batch_norm.moving_variance.numpy()))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-4)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4)


def test_graphs_stay_small():
    """A block more costs its weights and two calls of what is traced once: a bound that growth would break."""
    sizes = []
    for blocks in (2, 4):
        model = small_model(conv_block=ConvBlock, encoder_blocks=blocks)
        sgd = keras.optimizers.SGD(1.0)
        sgd.build(model.trainable_variables)
        step = step_of(tf.distribute.get_strategy(), model, sgd, PROBLEMS[:1])
        graph = step.functions["one"].get_concrete_function().graph.as_graph_def()
        sizes.append((len(graph.node), sum(len(part.node_def) for part in graph.library.function)))
    (nodes, in_functions), (more_nodes, more_in_functions) = sizes
    assert nodes < 2600 and in_functions < 4600, sizes
    assert more_nodes - nodes < 2 * 80 and more_in_functions == in_functions, sizes


def test_problems_computed_at_once_give_the_run_of_one_after_the_other():
    runs = []
    for at_once in (1, 2):
        keras.utils.set_random_seed(3)
        model = small_model(conv_block=functools.partial(ConvBlock, dropout=0.3))
        adam = keras.optimizers.Adam(1e-2)
        adam.build(model.trainable_variables)
        step = TrainStep(
            tf.distribute.get_strategy(), model, adam, PROBLEMS, {"one": 1.0, "two": 1.0}, 1.0, 0.0, 0.01,
            {"one": SIGNATURE, "two": SIGNATURE}, at_once=at_once,
        )  # fmt: skip
        batches = {"one": batch(1), "two": batch(2)}
        runs.append([[float(figures[name]["loss"]) for name in batches] for figures, _ in (step(batches) for _ in range(4))])
    assert runs[0] == runs[1]
    assert len({loss for losses in runs[0] for loss in losses}) == 8
