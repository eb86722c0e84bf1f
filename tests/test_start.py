"""How an untrained model starts: its inputs stay apart on the way, and no branch drowns the others (docs/learning.md)."""

import functools

import numpy as np
import pytest
from keras import ops

from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock, ConvStep2D, SeparableConv1D, max_pool, strided
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


@pytest.mark.parametrize("modality", ["language", "image", "audio"])
def test_inputs_stay_apart(modality):
    found = shares(started(), modality)
    least = {"encoder": 0.1, "mixer": 0.0, "decoder": 0.0, "class mixer": 0.1, "class decoder": 0.1, "class h3": 0.05, "class h5": 0.05}
    assert all(value > least[part] for part, value in found.items()), found
