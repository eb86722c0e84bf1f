"""Compares the estimated cost of a model with values by hand for the paper's size, and with the traced graph."""

import functools
import os

import keras
import pytest
import tensorflow as tf

import gin
from t2t_mm.common import config
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.lab import inspection
from t2t_mm.layers import sharing
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.losses import forward
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TRANSLATION = Problem("wmt_en_de", None, "language", "text", "To-German")
PICTURES = Problem("imagenet", None, "image", "class", "To-Class")
SPEECH = Problem("wsj_speech", None, "audio", "text", "To-German")


def built(model):
    commands = ("To-Class", "To-German")
    return inspection.build_without_weights(model, 8000, commands, {"imagenet": 1000}, 80)


@pytest.fixture(scope="module")
def paper():
    config.parse([os.path.join(ROOT, "gin", "sizes", "paper.gin")])
    model = built(config.configured(MultiModel))
    gin.clear_config()
    return model


def test_the_papers_size_by_hand(paper):
    """d = 1024, 32 + 32 tokens: the encoder's six blocks, its mixture of 4 experts of 2,048; the output map."""
    d, tokens = 1024, 32
    block = sum(2 * (taps * d + d * d) for taps in (3, 3, 15, 15))
    mixture = 2 * 2 * d * 240 + 4 * 2 * 2 * d * 2048
    attention = 2 * block + 8 * 2 * d * d + 4 * 2 * tokens * d
    cost = inspection.example_cost(paper, TRANSLATION, BatchSettings(), inspection.Lengths(tokens))
    assert cost.flops["encoder"] == tokens * (6 * block + mixture)
    assert cost.flops["mixer"] == tokens * (attention + 2 * block)
    assert cost.flops["decoder"] == tokens * (4 * attention + mixture)
    assert cost.flops["language_out"] == tokens * 2 * d * 8000


def test_classes_read_from_the_encoder_cost_no_decoder(paper, monkeypatch):
    whole = inspection.example_cost(paper, PICTURES, BatchSettings()).flops
    monkeypatch.setattr(paper, "classes_from", "encoder")
    short = inspection.example_cost(paper, PICTURES, BatchSettings()).flops
    assert whole["decoder"] > whole["encoder"]
    assert short == whole | {"mixer": 0.0, "decoder": 0.0}


def test_the_report_shows_its_arithmetic(paper):
    text = inspection.report(
        paper, [TRANSLATION, PICTURES, SPEECH], BatchSettings(), inspection.Lengths(), "tpu-v5p", 8, 1000, 0.5
    )
    total = paper.count_params()
    assert f"{total:,}" in text and f"weights 4 B x {total:,} = {4 * total / 1e9:.3g} GB" in text
    assert "R = 8" in text and "1,000 steps" in text
    for name in ("wmt_en_de", "imagenet", "wsj_speech", *paper.parts()):
        assert name in text


@pytest.mark.parametrize("problem", [TRANSLATION, PICTURES, SPEECH], ids=lambda problem: problem.name)
def test_operations_against_the_graph(problem, monkeypatch):
    """Without mixture, whose blocks are padded, and attention."""
    monkeypatch.setattr(sharing, "_share", None)  # which another test may have set: all operations are in one graph
    attention = functools.partial(AttentionBlock, attend=False)
    make = functools.partial(
        MultiModel, depth=16, encoder_blocks=1, mixer_blocks=1, decoder_blocks=1, mixtures=False, attention_block=attention
    )
    network = built(make)
    tokens, frames, side = 8, 512, 64
    inputs = {
        "language": tf.TensorSpec([1, tokens], tf.int32),
        "image": tf.TensorSpec([1, side, side, 3]),
        "audio": tf.TensorSpec([1, frames, 80]),
    }[problem.inputs]
    padding = tf.TensorSpec([1, inputs.shape[1]], tf.bool)
    targets = tf.TensorSpec([1] if problem.targets == "class" else [1, tokens], tf.int32)
    target_padding = tf.TensorSpec([1, tokens], tf.bool)

    def logits(x, x_padding, y, y_padding):
        batch = {"inputs": x, "input_padding": x_padding, "targets": y, "target_padding": y_padding}
        with keras.StatelessScope(initialize_variables=False):
            return forward(network, problem, batch, 0, training=False)[0]

    graph = tf.function(logits).get_concrete_function(inputs, padding, targets, target_padding).graph
    counted = 0
    for operation in graph.get_operations():
        if operation.type in ("MatMul", "Conv2D", "DepthwiseConv2dNative"):
            counted += _operations(operation)
    cost = inspection.example_cost(network, problem, BatchSettings(image_size=side), inspection.Lengths(tokens, frames))
    assert sum(cost.flops.values()) == pytest.approx(counted, rel=0.05)


def _operations(operation) -> int:
    """2 · outputs · the length of each output's sum."""
    outputs = operation.outputs[0].shape.num_elements()
    a, b = (x.shape for x in operation.inputs)
    if operation.type == "MatMul":
        return 2 * outputs * a[0 if operation.get_attr("transpose_a") else 1]
    if operation.type == "Conv2D":
        return 2 * outputs * b[0] * b[1] * b[2]
    return 2 * outputs * b[0] * b[1]


def test_a_model_without_weights_is_left_alone_by_the_next_scope():
    """Keras gives values to all variables that lack them when a StatelessScope ends; here they would be gigabytes."""
    network = inspection.build_without_weights(MultiModel, 8000, ["To-German"], {}, 80)
    with keras.StatelessScope():
        pass
    assert not any(isinstance(weight._value, tf.Variable) for weight in network.trainable_variables)
