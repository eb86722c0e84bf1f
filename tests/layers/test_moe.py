"""Compares the mixture-of-experts with Shazeer et al. 2017, computed expert by expert in plain NumPy."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from t2t_mm.layers.moe import MixtureOfExperts, dispatch_to_blocks, squared_variation


def as_numpy(x):
    return np.asarray(x, np.float64)


def make(seed=0, **settings):
    layer = MixtureOfExperts(**{"num_experts": 6, "chosen": 2, "hidden": 5, "block_size": 4, **settings})
    layer.build((None, None, 4))
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape).astype("float32"))
    return layer


def by_hand(tokens, layer):
    """y, importance and load of the layer without noise, token by token."""
    gate, noise = as_numpy(layer.gate), as_numpy(layer.noise)
    expert_in, expert_out = as_numpy(layer.expert_in), as_numpy(layer.expert_out)
    k, experts = layer.chosen, layer.num_experts
    y, importance, load = np.zeros_like(tokens), np.zeros(experts), np.zeros(experts)
    for n, x in enumerate(tokens):
        h = x @ gate
        order = np.argsort(-h)
        weights = np.exp(h[order[:k]] - h[order[0]])
        weights /= weights.sum()
        for weight, e in zip(weights, order[:k]):
            y[n] += weight * (np.maximum(x @ expert_in[e], 0) @ expert_out[e])
            importance[e] += weight
        for e in range(experts):
            others = np.sort(np.delete(h, e))[::-1]
            spread = math.log1p(math.exp(x @ noise[:, e]))
            load[e] += 0.5 * (1 + math.erf((h[e] - others[k - 1]) / spread / math.sqrt(2)))
    return y, importance, load


def test_output_and_both_balancing_losses():
    layer = make()
    x = np.random.default_rng(1).normal(size=(3, 5, 4)).astype("float32")
    padding = np.zeros((3, 5), bool)
    padding[1, 3:] = True
    y, balance = layer(x, padding)
    expected, importance, load = by_hand(x[~padding].astype("float64"), layer)
    np.testing.assert_allclose(as_numpy(y)[~padding], expected, atol=1e-4)
    np.testing.assert_array_equal(as_numpy(y)[padding], 0)
    np.testing.assert_allclose(as_numpy(balance["importance"]), importance, atol=1e-4)
    np.testing.assert_allclose(as_numpy(balance["load"]), load, atol=1e-4)
    for name, vector in (("importance", importance), ("load", load)):
        np.testing.assert_allclose(float(squared_variation(balance[name])), vector.var() / vector.mean() ** 2, rtol=1e-3)


def test_no_token_is_dropped_when_all_choose_the_same_experts():
    layer = make()
    layer.gate.assign(np.tile(np.arange(6.0, dtype="float32"), (4, 1)))
    x = np.abs(np.random.default_rng(1).normal(size=(1, 50, 4))).astype("float32")
    y, _ = layer(x, np.zeros((1, 50), bool))
    np.testing.assert_allclose(as_numpy(y)[0], by_hand(x[0].astype("float64"), layer)[0], atol=1e-3)


def test_a_token_does_not_depend_on_its_neighbours():
    layer = make()
    x = np.random.default_rng(1).normal(size=(4, 9, 4)).astype("float32")
    together = as_numpy(layer(x, np.zeros((4, 9), bool))[0])
    alone = as_numpy(layer(x[2:3, :3], np.zeros((1, 3), bool))[0])
    np.testing.assert_allclose(together[2, :3], alone[0], atol=1e-5)


def test_noise_in_training_only():
    layer = make()
    x, padding = np.random.default_rng(1).normal(size=(2, 9, 4)).astype("float32"), np.zeros((2, 9), bool)
    np.testing.assert_array_equal(as_numpy(layer(x, padding)[0]), as_numpy(layer(x, padding)[0]))
    first, second = (as_numpy(layer(x, padding, training=True)[0]) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


def test_equal_tokens_get_noise_of_their_own():
    """Twenty times the same token: each of its places chooses for itself, in every example."""
    layer = make(num_experts=12, chosen=2)
    layer.gate.assign(np.zeros(layer.gate.shape, "float32"))
    tokens, valid = np.ones((20, 4), "float32"), np.ones(20, bool)
    _, experts, _ = layer.gating(ops.array(tokens), ops.array(valid), training=True)
    choices = {tuple(sorted(row)) for row in as_numpy(experts).tolist()}
    assert len(choices) >= 8, "of 66 pairs twenty draws take some 17"
    _, experts, _ = layer.gating(ops.array(tokens), ops.array(valid), training=False)
    assert len({tuple(row) for row in as_numpy(experts).tolist()}) == 1


@pytest.mark.parametrize("block_size", [1, 3, 32])
def test_dispatch_gives_every_assignment_a_row_of_its_own_in_a_block_of_its_expert(block_size):
    rng = np.random.default_rng(0)
    experts = rng.integers(0, 5, size=40).astype("int32")
    experts[experts == 3] = 0  # one expert gets nothing
    valid = rng.random(40) > 0.2
    slots, blocks = (np.asarray(x) for x in dispatch_to_blocks(ops.array(experts), ops.array(valid), 5, block_size))
    assert len(set(slots[valid])) == valid.sum()
    np.testing.assert_array_equal(blocks[slots[valid] // block_size], experts[valid])
    np.testing.assert_array_equal(slots[~valid], len(blocks) * block_size)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces unknown lengths")
@pytest.mark.parametrize("gate", ["spread", "all alike"])
def test_unknown_lengths_change_nothing(gate):
    """Where the shapes are open, tokens are grouped by expert, or in blocks where a few experts have most of them."""
    import tensorflow as tf

    layer = make(chosen=1, num_experts=12)
    rng = np.random.default_rng(2)
    alike = np.tile(np.arange(12.0, dtype="float32"), (4, 1))
    layer.gate.assign(alike if gate == "all alike" else rng.normal(size=(4, 12)).astype("float32"))
    x, padding = np.abs(rng.normal(size=(3, 60, 4))).astype("float32"), np.zeros((3, 60), bool)
    padding[2, 40:] = True
    signature = [tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.bool)]
    traced = tf.function(lambda x, padding: layer(x, padding)[0], input_signature=signature)
    np.testing.assert_allclose(traced(x, padding), layer(x, padding)[0], atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4)], ids=["no example", "no position"])
def test_an_empty_batch_has_an_empty_result(shape):
    y, balance = make()(np.zeros(shape, "float32"), np.zeros(shape[:2], bool), training=True)
    assert tuple(y.shape) == shape
    assert not as_numpy(balance["importance"]).any() and not as_numpy(balance["load"]).any()


def test_as_many_chosen_as_experts_is_refused():
    with pytest.raises(ValueError, match="num_experts 4"):
        MixtureOfExperts(num_experts=4, chosen=4)


@pytest.mark.parametrize("num_experts", [8, 9], ids=["all computed", "chosen only"])
def test_a_step_is_the_call_of_few_tokens(num_experts):
    layer = make(num_experts=num_experts, chosen=2)
    x = np.random.default_rng(1).normal(size=(5, 4)).astype("float32")
    expected, _ = layer(x[:, None], np.zeros((5, 1), bool))
    found = layer.step(ops.convert_to_tensor(x), *layer.step_weights())
    np.testing.assert_allclose(as_numpy(found), as_numpy(expected)[:, 0], atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces unknown lengths")
@pytest.mark.parametrize("length", [9, None], ids=["static", "unknown"])
@pytest.mark.parametrize("gate", ["spread", "all alike"])
def test_gradients_are_those_of_computing_every_expert(gate, length):
    import tensorflow as tf

    layer = make(num_experts=12)
    if gate == "all alike":
        layer.gate.assign(np.tile(np.arange(12.0, dtype="float32"), (4, 1)))
    x = tf.random.stateless_normal([2, 9, 4], [1, 2])
    padding = tf.constant(np.arange(9) >= np.array([[9], [6]]))

    def every_expert(x):
        weights, experts, _ = layer.gating(tf.reshape(x, [-1, 4]), tf.reshape(~padding, [-1]), training=False)
        share = tf.reduce_sum(tf.one_hot(experts, 12) * weights[..., None], axis=1)  # [N, E]
        hidden = tf.nn.relu(tf.einsum("nd,edh->enh", tf.reshape(x, [-1, 4]), layer.expert_in.value))
        return tf.reshape(tf.einsum("enh,ehd,ne->nd", hidden, layer.expert_out.value, share), [2, 9, 4])

    def gradients(call):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(call(x)))
        found = tape.gradient(loss, [x, layer.gate.value, layer.expert_in.value, layer.expert_out.value])
        return [tf.convert_to_tensor(gradient) for gradient in found]

    signature = [tf.TensorSpec([2, length, 4]), tf.TensorSpec([2, length], tf.bool)]
    compiled = tf.function(lambda x, padding: layer(x, padding)[0], input_signature=signature)
    for found, expected in zip(gradients(lambda x: compiled(x, padding)), gradients(every_expert)):
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("num_experts, together", [(8, True), (9, False)])
def test_a_step_computes_all_experts_where_a_token_chooses_a_quarter_of_them(num_experts, together):
    _, expert_in, expert_out = make(num_experts=num_experts).step_weights()
    separate = (num_experts, 4, 5), (num_experts, 5, 4)
    assert (tuple(expert_in.shape), tuple(expert_out.shape)) == (
        ((4, num_experts * 5), (num_experts * 5, 4)) if together else separate
    )


def test_experts_keep_the_variance_as_they_start():
    layer = MixtureOfExperts(num_experts=8, chosen=2, hidden=64)
    layer.build((None, None, 32))
    for kernel, fan_in in ((layer.expert_in, 32), (layer.expert_out, 64)):
        values = as_numpy(kernel)
        assert abs(values.var() * fan_in - 1) < 0.1 and np.abs(values).max() <= (3 / fan_in) ** 0.5
