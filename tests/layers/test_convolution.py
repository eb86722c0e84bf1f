"""Compares the convolution steps and blocks with the paper's formulas, which are written out as loops."""

import keras
import numpy as np
import pytest
from keras import ops

from t2t_mm.layers.convolution import ConvBlock, ConvRes, ConvStep, ConvStep2D
from t2t_mm.layers.positions import Positions
from t2t_mm.layers.randomness import Dropout, drop, multiplier


def as_numpy(x):
    return np.asarray(x, np.float64)


def norm(x, layer):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * as_numpy(layer.gamma) + as_numpy(layer.beta)


def separable(x, conv):
    """Depthwise by loops over positions and taps, then the pointwise sum."""
    depthwise, pointwise = as_numpy(conv.depthwise), as_numpy(conv.pointwise)
    batch, length, depth = x.shape
    first = (conv.kernel_size - 1) * conv.dilation
    first = first if conv.causal else first // 2
    y = np.zeros((batch, length, depth))
    for t in range(length):
        for tap in range(conv.kernel_size):
            s = t - first + tap * conv.dilation
            if 0 <= s < length:
                y[:, t] += x[:, s] * depthwise[tap]
    return y @ pointwise


def conv_step(x, step):
    return norm(separable(np.maximum(x, 0), step.conv), step.norm)


def randomise(layer):
    """Gives every weight, the norms' scales and shifts too, a random value."""
    rng = np.random.default_rng(3)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape).astype("float32"))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel,dilation", [(1, 1), (3, 1), (15, 1), (5, 3), (15, 8)])
@pytest.mark.parametrize("length", [1, 7, 20])
def test_conv_step(causal, kernel, dilation, length):
    x = np.random.default_rng(0).normal(size=(2, length, 4)).astype("float32")
    step = ConvStep(6, kernel, dilation, causal)
    step.build(x.shape)
    randomise(step)
    np.testing.assert_allclose(as_numpy(step(x)), conv_step(x.astype("float64"), step), atol=2e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces unknown lengths")
@pytest.mark.parametrize("causal", [False, True])
def test_lengths_that_are_unknown_when_a_step_is_traced(causal):
    import tensorflow as tf

    step = ConvStep(6, 15, 8, causal)
    step.build((None, None, 4))
    randomise(step)
    traced = tf.function(step, input_signature=[tf.TensorSpec([None, None, 4])], autograph=False)
    for length in (1, 7, 60, 150):  # below and above the reach of 112 positions
        x = np.random.default_rng(length).normal(size=(2, length, 4)).astype("float32")
        np.testing.assert_allclose(as_numpy(traced(x)), as_numpy(step(x)), atol=2e-5)


def test_norms_start_at_one_but_the_last_of_a_block_at_its_branch_scale():
    block, step = ConvBlock(branch_scale=0.3), ConvStep(4, 3)
    for layer in (block, step):
        layer.build((None, None, 4))
    starts = [as_numpy(one.norm.gamma) for one in (*block.steps, step)]
    np.testing.assert_allclose(starts, np.outer([1, 1, 1, 0.3, 1], np.ones(4)))


@pytest.mark.parametrize("causal", [False, True])
def test_conv_block(causal):
    x = np.random.default_rng(0).normal(size=(2, 21, 4)).astype("float32")
    block = ConvBlock(causal)
    block.build(x.shape)
    randomise(block)
    s1, s2, s3, s4 = block.steps
    assert [(s.conv.kernel_size, s.conv.dilation) for s in block.steps] == [(3, 1), (3, 1), (15, 1), (15, 8)]
    wide = x.astype("float64")
    h1 = conv_step(wide, s1)
    h2 = wide + conv_step(h1, s2)
    h3 = conv_step(h2, s3)
    h4 = wide + conv_step(h3, s4)
    np.testing.assert_allclose(as_numpy(block(x)), h4, atol=1e-3)


def test_causal_block_never_sees_the_future_and_same_block_does():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 12, 4)).astype("float32")
    changed = x.copy()
    changed[:, 6:] += rng.normal(size=(1, 6, 4)).astype("float32")
    for causal in (True, False):
        block = ConvBlock(causal)
        block.build(x.shape)
        difference = np.abs(as_numpy(block(x)) - as_numpy(block(changed)))[:, :6].max()
        assert (difference < 1e-5) == causal


