"""Configuration is strict where plain Gin is silent; every .gin file parses and builds."""

import glob
import os

import pytest

import gin
from t2t_mm.model import MultiModel
from t2t_mm.run import config

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEADER = """from __gin__ import dynamic_registration
from t2t_mm import model
from t2t_mm.layers import convolution
model.MultiModel.conv_block = @convolution.ConvBlock
model.MultiModel.vocabulary_size = 20
model.MultiModel.commands = ("To-English",)
model.MultiModel.mixtures = False
model.MultiModel.depth = 16
"""


@pytest.fixture(autouse=True)
def forget():
    yield
    gin.clear_config()


@pytest.fixture
def build(tmp_path):
    def parse_and_build(text):
        path = tmp_path / "test.gin"
        path.write_text(HEADER + text)
        config.parse([str(path)])
        model = config.configured(MultiModel)()
        model.build()
        config.check_all_used()
        return model

    return parse_and_build


def test_a_binding_reaches_the_layer_and_the_layer_stays_itself(build):
    model = build("convolution.ConvBlock.dropout = 0.25")
    block = model.encoder.blocks[0]
    assert block.dropout.rate == 0.25 and block.name == "block1"
    assert model.mixer.attention.convs[0].dropout.rate == 0.25  # the one ConvBlock setting of the whole body
    assert block.trainable_weights[0].path.endswith("encoder/block1/step1/conv/depthwise")


@pytest.mark.parametrize(
    "text,message",
    [
        ("convolution.ConvBlock.dropuot = 0.1", "no parameter dropuot; near it: dropout"),
        ("convolution.ConvBlok.dropout = 0.1", "ConvBlok"),
        ("dropout_rate = 0.1", "dropout_rate is used by no binding"),
        ("dropout = 0.1\nconvolution.ConvBlock.dropout = %dropotu", "dropotu"),
        ("convolution.ConvStep2D.relu = False", "ConvStep2D.relu is read by nothing"),
        ("encoder/convolution.ConvBlock.dropout = 0.1", "encoder/.*dropout is read by nothing"),
        ("rate = %gin.REQUIRED\nconvolution.ConvBlock.dropout = %rate", "REQUIRED"),
        ("convolution.ConvBlock.dropout = ", "test.gin"),
        ("from t2t_mm.layers import nothing", "nothing"),
        ("convolution.ConvBlock.dropout = 'none'", "ConvBlock.dropout is 'none'; it must be float"),
        ("convolution.ConvBlock.kernel_small = 3.0", "kernel_small is 3.0; it must be int"),
        ("convolution.ConvBlock.causal = 1", "causal is 1; it must be bool"),
        ("rate = '0.1'\nconvolution.ConvBlock.dropout = %rate", "dropout is '0.1'; it must be float"),
        ("model.MultiModel.num_classes = 10", "num_classes is 10; it must be dict"),
    ],
)
def test_what_cannot_be_meant_is_named(build, text, message):
    with pytest.raises(config.ConfigError, match=message):
        build(text)


def test_an_unused_macro_names_the_one_it_is_near(build):
    text = "dropout = 0.1\ndropuot = 0.2\nconvolution.ConvBlock.dropout = %dropout"
    with pytest.raises(config.ConfigError, match="dropuot is used by no binding; near it: dropout"):
        build(text)


def test_a_value_out_of_range_is_named(build):
    with pytest.raises(ValueError, match="dropout is 1.5"):
        build("convolution.ConvBlock.dropout = 1.5")


def test_a_missing_file_is_named():
    with pytest.raises(config.ConfigError, match="nowhere.gin"):
        config.parse(["nowhere.gin"])


def test_the_saved_configuration_parses_to_the_same(build, tmp_path):
    build("convolution.ConvBlock.dropout = 0.25")
    saved = config.resolved()
    path = tmp_path / "saved.gin"
    path.write_text(saved)
    config.parse([str(path)])
    assert config.configured(MultiModel)().encoder.blocks[0].dropout.rate == 0.25
    assert config.resolved() == saved


@pytest.mark.parametrize("path", sorted(glob.glob(os.path.join(ROOT, "gin", "**", "*.gin"), recursive=True)))
def test_every_gin_file_parses(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    parts = os.path.basename(path) in ("prepared.gin", "joint.gin") or os.path.basename(os.path.dirname(path)) == "tables"
    run = ["gin/runs/joint_mini.gin"] if parts else []  # what they lack to be runs
    config.parse([*run, path])


@pytest.mark.parametrize("size", ["mini", "base", "paper"])
def test_every_size_builds_and_leaves_no_binding_unused(size, monkeypatch):
    monkeypatch.chdir(ROOT)
    config.parse([f"gin/sizes/{size}.gin"])
    config.configured(MultiModel)(vocabulary_size=8000, commands=("To-English",), num_classes={"imagenet": 1000})
    config.check_all_used()


@pytest.mark.parametrize(
    "files, folder",
    [
        (["gin/runs/joint_mini.gin"], "corpora/mini"),
        (["gin/runs/joint_mini.gin", "gin/runs/quickstart.gin"], "corpora/mini"),
        (["gin/runs/tables_mini.gin"], "corpora/mini"),
        (["gin/benchmarks/input.gin"], "corpora/mini"),
        (["gin/runs/real_samples.gin"], "../shared/data"),
        (["gin/runs/tables_real.gin"], "corpora"),
    ],
)
def test_runs_read_their_own_corpora(files, folder, monkeypatch):
    """A file included twice would set its macros back."""
    monkeypatch.chdir(ROOT)
    config.parse(files)
    assert config.value_of("paper.wsj_parsing.root") == folder


def test_a_byte_order_mark_before_a_file_or_an_included_one_is_ignored(tmp_path):
    inner, outer = tmp_path / "inner.gin", tmp_path / "outer.gin"
    inner.write_text("\ufeffa = 1\n", encoding="utf-8")
    outer.write_bytes(b"\xef\xbb\xbfinclude '%s'\r\nb = %%a\r\n" % str(inner).encode())
    config.parse([str(outer)])
    assert config.value_of("%b") == 1
    outer.write_text("b = 2\n", encoding="utf-16")
    with pytest.raises(config.ConfigError, match="outer.gin: not UTF-8 text but UTF-16"):
        config.parse([str(outer)])
