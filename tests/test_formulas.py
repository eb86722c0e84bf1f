"""Compares the whole model with its formulas in NumPy (tests/reference.py), for every pair of modalities.

Every weight is random, including the scales and shifts of norms and the gates, because their defaults of one and zero would
hide a swapped norm or a missing bias. The batches contain padded examples of odd and even lengths. The reference computes each
example alone and without padding.
"""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.modalities.audio import AudioInput
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.modalities.image import ImageInput
from t2t_mm.model import MultiModel
from tests.reference import Reference

VOCABULARY, BINS, DEPTH, EXPERTS = 40, 6, 16, 5
COMMANDS = ("To-Class", "To-English")
LENGTHS = {"language": (9, 6, 1), "image": (1, 1, 1), "audio": (22, 13, 5)}


@functools.cache
def make(
    gate_noise=True, source_timing=True, full_stem=False, first_relu=False, frequencies="channels", batch_norm=True,
    classes_from="decoder", command_at="start",
):  # fmt: skip
    keras.utils.set_random_seed(1)
    model = MultiModel(
        VOCABULARY, COMMANDS, num_classes={"labels": 7, "others": 3}, frequency_bins=BINS, depth=DEPTH,
        classes_from=classes_from, command_at=command_at,
        encoder_blocks=3, mixer_blocks=1, decoder_blocks=3,  # odd numbers tell where the middle is
        conv_block=functools.partial(ConvBlock, dropout=0.0),
        attention_block=functools.partial(AttentionBlock, heads=4, source_timing=source_timing),
        mixture=functools.partial(
            MixtureOfExperts, num_experts=EXPERTS, chosen=2, hidden=12, block_size=4, gate_noise=gate_noise
        ),
        image=functools.partial(ImageInput, filters=(4, 6, 8), full_stem=full_stem, first_relu=first_relu),
        audio=functools.partial(AudioInput, blocks=2, least_width=4, frequencies=frequencies, first_relu=first_relu),
        categorical=functools.partial(CategoricalOutput, widths=(10, 12), batch_norm=batch_norm),
    )  # fmt: skip
    model.build()
    rng = np.random.default_rng(4)
    for weight in model.weights:
        if "seed" in weight.path:
            continue
        value = np.asarray(weight)
        if weight.path.endswith(("gamma", "moving_variance")):
            value = rng.uniform(0.4, 1.6, value.shape)
        elif weight.path.endswith(("beta", "bias", "moving_mean")):
            value = rng.normal(0.0, 0.4, value.shape)
        elif weight.path.endswith(("gate", "noise")):
            value = rng.normal(0.0, 0.6, value.shape)
        else:
            value = value * rng.uniform(0.6, 1.4, value.shape)
        weight.assign(value.astype("float32"))
    return model


def batch_of(modality, rng):
    """Inputs, padding, and each example alone. Padding is filled with numbers that must not matter."""
    if modality == "image":
        pixels = rng.normal(size=(3, 37, 34, 3)).astype("float32")
        return pixels, None, list(pixels)
    lengths = LENGTHS[modality]
    padding = np.arange(max(lengths))[None] >= np.array(lengths)[:, None]
    if modality == "language":
        inputs = rng.integers(1, VOCABULARY, padding.shape).astype("int32")
    else:
        inputs = rng.normal(size=(*padding.shape, BINS)).astype("float32")
    return inputs, padding, [inputs[i, :length] for i, length in enumerate(lengths)]


def encoded_alone(reference, modality, example, command=None):
    if modality == "language":
        x, grid = reference.embedding("language_in", example), None
    else:
        x, grid = getattr(reference, modality)(example)
    if command is not None:
        x = x + reference.embedding("command_in", [command])
    return reference.encoder(x), grid


def near(found, expected):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("command_at", ["start", "every", "source", "both"])
@pytest.mark.parametrize("modality", ["language", "image", "audio"])
def test_text_from_every_modality(modality, command_at):
    model, rng = make(command_at=command_at), np.random.default_rng(0)
    told = 1 if command_at in ("source", "both") else None
    reference = Reference(model, source_timing=True)
    inputs, padding, examples = batch_of(modality, rng)
    targets = rng.integers(1, VOCABULARY, (3, 8)).astype("int32")
    target_lengths = (8, 5, 2)
    target_padding = np.arange(8)[None] >= np.array(target_lengths)[:, None]
    encoded, source_padding, _, _ = model.encode(modality, inputs, padding, "To-English")
    logits, _ = model.decode_text(encoded, source_padding, "To-English", targets, target_padding)
    for i, (example, length) in enumerate(zip(examples, target_lengths)):
        memory, _ = encoded_alone(reference, modality, example, told)
        near(encoded[i, : len(memory)], memory)
        near(logits[i, :length], reference.text(memory, 1, targets[i, :length]))