@pytest.mark.parametrize("causal", [False, True])
def test_padding_does_not_change_a_result(causal):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 9, 4)).astype("float32")
    padded = np.concatenate([x, rng.normal(size=(1, 5, 4)).astype("float32")], axis=1)
    padding = np.arange(14)[None] >= 9
    block = ConvBlock(causal)
    block.build(x.shape)
    alone = as_numpy(block(x, np.zeros((1, 9), bool)))
    np.testing.assert_allclose(as_numpy(block(padded, padding))[:, :9], alone, atol=1e-5)


@pytest.mark.parametrize("dropout_on", ["sum", "branch"])
def test_dropout_in_training_only(dropout_on):
    x = np.ones((4, 50, 16), "float32") * 5
    block = ConvBlock(dropout=0.4, dropout_on=dropout_on)
    block.build(x.shape)
    randomise(block)
    np.testing.assert_array_equal(as_numpy(block(x)), as_numpy(block(x)))
    trained, used = as_numpy(block(x, training=True)), as_numpy(block(x))
    # What dropout works on: the whole sum, or only what the block adds to its input.
    if dropout_on == "branch":
        trained, used = trained - x, used - x
    np.testing.assert_allclose(trained, np.where(trained == 0, 0, used / 0.6), atol=1e-5)
    assert 0.35 < np.mean((trained == 0) & (used != 0)) < 0.45


