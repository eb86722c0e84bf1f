"""Tests whether nets of one's own learn that they are being trained, whichever arguments they take."""

import functools

import keras
import numpy as np
import pytest

from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.modalities.modality import Modality
from t2t_mm.modalities.net import InputNet
from t2t_mm.model import MultiModel


class Told(InputNet):
    """Writes down what it is told, and drops half of its input in training."""

    def __init__(self, depth, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.told = depth, []
        self.drop = keras.layers.Dropout(0.5)

    def get_config(self):
        return super().get_config() | {"depth": self.depth}

    def build(self, input_shape):
        self.drop.build(input_shape)

    def call(self, x, padding, training=False):
        self.told.append(training)
        return self.drop(x, training=training), padding, None


class Untold(Told):
    """As nets could be written before: `call` has no argument for it, but Keras tells the layers in it."""

    def call(self, x, padding):
        return self.drop(x), padding, None


class OldSequence(Told):
    """Its `sequence` has no argument for it either, so that only Keras could tell."""

    def sequence(self, x, padding):
        return self(x, padding)


class NewSequence(Told):
    def sequence(self, x, padding, training=False):
        return self(x, padding, training=training)


def model_with(net):
    conv = functools.partial(ConvBlock, dropout=0.0)
    attention = functools.partial(AttentionBlock, heads=2, convs=1)
    modality = Modality("own", net, (None, 8))
    model = MultiModel(
        9, ("a",), (modality,), depth=8, encoder_blocks=1, mixer_blocks=0, decoder_blocks=1, mixtures=False,
        conv_block=conv, attention_block=attention, num_classes={"x": 2},
    )  # fmt: skip
    model.build()
    return model


X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")


def encoded(model, training):
    return np.asarray(model.encode("own", X, training=training)[0])


@pytest.mark.parametrize("net", [Told, Untold, NewSequence])
def test_dropout_in_a_net_of_ones_own_works_in_training_only(net):
    model = model_with(net)
    np.testing.assert_array_equal(encoded(model, False), encoded(model, False))
    assert np.abs(encoded(model, True) - encoded(model, True)).max() > 0.1
    if net is not Untold:
        assert model.own_in.told == [False, False, True, True]


def test_each_of_several_inputs_is_told():
    model = model_with(Told)
    model.encode(("own", "own"), (X, X), training=True)
    assert model.own_in.told == [True, True]


def test_a_sequence_without_the_argument_still_works():
    model = model_with(OldSequence)
    np.testing.assert_array_equal(encoded(model, True), encoded(model, False))
    # A call of the whole model is a call of a Keras layer, which tells the layers in it.
    model({"modality": "own", "inputs": X, "command": "a"}, training=True)
    assert model.own_in.told == [False, False, True]
