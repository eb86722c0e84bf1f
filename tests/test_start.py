"""Tests an untrained model: its inputs remain distinguishable, and no branch dominates the others (docs/learning.md)."""

import functools

import numpy as np
import pytest
from keras import ops

from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock, ConvStep2D, SeparableConv1D, max_pool
from t2t_mm.modalities.audio import AudioInput
from tests.test_model import some_input, tiny


def as_numpy(x):
    return np.asarray(x, np.float64)


def share(x):
    """How much of the second moment at a position differs between the examples. [B, ...]"""
    x = as_numpy(x)
    return float(np.square(x - x.mean(axis=0)).mean() / np.square(x).mean())


def started(**settings):
    """As deep as the paper's, with the settings of gin/sizes/mini.gin."""
    depths = {"depth": 64, "encoder_blocks": 6, "mixer_blocks": 2, "decoder_blocks": 4}
    attention = functools.partial(AttentionBlock, heads=4, source_timing=True, timing_scale=0.2)
    return tiny(**{**depths, "attention_block": attention, **settings})


def shares(model, modality):
    """Part -> the share that differs between eight inputs of a modality, behind the same command and the same targets."""
    inputs, padding = some_input(modality, np.random.default_rng(0), batch=8)
    padding = None if padding is None else np.zeros_like(padding)
    found = {}
    encoded, padding, grid, _ = model.encode(modality, inputs, padding)
    found["encoder"] = share(encoded)
    targets = np.tile(np.arange(3, 15, dtype="int32"), (8, 1))
    first = model.command("To-German", 8)[:, None]
    x, none = ops.concatenate([first, model.language_in(targets[:, :-1])], axis=1), np.zeros((8, 12), bool)
    x = model.mixer(encoded, padding, x, none)
    found["mixer"] = share(x)
    found["decoder"] = share(model.decoder(encoded, padding, x, none)[0])
    if modality == "image":
        x = encoded + model.command("To-Class", 8)[:, None]
        x = model.mixer(encoded, padding, x, padding, causal=False)
        found["class mixer"] = share(x)
        x = model.decoder(encoded, padding, x, padding, causal=False)[0]
        found["class decoder"] = share(x)
        net, z = model.categorical_out, ops.reshape(x, [-1, *grid, x.shape[-1]])
        h3 = net.skip(z) + max_pool(net.h2(net.h1(z)), None, (2, 2))
        found["class h3"] = share(h3)
        found["class h5"] = share(net.h5(net.h4(h3)))
    return found


# A few percent, everywhere on the way to the output nets. The targets and the command are the same for all inputs, so
# that in a text's stream only what the attentions bring from the source differs.
LEAST = {"encoder": 0.1, "mixer": 0.02, "decoder": 0.02, "class mixer": 0.1, "class decoder": 0.1, "class h3": 0.05,
         "class h5": 0.05}  # fmt: skip


def too_equal(found):
    # Negated, because NaN is not less than any number.
    return {part: value for part, value in found.items() if not value >= LEAST[part]}


@pytest.mark.parametrize("modality", ["language", "image", "audio"])
def test_inputs_stay_apart(modality):
    assert not too_equal(shares(started(), modality))


def test_a_whole_timing_signal_drowns_the_pictures():
    """The paper's own scale, five times into one stream: the test above must see it."""
    attention = functools.partial(AttentionBlock, heads=4, source_timing=True, timing_scale=1.0)
    assert "class decoder" in too_equal(shares(started(attention_block=attention), "image"))


def test_a_constant_input_stops_at_each_convolution():
    """ReLU's outputs have a positive mean; a kernel that passes it on makes all inputs nearly equal."""
    step = ConvStep2D(12, 3)
    step.build((None, None, None, 8))
    constant = as_numpy(step.depthwise).sum(axis=(0, 1, 3))  # what the depthwise convolution makes of ones
    assert np.abs(constant @ as_numpy(step.pointwise)).max() < 1e-5
    conv = SeparableConv1D(12, 3)
    conv.build((None, None, 8))
    assert np.abs(as_numpy(conv(np.ones((1, 9, 8), "float32")))[:, 1:-1]).max() < 1e-5
    assert np.abs(as_numpy(conv(np.random.default_rng(0).normal(size=(1, 9, 8)).astype("float32")))).max() > 0.1


def attention_beside_convolutions(branch_scale):
    """Second moment of what a block's attentions add, over that of what its ConvBlocks add."""
    rng = np.random.default_rng(0)
    source, target = (rng.normal(size=(4, 12, 64)).astype("float32") for _ in range(2))
    none = np.zeros((4, 12), bool)
    conv_block = functools.partial(ConvBlock, branch_scale=branch_scale)
    block = AttentionBlock(conv_block, heads=4, timing_scale=0.0)
    block.build(target.shape)
    whole = as_numpy(block(source, none, target, none))
    block.attend = False
    convolved = as_numpy(block(source, none, target, none))
    return np.square(whole - convolved).mean() / np.square(convolved - target).mean()


def test_convolutions_do_not_drown_the_attention():
    assert attention_beside_convolutions(0.2) > 1.0
    assert attention_beside_convolutions(1.0) < 0.5  # the cause, planted back


@pytest.mark.parametrize("full_stem", [True, False])
def test_a_full_stem_keeps_more_of_a_sound_than_its_sign(full_stem):
    """Of one number spread over any number of channels, layer norm leaves the sign: two answers for all positions."""
    net = AudioInput(8, blocks=1, least_width=16, full_stem=full_stem)
    net.build((None, None, 10))
    y = as_numpy(net.blocks[0].step1(np.random.default_rng(0).normal(size=(1, 20, 10, 1)).astype("float32")))
    # How many directions the positions' answers span.
    spread = np.linalg.svd(y.reshape(-1, 16), compute_uv=False)
    assert (spread > 0.05 * spread[0]).sum() >= (8 if full_stem else 0)
    if not full_stem:
        assert (spread > 0.05 * spread[0]).sum() == 1


def test_the_kernels_scale_changes_nothing_but_the_kernels():
    """Layer norm undoes it; what changes is how far a step of Adam turns them."""
    x = np.random.default_rng(0).normal(size=(1, 9, 9, 4)).astype("float32")
    whole, small = ConvStep2D(6, 3), ConvStep2D(6, 3, kernel_scale=0.3)
    whole.build(x.shape), small.build(x.shape)
    for weight in (small.depthwise, small.pointwise):
        other = getattr(whole, weight.name)
        assert 0.2 < np.std(weight) / np.std(other) < 0.4
        weight.assign(0.3 * np.asarray(other))
    np.testing.assert_allclose(as_numpy(small(x)), as_numpy(whole(x)), atol=0.05)
