"""Compares the timing signal and the attention block with the paper's formulas (2.2)."""

import math

import numpy as np
import pytest
from keras import ops

from t2t_mm.layers.attention import AttentionBlock, SourceLooks
from t2t_mm.layers.positions import Positions
from t2t_mm.layers.timing import timing_signal


def as_numpy(x):
    return np.asarray(x, np.float64)


def signal(length, depth):
    table = np.zeros((length, depth))
    for t in range(length):
        for i in range(depth // 2):
            delta = 1e4 ** (-2 * i / depth)
            table[t, 2 * i], table[t, 2 * i + 1] = math.sin(t * delta), math.cos(t * delta)
    return table


def test_timing_signal():
    np.testing.assert_allclose(as_numpy(timing_signal(9, 6)), signal(9, 6), atol=1e-5)
    np.testing.assert_allclose(as_numpy(timing_signal(4, 6, start=5)), signal(9, 6)[5:], atol=1e-5)
    with pytest.raises(ValueError, match="even"):
        timing_signal(3, 5)


def attend(queries, keys, values, heads, allowed):
    """Multi-head attention by loops. queries [T, D], keys, values [S, D], allowed [T, S]."""
    width = queries.shape[1] // heads
    out = np.zeros((len(queries), queries.shape[1]))
    for g in range(heads):
        part = slice(g * width, (g + 1) * width)
        for t in range(len(queries)):
            seen = np.flatnonzero(allowed[t])
            scores = np.array([queries[t, part] @ keys[s, part] for s in seen]) / math.sqrt(width)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out[t, part] = sum(w * values[s, part] for w, s in zip(weights, seen))
    return out


def layer_norm(x, norm):
    standard = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return standard * as_numpy(norm.gamma) + as_numpy(norm.beta)


def randomise(*norms):
    """Scales and shifts that tell the norms apart; as they start, one could stand for the other."""
    rng = np.random.default_rng(7)
    for norm in norms:
        norm.gamma.assign(rng.uniform(0.4, 1.6, norm.gamma.shape))
        norm.beta.assign(rng.normal(size=norm.beta.shape))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("source_timing", [True, False])
def test_attention_block(causal, source_timing):
    """The last position of source and target is padding: what stands there must not matter."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(1, 5, 8)), rng.normal(size=(1, 6, 8))
    source_padding, padding = np.arange(5)[None] >= 4, np.arange(6)[None] >= 5
    block = AttentionBlock(heads=2, convs=0, source_timing=source_timing)
    block.build(target.shape)
    randomise(block.self_norm, block.source_norm)
    w = {name: as_numpy(getattr(block, name).kernel) for name in (
        "self_query", "self_key", "self_value", "self_output",
        "source_query", "memory_key", "memory_value", "source_output")}  # fmt: skip
    x = target[0] + signal(6, 8)
    h = layer_norm(x, block.self_norm)
    allowed = (np.tril(np.ones((6, 6))) if causal else np.ones((6, 6))) * ~padding
    mixed = attend(h @ w["self_query"], h @ w["self_key"], h @ w["self_value"], 2, allowed)
    x = x + mixed @ w["self_output"]
    keyed = source[0] + signal(5, 8) if source_timing else source[0]
    visible = np.tile(~source_padding, (6, 1))
    queries = layer_norm(x, block.source_norm) @ w["source_query"]
    mixed = attend(queries, keyed @ w["memory_key"], source[0] @ w["memory_value"], 2, visible)
    x = x + mixed @ w["source_output"]
    y = block(source.astype("float32"), source_padding, target.astype("float32"), padding, causal=causal)
    np.testing.assert_allclose(as_numpy(y)[0, :5], x[:5], atol=1e-4)


@pytest.mark.parametrize("source_timing", [True, False])
def test_what_a_block_looks_at_is_what_it_mixes(source_timing):
    """The weights, with the values and the output's map, make what the block adds to its stream."""
    rng = np.random.default_rng(1)
    source, target = (rng.normal(size=(2, length, 8)).astype("float32") for length in (5, 6))
    source_padding, padding = np.arange(5)[None] >= np.array([[5], [3]]), np.zeros((2, 6), bool)
    block = AttentionBlock(heads=2, convs=1, source_timing=source_timing)
    block.build(target.shape)
    randomise(block.self_norm, block.source_norm)
    sources, targets = Positions(source_padding), Positions(padding)
    given = ops.reshape(source, [-1, 8]), sources, ops.reshape(target, [-1, 8]), targets
    looks = SourceLooks()
    mixed = as_numpy(block.flat(*given, looks=looks))
    output = as_numpy(block.source_output.kernel)
    block.source_output.kernel.assign(np.zeros((8, 8)))
    added = (mixed - as_numpy(block.flat(*given))).reshape(2, 6, 8)
    values = (source @ as_numpy(block.memory_value.kernel)).reshape(2, 5, 2, 4)
    weights = as_numpy(looks.weights[0])
    expected = np.einsum("bgts,bsgd->btgd", weights, values).reshape(2, 6, 8) @ output
    np.testing.assert_allclose(added, expected, atol=1e-4)
    assert len(looks.names) == 1 and not weights[1, ..., 3:].any()


@pytest.mark.parametrize("muted", ["self_output", "source_output"])
def test_both_attentions_drop_in_training_only(muted):
    """Each by itself, where the other one adds nothing. Half of what is added becomes zero, and the rest is doubled."""
    rng = np.random.default_rng(2)
    source, target = (rng.normal(size=(3, length, 8)).astype("float32") for length in (5, 6))
    source_padding, padding = np.zeros((3, 5), bool), np.zeros((3, 6), bool)
    block = AttentionBlock(heads=2, convs=0, dropout=0.5)
    block.build(target.shape)
    getattr(block, muted).kernel.assign(np.zeros((8, 8)))
    given = source, source_padding, target, padding
    start = target + signal(6, 8)
    whole, dropped = (as_numpy(block(*given, training=training)) - start for training in (False, True))
    kept = np.abs(dropped) > 1e-4
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(dropped[kept], 2 * whole[kept], atol=1e-4)


def test_ablation_removes_attention_and_nothing_else():
    full, ablated = AttentionBlock(), AttentionBlock(attend=False)
    full.build((None, None, 16))
    ablated.build((None, None, 16))
    kept = [w.path for layer in full.convs for w in layer.weights]
    assert len(ablated.weights) == len(kept)
    # Without attention the source has no way in.
    rng = np.random.default_rng(0)
    target, padding = rng.normal(size=(1, 4, 16)).astype("float32"), np.zeros((1, 4), bool)
    one, other = (as_numpy(ablated(rng.normal(size=(1, 4, 16)).astype("float32"), padding, target, padding)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_the_mean_of_the_source_depends_on_its_content_but_not_on_order_or_padding():
    rng = np.random.default_rng(3)
    source, target = (rng.normal(size=(2, length, 8)).astype("float32") for length in (5, 6))
    source_padding, padding = np.arange(5)[None] >= np.array([[5], [3]]), np.zeros((2, 6), bool)
    block = AttentionBlock(heads=2, convs=1, attend="mean")
    block.build(target.shape)
    found = as_numpy(block(source, source_padding, target, padding))
    # By hand: what is added to the stream of the block without attention.
    muted = as_numpy(block.source_output.kernel)
    block.source_output.kernel.assign(np.zeros((8, 8)))
    without = as_numpy(block(source, source_padding, target, padding))
    block.source_output.kernel.assign(muted)
    means = np.stack([source[0].mean(0), source[1, :3].mean(0)])
    expected = means @ as_numpy(block.memory_value.kernel) @ muted
    np.testing.assert_allclose(found - without, np.tile(expected[:, None], (1, 6, 1)), atol=1e-4)
    other = source.copy()
    other[0], other[1, :3], other[1, 3:] = source[0, ::-1], source[1, [2, 0, 1]], 9.0  # the last two are padding
    np.testing.assert_allclose(as_numpy(block(other, source_padding, target, padding)), found, atol=1e-5)
    other[0, 0] += 1.0
    changed = np.abs(as_numpy(block(other, source_padding, target, padding)) - found).max((1, 2))
    assert changed[0] > 1e-3 and changed[1] < 1e-5


def test_the_mean_of_the_source_is_dropped_in_training_only():
    rng = np.random.default_rng(2)
    source, target = (rng.normal(size=(3, length, 8)).astype("float32") for length in (5, 6))
    given = source, np.zeros((3, 5), bool), target, np.zeros((3, 6), bool)
    block = AttentionBlock(heads=2, convs=0, dropout=0.5, attend="mean")
    whole, dropped = (as_numpy(block(*given, training=training)) - target - signal(6, 8) for training in (False, True))
    kept = np.abs(dropped) > 1e-4
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(dropped[kept], 2 * whole[kept], atol=1e-4)


def test_what_may_stand_for_attention_is_checked():
    with pytest.raises(ValueError, match="attend is 'max'; it must be True, False or 'mean'"):
        AttentionBlock(attend="max")


def test_heads_must_divide_depth():
    with pytest.raises(ValueError, match="heads 8"):
        AttentionBlock(heads=8).build((None, None, 12))
