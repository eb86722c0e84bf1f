"""Tests that errors for invalid arguments state the argument and its value in one line."""

import functools
import math

import keras
import numpy as np
import pytest

from t2t_mm.layers.attention import AttentionBlock, Projection
from t2t_mm.layers.convolution import ConvBlock, ConvRes, ConvStep, ConvStep2D, SeparableConv1D
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.layers.normalization import LayerNorm
from t2t_mm.layers.randomness import Dropout
from t2t_mm.modalities.audio import AudioInput
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.modalities.features import Arrays
from t2t_mm.modalities.image import ImageInput
from t2t_mm.modalities.language import LanguageInput, LanguageOutput
from t2t_mm.model import Decoder, Encoder, Mixer, MultiModel

CONV, ATTENTION = functools.partial(ConvBlock, dropout=0.0), functools.partial(AttentionBlock, heads=2, convs=1)
MIXTURE = functools.partial(MixtureOfExperts, num_experts=4, chosen=2, hidden=4)


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def built(layer, *shape):
    layer.build((None, *shape))
    return layer


def mask(*shape):
    return zeros(*shape, dtype="bool")


X, PADDING = zeros(2, 5, 8), mask(2, 5)
PIXELS = zeros(2, 32, 32, 3)


def small_model(**settings):
    parts = {"conv_block": CONV, "attention_block": ATTENTION, "mixture": MIXTURE, "depth": 8}
    blocks = {"encoder_blocks": 1, "mixer_blocks": 0, "decoder_blocks": 1}
    return MultiModel(9, ("To-German", "To-Class"), **(parts | blocks | settings))


def seen(padding, modality="image", inputs=PIXELS):
    image = functools.partial(ImageInput, filters=(4, 4))
    return small_model(inputs=("language", "image"), image=image).encode(modality, inputs, padding)