def test_every_position_of_every_example_is_dropped_by_itself():
    block = ConvBlock(dropout=0.5, dropout_on="sum")
    block.build((3, 40, 16))
    dropped = as_numpy(block(np.ones((3, 40, 16), "float32") * 5, training=True)) == 0
    for one, other in ((dropped[0], dropped[1]), (dropped[:, 1:], dropped[:, :-1]), (dropped[..., 1:], dropped[..., :-1])):
        assert 0.4 < np.mean(one != other) < 0.6  # half of them by chance; none where a number serves several


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_dropout_keeps_is_scaled_exactly(dtype):
    """1 / (1 − 0.4) itself rounds to 1.6641 in bfloat16; only the product may be rounded."""
    bits = np.arange(-(2**31), 2**31, 2**24, dtype="int64").astype("int32").reshape(-1, 1)
    x = ops.cast(np.linspace(1.0, 2.0, bits.size, dtype="float32")[:, None], dtype)
    y = drop(x, ops.convert_to_tensor(bits), ops.convert_to_tensor(1, "int32"), 0.4)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    expected = ops.cast(ops.cast(x, "float32") * np.float32(1 / 0.6), dtype)
    found, expected = (as_numpy(ops.cast(one, "float32")) for one in (y, expected))
    np.testing.assert_array_equal(found, np.where(bits < round(0.4 * 2**32) - 2**31, 0, expected))


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("size", [(5, 6), (4, 7)])
@pytest.mark.parametrize("relu", [True, False])
def test_conv_step_2d(strides, size, relu):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    step = ConvStep2D(5, 3, strides=strides, relu=relu)
    step.build(x.shape)
    randomise(step)
    h = np.maximum(x, 0) if relu else x
    rows, columns = -(-size[0] // strides[0]), -(-size[1] // strides[1])
    y = np.zeros((2, rows, columns, 3))
    for i in range(rows):
        for j in range(columns):
            for a in (-1, 0, 1):
                for b in (-1, 0, 1):
                    r, c = i * strides[0] + a, j * strides[1] + b
                    if 0 <= r < size[0] and 0 <= c < size[1]:
                        y[:, i, j] += h[:, r, c] * as_numpy(step.depthwise)[a + 1, b + 1, :, 0]
    expected = norm(y @ as_numpy(step.pointwise), step.norm)
    np.testing.assert_allclose(as_numpy(step(x)), expected, atol=2e-4)


@pytest.mark.parametrize("strides", [(2, 2), (2, 1)])
def test_conv_res(strides):
    x = np.random.default_rng(0).normal(size=(1, 7, 6, 3)).astype("float32")
    block = ConvRes(4, strides)
    block.build(x.shape)
    randomise(block)
    c2 = as_numpy(block.step2(block.step1(x)))
    rows, columns = -(-7 // strides[0]), -(-6 // strides[1])
    p1 = np.zeros((1, rows, columns, 4))
    for i in range(rows):
        for j in range(columns):
            r, c = i * strides[0], j * strides[1]
            p1[:, i, j] = c2[:, max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].max(axis=(1, 2))
    short = np.maximum(x, 0)[:, :: strides[0], :: strides[1]] @ as_numpy(block.shortcut.pointwise)
    y, padding = block(x)
    assert padding is None
    np.testing.assert_allclose(as_numpy(y), p1 + norm(short, block.shortcut.norm), atol=2e-4)


@pytest.mark.parametrize("arguments", [{"dropout": 1.0}, {"dropout": -0.1}, {"dropout_on": "all"}])
def test_bad_settings_are_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=name):
        ConvBlock(**arguments)


def test_gradients_of_a_block_are_those_of_its_formula():
    """The kernels' written-out gradients against finite differences of the formula, in float64."""
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tapes are TensorFlow's")
    rng = np.random.default_rng(0)
    x, up = rng.normal(size=(2, 6, 4)), rng.normal(size=(2, 6, 4))
    padding = np.array([[False] * 6, [False] * 4 + [True] * 2])
    step = ConvStep(4, 3, 2, causal=True)
    step.build(x.shape)
    randomise(step)

    def by_hand():
        wide = np.where(padding[..., None], 0, x)
        return (conv_step(wide, step) * np.where(padding[..., None], 0, up)).sum()

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(step(tf.constant(x, tf.float32), padding) * tf.constant(up, tf.float32))
    found = tape.gradient(loss, [weight.value for weight in step.trainable_weights])
    np.testing.assert_allclose(float(loss), by_hand(), rtol=1e-4)
    for weight, gradient in zip(step.trainable_weights, found):
        values = weight.numpy()
        for place in list(np.ndindex(*values.shape))[:6]:
            sides = []
            for change in (1e-2, -1e-2):
                moved = values.copy()
                moved[place] += change
                weight.assign(moved)
                sides.append(by_hand())
            weight.assign(values)
            expected = (sides[0] - sides[1]) / 2e-2
            assert float(tf.convert_to_tensor(gradient)[place]) == pytest.approx(expected, rel=2e-2, abs=2e-2)


def test_dropouts_that_share_their_random_bits_are_independent():
    bits = np.random.default_rng(0).integers(-(2**31), 2**31 - 1, size=(1000, 64)).astype("int32")
    x = np.ones(bits.shape, "float32")
    masks = []
    for index in range(1, 31):
        factor = keras.ops.convert_to_tensor(multiplier(index), "int32")
        y = as_numpy(drop(keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(bits), factor, 0.1))
        np.testing.assert_allclose(np.unique(y), [0, 1 / 0.9], rtol=1e-6)
        masks.append(np.ravel(y == 0))
    both = np.cov(np.array(masks, float)) / (0.1 * 0.9)  # correlations: their standard error is 0.004
    np.testing.assert_allclose(np.diag(both), 1, atol=0.06)  # standard error 0.012
    assert np.abs(both - np.diag(np.diag(both))).max() < 0.025


def test_dropout_draws_nothing_unless_it_is_told_to_train():
    positions, x = Positions(np.zeros((2, 3), bool)), np.ones((6, 4), "float32")
    assert Dropout(0.5).bits(positions, 4) == (None, None)
    np.testing.assert_array_equal(as_numpy(Dropout(0.5)(x)), x)


def test_multipliers_are_odd_signed_numbers_of_32_bits_and_all_differ():
    found = [multiplier(index) for index in range(200)]
    assert all(number % 2 == 1 and -(2**31) <= number < 2**31 for number in found) and len(set(found)) == 200
    # The published sequence of splitmix64 from seed 0 begins with E220A8397B1DCDAF and 6E789E6AA1B965F4.
    assert found[1:3] == [0x7B1DCDAF, 0xA1B965F4 + 1 - 2**32]
