"""Tests the model and its layers as Keras users use them: called, saved, loaded, cloned and summarised."""

import functools
import glob
import inspect
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import gin
from t2t_mm import model as model_module
from t2t_mm.common import config
from t2t_mm.layers import attention, convolution, moe, normalization, randomness, source_mean
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.layers.policy import made_with
from t2t_mm.modalities import audio, categorical, image, language
from t2t_mm.modalities.audio import AudioInput
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.modalities.image import ImageInput
from t2t_mm.model import MultiModel

MODULES = (
    attention,
    convolution,
    moe,
    normalization,
    randomness,
    source_mean,
    audio,
    categorical,
    image,
    language,
    model_module,
)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VOCABULARY, BINS = 30, 6
# A value for every argument of every constructor that is not the default, so that a forgotten one shows.
OTHER = {
    "always": True, "attend": False, "attention_block": functools.partial(AttentionBlock, heads=2, convs=1), "audio": None,
    "batch_norm": False, "block_size": 3, "blocks": 2, "branch_scale": 0.5, "causal": True, "categorical": None,
    "chosen": 3, "classes_from": "encoder", "command_at": "both",
    "commands": ("To-Class", "To-German"),
    "conv_block": functools.partial(ConvBlock, dropout=0.25),
    "convs": 1, "decoder_blocks": 1, "depth": 16, "dilation": 2, "dropout": 0.125, "dropout_on": "branch",
    "encoder_blocks": 2, "experts": 4, "filters": 5, "first_relu": True, "frequencies": "channels",
    "frequency_bins": BINS, "full_stem": True, "gate_noise": False, "heads": 2, "hidden": 7, "image": None,
    "inputs": ("language",), "kernel_large": 5, "kernel_scale": 0.5, "kernel_size": 5, "kernel_small": 5,
    "least_width": 3, "mean_share": 0.25, "mixer_blocks": 1,
    "mixture": functools.partial(MixtureOfExperts, num_experts=4, chosen=2, hidden=4),
    "mixtures": False, "num_classes": {"birds": 3, "pets": 2}, "num_experts": 5, "rate": 0.5, "reads": "mean", "relu": False,
    "scale": 0.75, "separable": False, "source_timing": True, "strides": (2, 2), "timing_scale": 0.25,
    "vocabulary_size": VOCABULARY, "widths": (6, 8),
}  # fmt: skip
SPECIAL = {
    ImageInput: {"filters": (4, 5, 6)},
    MultiModel: {
        "image": functools.partial(ImageInput, filters=(4, 8)),
        "audio": functools.partial(AudioInput, blocks=1, least_width=4, frequencies="channels"),
        "categorical": functools.partial(CategoricalOutput, widths=(6, 8)),
    },
}


def layers():
    for module in MODULES:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, keras.layers.Layer) and value.__module__ == module.__name__:
                yield value


def arguments(layer):
    names = [name for name, p in inspect.signature(layer.__init__).parameters.items() if p.kind != p.VAR_KEYWORD]
    names = [name for name in names if name not in ("self", "activity_regularizer", "trainable", "dtype", "autocast", "name")]
    return {name: SPECIAL.get(layer, {}).get(name, OTHER.get(name)) for name in names}


def small(**settings):
    settings = {
        "inputs": ("language", "image", "audio"),
        "num_classes": {"birds": 3},
        "mixtures": True,
        **SPECIAL[MultiModel],
        **settings,
    }
    keras.utils.set_random_seed(3)
    model = MultiModel(**(arguments(MultiModel) | settings))
    model.build()
    rng = np.random.default_rng(5)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3).astype("float32"))
    return model