@pytest.mark.parametrize("labels", ["labels", "others"])
@pytest.mark.parametrize("modality", ["language", "image", "audio"])
def test_classes_from_every_modality(modality, labels):
    model, rng = make(), np.random.default_rng(1)
    reference = Reference(model, source_timing=True)
    inputs, padding, examples = batch_of(modality, rng)
    encoded, source_padding, grid, _ = model.encode(modality, inputs, padding)
    logits, _ = model.decode_classes(encoded, source_padding, grid, "To-Class", labels)
    for i, example in enumerate(examples):
        memory, own_grid = encoded_alone(reference, modality, example)
        near(logits[i], reference.classes(memory, own_grid, 0, labels))


@pytest.mark.parametrize(
    "settings",
    [
        {"source_timing": False},
        {"full_stem": True},
        {"first_relu": True},
        {"frequencies": "positions"},
        {"batch_norm": False},
        {"classes_from": "encoder"},
    ],  # fmt: skip
    ids=lambda settings: next(iter(settings)),
)
def test_every_choice_where_the_paper_is_silent(settings):
    model, rng = make(**settings), np.random.default_rng(2)
    known = {name: value for name, value in settings.items() if name in ("source_timing", "first_relu", "frequencies")}
    reference = Reference(model, **({"source_timing": True} | known))
    for modality in ("image", "audio"):
        inputs, padding, examples = batch_of(modality, rng)
        encoded, source_padding, grid, _ = model.encode(modality, inputs, padding)
        logits, _ = model.decode_classes(encoded, source_padding, grid, "To-Class", "labels")
        for i, example in enumerate(examples):
            memory, own_grid = encoded_alone(reference, modality, example)
            near(logits[i], reference.classes(memory, own_grid, 0, "labels"))


def test_training_with_injected_gate_noise(monkeypatch):
    model, rng = make(batch_norm=False), np.random.default_rng(3)
    drawn = []

    def normal(shape, *_, **__):
        drawn.append(rng.normal(size=[int(n) for n in shape]).astype("float32"))
        return ops.convert_to_tensor(drawn[-1])

    monkeypatch.setattr(keras.random, "normal", normal)
    inputs = rng.integers(1, VOCABULARY, (1, 7)).astype("int32")
    targets = rng.integers(1, VOCABULARY, (1, 6)).astype("int32")
    encoded, padding, _, encoder = model.encode("language", inputs, np.zeros((1, 7), bool), training=True)
    logits, decoder = model.decode_text(
        encoded, padding, "To-English", targets, np.zeros((1, 6), bool), training=True
    )  # fmt: skip
    assert [noise.shape for noise in drawn] == [(7, EXPERTS), (6, EXPERTS)], "each position has noise of its own"
    reference = Reference(model, source_timing=True, noise=dict(zip(("encoder", "decoder"), drawn)))
    memory = reference.encoder(reference.embedding("language_in", inputs[0]))
    near(encoded[0], memory)
    near(logits[0], reference.text(memory, 1, targets[0]))
    for part, balance in (("encoder", encoder), ("decoder", decoder)):
        importance, load = reference.balance[part]
        near(balance["importance"], importance)
        near(balance["load"], load)


def test_balance_leaves_padding_out():
    model, rng = make(gate_noise=False), np.random.default_rng(5)
    reference = Reference(model, source_timing=True)
    inputs, padding, examples = batch_of("language", rng)
    _, _, _, balance = model.encode("language", inputs, padding, training=True)
    totals = [np.zeros(EXPERTS), np.zeros(EXPERTS)]
    for example in examples:
        reference.encoder(reference.embedding("language_in", example))
        totals = [total + own for total, own in zip(totals, reference.balance["encoder"])]
    near(balance["importance"], totals[0])
    near(balance["load"], totals[1])