@pytest.mark.parametrize(
    "call,message",
    [
        # What ConvBlock once took without a word.
        (lambda: built(ConvBlock(), None, 16)(zeros(5, 16), mask(2, 5)), r"x has shape \[5, 16\]; .*\[B, L, D\]"),
        (lambda: built(ConvBlock(), None, 8)(X, zeros(2, 5)), "padding is float32; it must be boolean, True where"),
        (lambda: built(ConvBlock(), None, 8)(X, zeros(2, 5, dtype="int32")), "padding is int32"),
        (lambda: built(ConvBlock(), None, 8)(X, mask(2, 4)), r"padding has shape \[2, 4\]; it must be \[2, 5\]"),
        (lambda: built(ConvBlock(), None, 8)(X, mask(2, 1)), r"padding has shape \[2, 1\]; it must be \[2, 5\]"),
        (lambda: built(ConvBlock(), None, 8)(X, mask(5)), r"padding has shape \[5\]; it must be \[2, 5\]"),
        (lambda: built(ConvBlock(), None, 8)(X, padding=[[False] * 5] * 2), "padding is .*must be a tensor"),
        (lambda: built(ConvBlock(), None, 8)(zeros(2, 5, 6)), r"x has shape \[2, 5, 6\]; its last dimension must be 8"),
        (lambda: built(ConvStep(4, 3), None, 8)(zeros(5, 8)), r"x has shape \[5, 8\]"),
        (lambda: built(SeparableConv1D(4, 3), None, 8)(zeros(2, 5, 7)), r"x has shape \[2, 5, 7\]"),
        (lambda: built(ConvStep2D(4), None, None, 3)(zeros(2, 5, 3)), r"x has shape \[2, 5, 3\]; .*\[B, H, W, C\]"),
        (lambda: built(ConvStep2D(4), None, None, 3)(zeros(2, 5, 5, 4)), r"\[2, 5, 5, 4\]; its last dimension must be 3"),
        (lambda: built(ConvStep2D(4), None, None, 3)(zeros(2, 5, 5, 3), mask(2, 5, 4)), r"padding has shape \[2, 5, 4\]"),
        (lambda: built(ConvRes(4), None, None, 3)(zeros(2, 5, 5, 3), zeros(2, 5, 5)), "padding is float32"),
        (lambda: built(Projection(), None, 8)(zeros(2, 5, 7)), r"x has shape \[2, 5, 7\]"),
        (lambda: built(ATTENTION(), None, 8)(zeros(5, 8), PADDING, X, PADDING), r"source has shape \[5, 8\]"),
        (lambda: built(ATTENTION(), None, 8)(X, PADDING, zeros(2, 3, 4), mask(2, 3)), r"target has shape \[2, 3, 4\]"),
        (lambda: built(ATTENTION(), None, 8)(X, zeros(2, 5), X, PADDING), "source_padding is float32"),
        (lambda: built(ATTENTION(), None, 8)(X, PADDING, X, mask(2, 4)), r"target_padding has shape \[2, 4\]"),
        (lambda: built(MIXTURE(), None, 8)(X, mask(2, 4)), r"padding has shape \[2, 4\]"),
        (lambda: built(Encoder(1, CONV, None), None, 8)(zeros(2, 5, 6), PADDING), r"x has shape \[2, 5, 6\]"),
        (lambda: built(Mixer(1, CONV, ATTENTION), None, 8)(X, mask(2, 4), X, PADDING), r"source_padding has shape \[2, 4\]"),
        (lambda: built(Decoder(1, ATTENTION, None), None, 8)(zeros(2, 8), PADDING, X, PADDING), r"encoded has shape \[2, 8\]"),
        (lambda: built(LanguageInput(8, 9))(zeros(2, 5)), "ids is float32; it must be integers"),
        (lambda: built(LanguageInput(8, 9))(PADDING), "ids is bool"),
        (lambda: built(ImageInput(8, (4, 4)), None, None, 3)(zeros(2, 32, 32, 1)), r"\[2, 32, 32, 1\]; .* must be 3"),
        (lambda: built(ImageInput(8, (4, 4)), None, None, 3)(zeros(2, 32, 3)), r"\[2, 32, 3\]; it must be \[B, H, W, 3\]"),
        (
            lambda: small_model(inputs=("language",)).encode("language", zeros(5, dtype="int32"), None),
            r"inputs has shape \[5\]; it must be \[B, S\]",
        ),
        (lambda: seen(mask(2, 32)), "There is a padding for the modality 'image', which has none, .*; pass None"),
        (lambda: seen("nonsense"), "There is a padding for the modality 'image'"),
        (
            lambda: seen((mask(2, 32), mask(2, 5)), ("image", "language"), (PIXELS, zeros(2, 5, dtype="int32"))),
            "There is a padding for the modality 'image'",
        ),
        (lambda: built(ImageInput(8, (4, 4)), None, None, 3)(PIXELS, mask(2, 32)), "There is a padding for images"),
        (lambda: built(AudioInput(8, 1), None, 6)(zeros(2, 9, 5), mask(2, 9)), r"x has shape \[2, 9, 5\]; .* must be 6"),
        (lambda: built(AudioInput(8, 1), None, 6)(zeros(2, 9, 6), mask(2, 8)), r"padding has shape \[2, 8\]"),
        (lambda: built(CategoricalOutput({"a": 2}, (4, 4)), None, 8)(X, PADDING, labels="b"), "labels is 'b'; .*'a'"),
        (lambda: built(CategoricalOutput({"a": 2}, (4, 4)), None, 8)(X, zeros(2, 5), labels="a"), "padding is float32"),
    ],
)
def test_a_tensor_that_is_not_meant_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: ConvBlock(dropout=1.0), "dropout is 1.0"),
        (lambda: ConvBlock(dropout=-0.1), "dropout is -0.1"),
        (lambda: ConvBlock(dropout="a lot"), "dropout is 'a lot'"),
        (lambda: ConvBlock(dropout_on="both"), "dropout_on is 'both'; .*'sum', 'branch'"),
        (lambda: ConvBlock(kernel_small=0), "kernel_small is 0"),
        (lambda: ConvBlock(kernel_large=-1), "kernel_large is -1"),
        (lambda: ConvBlock(dilation=0), "dilation is 0"),
        (lambda: ConvBlock(branch_scale=math.nan), "branch_scale is nan; it must be a number of at least 0"),
        (lambda: ConvBlock(branch_scale=-0.2), "branch_scale is -0.2"),
        (lambda: ConvBlock(kernel_scale=0.0), "kernel_scale is 0.0; it must be a number greater than 0"),
        (lambda: ConvBlock(kernel_scale=math.inf), "kernel_scale is inf"),
        (lambda: SeparableConv1D(4, 3, kernel_scale=-1), "kernel_scale is -1"),
        (lambda: ConvStep2D(4, kernel_scale=math.nan), "kernel_scale is nan"),
        (lambda: ConvStep2D(4, kernel_scale=True), "kernel_scale is True"),
        (lambda: AttentionBlock(timing_scale="0.2"), "timing_scale is '0.2'"),
        (lambda: AttentionBlock(timing_scale=-1.0), "timing_scale is -1.0"),
        (lambda: AttentionBlock(attend=1), "attend is 1; it must be True, False or 'mean'"),
        (lambda: AttentionBlock(attend="median"), "attend is 'median'"),
        (lambda: LayerNorm(math.inf), "scale is inf; it must be a number of at least 0"),
        (lambda: ConvStep2D(4, strides=(0, 1)), "strides is 0"),
        (lambda: ConvRes(0), "filters is 0"),
        (lambda: AttentionBlock(heads=0), "heads is 0"),
        (lambda: AttentionBlock(convs=-1), "convs is -1"),
        (lambda: MixtureOfExperts(dropout=2), "dropout is 2"),
        (lambda: MixtureOfExperts(hidden=0), "hidden is 0"),
        (lambda: Dropout(None), "dropout is None"),
        (lambda: Encoder(0, CONV, None), "blocks is 0"),
        (lambda: Mixer(-1, CONV, ATTENTION), "blocks is -1"),
        (lambda: Decoder(0, ATTENTION, None), "blocks is 0"),
        (lambda: LanguageInput(0, 9), "depth is 0"),
        (lambda: LanguageOutput(-4), "vocabulary_size is -4"),
        (lambda: ImageInput(8, (4, 0)), "filters is 0"),
        (lambda: ImageInput(8, (4,)), r"filters is \(4,\)"),
        (lambda: AudioInput(8, least_width=0), "least_width is 0"),
        (lambda: AudioInput(8, frequencies="all"), "frequencies is 'all'; .*'positions', 'channels'"),
        (lambda: CategoricalOutput({"a": 0}), r"num_classes\['a'\] is 0"),
        (lambda: CategoricalOutput({"a": 2}, (4, 0)), "filters is 0"),
        (lambda: CategoricalOutput({"a": 2}, (4, 5, 6)), r"widths is \(4, 5, 6\); it must be the two of h4 and h5"),
        (lambda: CategoricalOutput({"a": 2}, (4,)), r"widths is \(4,\)"),
        (lambda: Arrays(None, longest=0), "Arrays: longest is 0; it must be at least 1"),
        (lambda: Arrays(None, budget=0), "Arrays: budget is 0"),
        (lambda: Arrays(None, budget=-5), "Arrays: budget is -5"),
        (lambda: MultiModel(9, ()), "number of commands is 0"),
        (lambda: MultiModel(9, "To-German"), r"commands is 'To-German'; .* such as \('To-German',\)"),
        (lambda: MultiModel(9, ("a", "b", "a")), "commands contains 'a' more than once"),
        (lambda: MultiModel(9, ("a",), depth=33), "depth is 33; it must be even"),
        (lambda: MultiModel(9, ("a",), inputs=("smell",)), "inputs is 'smell'; .*'language', 'image', 'audio'"),
        (lambda: MultiModel(9, ("a",), inputs=("imgae",)), r"inputs is 'imgae' \(did you mean image\?\)"),
        (lambda: MultiModel(9, ("a",), encoder_blocks=0), "encoder_blocks is 0"),
        (lambda: MultiModel(9, ("a",), mixer_blocks=-1), "mixer_blocks is -1"),
        (lambda: MultiModel(9, ("a",), decoder_blocks=-2), "decoder_blocks is -2"),
        (lambda: MultiModel(9, ("a",), frequency_bins=0), "frequency_bins is 0"),
    ],
)
def test_a_setting_that_is_not_meant_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_least_that_is_allowed_is_allowed():
    model = MultiModel(9, ("a",), frequency_bins=1, encoder_blocks=1, mixer_blocks=0, decoder_blocks=1)
    assert model.frequency_bins == len(model.decoder.blocks) == 1
    assert ConvBlock(branch_scale=0).branch_scale == AttentionBlock(timing_scale=0.0).timing_scale == 0
    assert Arrays(None, longest=1, budget=1).bounds(None).budget == 1


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"modality": "languge"}, r"modality is 'languge' \(did you mean language\?\); it must be one of 'language', 'image'"),
        ({"command": "To-Germn"}, r"command token 'To-Germn' \(did you mean To-German\?\); this model knows To-German, To-Cl"),
        ({"labels": "pest"}, r"labels is 'pest' \(did you mean pets\?\); .* \(this model has pets, plants\)"),
        ({"comand": "To-Class"}, r"the key 'comand' \(did you mean command\?\); its keys are among command, inputs"),
    ],
)
def test_a_misspelt_argument_of_the_model_names_what_is_near(changed, message):
    model = small_model(inputs=("language", "image"), num_classes={"pets": 2, "plants": 3})
    ids = {"modality": "language", "inputs": zeros(2, 5, dtype="int32"), "command": "To-Class", "labels": "pets"}
    assert model(ids).shape == (2, 2)
    with pytest.raises(ValueError, match=message):
        model(ids | changed)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's graphs")
def test_checks_cost_nothing_in_a_graph_and_unknown_sizes_pass():
    import tensorflow as tf

    block = built(ConvBlock(), None, 8)
    function = tf.function(block, autograph=False)
    sizes = tf.TensorSpec([None, None, 8]), tf.TensorSpec([None, None], tf.bool)
    graph = function.get_concrete_function(*sizes).graph
    assert not [op.name for op in graph.get_operations() if op.type in ("Assert", "If", "StatelessIf", "PyFunc", "EagerPyFunc")]
    assert function(X, PADDING).shape == (2, 5, 8)
    with pytest.raises(ValueError, match="padding is float32"):
        function.get_concrete_function(sizes[0], tf.TensorSpec([None, None]))