def batches():
    rng = np.random.default_rng(1)
    ids = lambda *shape: rng.integers(3, VOCABULARY, size=shape).astype("int32")  # noqa: E731
    padding = np.array([[False] * 7, [False] * 4 + [True] * 3])
    yield {
        "modality": "language", "inputs": ids(2, 7), "padding": padding, "command": "To-German", "targets": ids(2, 5),
        "target_padding": padding[:, :5],
    }  # fmt: skip
    yield {"modality": "image", "inputs": rng.normal(size=(2, 32, 32, 3)).astype("float32"), "command": "To-Class"}
    yield {
        "modality": "audio", "inputs": rng.normal(size=(2, 7, BINS)).astype("float32"), "padding": padding,
        "command": "To-German", "targets": ids(2, 5),
    }  # fmt: skip


def as_json(config):
    return json.loads(json.dumps(config))


def answers(model):
    return [np.asarray(model(batch)) for batch in batches()]


def assert_equal(one, other):
    for a, b in zip(answers(one), answers(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layer", list(layers()), ids=lambda layer: layer.__name__)
def test_every_argument_of_a_layer_is_in_its_config(layer):
    given = arguments(layer)
    made = layer(**given, name="mine")
    config = as_json(made.get_config())
    assert set(given) <= set(config), "get_config leaves out an argument of the constructor"
    again = layer.from_config(config)
    assert as_json(again.get_config()) == config and again.name == "mine"
    for name, value in given.items():
        if value is not None and not callable(value):
            assert config[name] == (list(value) if isinstance(value, tuple) else value), name
    assert keras.saving.get_registered_name(layer) == f"t2t_mm>{layer.__name__}"


def test_calling_the_model_gives_the_logits_of_its_parts():
    model = small()
    text, picture, sound = batches()
    encoded, padding, _, _ = model.encode("language", text["inputs"], text["padding"], "To-German")
    expected, _ = model.decode_text(encoded, padding, "To-German", text["targets"], text["target_padding"])
    np.testing.assert_array_equal(np.asarray(model(text)), np.asarray(expected))
    plain = {name: value for name, value in text.items() if name != "inputs"}
    np.testing.assert_array_equal(np.asarray(model(text["inputs"], **plain)), np.asarray(expected))
    encoded, padding, grid, _ = model.encode("image", picture["inputs"], None, "To-Class")
    expected, _ = model.decode_classes(encoded, padding, grid, "To-Class", "birds")
    np.testing.assert_array_equal(np.asarray(model(picture)), np.asarray(expected))
    assert model(sound).shape == (2, 5, VOCABULARY)
    nothing = sound | {"padding": np.zeros((2, 7), bool), "target_padding": np.zeros((2, 5), bool)}
    whole = {name: value for name, value in nothing.items() if "padding" not in name}
    np.testing.assert_allclose(np.asarray(model(whole)), np.asarray(model(nothing)), atol=1e-6)


def test_training_reaches_the_parts():
    model, (text, *_) = small(conv_block=functools.partial(ConvBlock, dropout=0.5)), batches()
    assert np.abs(np.asarray(model(text, training=True)) - np.asarray(model(text))).max() > 1e-2


@pytest.mark.parametrize(
    "change,message",
    [
        ({"lables": "birds"}, "key 'lables'"),
        ({"modality": "smell"}, "'smell'"),
        ({"command": "To-Klingon"}, "To-Klingon"),
        ({"labels": "birds"}, "both targets and labels 'birds'"),
        ({"targets": None, "labels": "fish"}, r"labels is 'fish'; .*birds"),
    ],
)
def test_a_batch_that_is_not_meant_is_refused(change, message):
    model, (text, *_) = small(), batches()
    with pytest.raises(ValueError, match=message):
        model(text | change)


def test_label_sets_are_named_where_there_are_several():
    model = small(num_classes={"birds": 3, "pets": 2})
    _, picture, _ = batches()
    with pytest.raises(ValueError, match="labels is None.*birds, pets"):
        model(picture)
    assert model(picture | {"labels": "pets"}).shape == (2, 2)
    with pytest.raises(ValueError, match="this model has none"):
        small(num_classes=None)(picture)


@pytest.mark.parametrize("settings", [{}, {"mixtures": False}, {"mixture": None}], ids=["all", "mixtures", "mixture"])
def test_saved_and_loaded_answers_the_same(tmp_path, settings):
    model = small(**settings)
    path = str(tmp_path / "m.keras")
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded) is MultiModel and as_json(loaded.get_config()) == as_json(model.get_config())
    assert [w.path for w in loaded.weights] == [w.path for w in model.weights]
    assert_equal(model, loaded)


def test_a_part_keeps_its_class_and_its_policy(tmp_path):
    @keras.saving.register_keras_serializable(package="mine")
    class Wide(ConvBlock):
        pass

    with made_with("mixed_bfloat16"):
        model = small(conv_block=functools.partial(Wide, dropout=0.3))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    block = loaded.decoder.blocks[0].convs[0]
    assert type(block) is Wide and block.dropout.rate == 0.3
    policies = {layer.dtype_policy.name for layer in loaded._flatten_layers()}
    assert policies == {"mixed_bfloat16"}
    text = next(batches())
    np.testing.assert_array_equal(np.asarray(model(text)), np.asarray(loaded(text)))


def test_clone_and_config_are_the_same_model_with_new_weights():
    model = small()
    for copy in (keras.models.clone_model(model), MultiModel.from_config(model.get_config())):
        if not copy.built:
            copy.build()
        assert not np.array_equal(np.asarray(copy.language_in.embedding), np.asarray(model.language_in.embedding))
        copy.set_weights(model.get_weights())
        assert_equal(model, copy)


def test_summary_counts_every_parameter():
    lines, model = [], small()
    model.summary(print_fn=lambda text, **_: lines.append(text))
    text = "\n".join(lines)
    assert all(name in text for name in model.parts()) and f"{model.count_params():,}" in text


def test_a_layer_is_a_part_of_other_models(tmp_path):
    outer = keras.Sequential([keras.Input((None, 8)), ConvBlock(dropout=0.1), keras.layers.Dense(2)])
    outer.save(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(np.asarray(outer(x)), np.asarray(loaded(x)))


def test_the_readmes_example_works(tmp_path, monkeypatch):
    with open(os.path.join(ROOT, "README.md")) as file:
        section = file.read().split("## As a Keras model")[1].split("\n## ")[0]
    code = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    np.testing.assert_array_equal(np.asarray(names["again"](names["words"])), np.asarray(names["logits"]))
    assert names["logits"].shape == (1, 2, 1200) and names["scores"].shape == (1, 37)


@pytest.mark.parametrize("path", sorted(glob.glob(os.path.join(ROOT, "gin", "sizes", "*.gin"))), ids=os.path.basename)
def test_gins_bindings_are_a_part_of_the_config(path):
    config.parse([path])
    given = {"vocabulary_size": 8000, "commands": ("To-Class",), "num_classes": {"imagenet": 10}}
    bound = config.configured(MultiModel)(**given).get_config()
    gin.clear_config()
    assert as_json(MultiModel.from_config(as_json(bound)).get_config()) == as_json(bound)
    size = os.path.basename(path).removesuffix(".gin")
    assert bound["mixture"]["config"]["num_experts"] == {"mini": 8, "base": 30, "paper": 240}[size]


def test_another_process_loads_what_was_saved(tmp_path):
    """Keras knows the classes once the model's module is imported, and nothing of this process is needed."""
    model = small()
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "batch.npz", **next(batches()))
    np.save(tmp_path / "answer.npy", np.asarray(model(next(batches()))))
    script = (
        "import sys, keras, numpy as np, t2t_mm.model\n"
        "folder = sys.argv[1]\n"
        "batch = {k: v if v.ndim else str(v) for k, v in np.load(folder + '/batch.npz').items()}\n"
        "found = np.asarray(keras.models.load_model(folder + '/m.keras')(batch))\n"
        "np.testing.assert_allclose(found, np.load(folder + '/answer.npy'), atol=1e-6)\n"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=environment)
