"""Tests that configuration is strict where Gin ignores errors, and that every .gin file can be parsed and built."""

import glob
import os
import re
import sys

import pytest

import gin
from t2t_mm.common import config
from t2t_mm.common.renamed import RENAMED
from t2t_mm.model import MultiModel
from t2t_mm.training import mixing

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


def test_hyper_parameters_are_the_sizes_used_with_defaults_and_resolved_macros(build):
    build("convolution.ConvBlock.dropout = %rate\nrate = 0.25\nrunning = 1\nmodel.MultiModel.mixer_blocks = %running")
    found = config.hyper_parameters()
    assert found["ConvBlock.dropout"] == 0.25 and found["MultiModel.mixer_blocks"] == 1
    assert found["MultiModel.depth"] == 16 and found["MultiModel.mixtures"] is False
    assert found["MultiModel.commands"] == "('To-English',)" and "MultiModel.encoder_blocks" in found, "a default"
    assert "MultiModel.conv_block" not in found, "a class"


def test_a_part_may_be_none(build):
    """The parts' annotations admit anything: a class, a partial, a dict of a saved part, none."""
    assert build("model.MultiModel.mixtures = True\nmodel.MultiModel.mixture = None").encoder.mixture is None


@pytest.mark.parametrize(
    "text,message",
    [
        ("convolution.ConvBlock.dropuot = 0.1", "no parameter dropuot \\(did you mean dropout\\?\\)"),
        ("convolution.ConvBlok.dropout = 0.1", "; t2t_mm.layers.convolution has no .*did you mean convolution.ConvBlock\\?"),
        ("model.MultiModel.mixture = @convolution.ConvBlok()", "@convolution.ConvBlok.*did you mean convolution.ConvBlock\\?"),
        ("include 'gin/sizes/mimi.gin'", "Unable to open file: gin/sizes/mimi.gin.*did you mean gin/sizes/mini.gin\\?"),
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
    with pytest.raises(config.ConfigError, match=r"dropuot is used by no binding \(did you mean dropout\?\)"):
        build(text)


def test_a_value_out_of_range_is_named(build):
    with pytest.raises(ValueError, match="dropout is 1.5"):
        build("convolution.ConvBlock.dropout = 1.5")


@pytest.mark.parametrize("binding", ["steps", "", "steps 3", "--steps=3"])
def test_what_is_no_binding_is_named(binding):
    with pytest.raises(config.ConfigError, match=re.escape(f"The binding {binding!r} is not of the form NAME = VALUE")):
        config.parse([], ["a.b = 1", binding])


def test_a_missing_file_is_named():
    with pytest.raises(config.ConfigError, match="nowhere.gin"):
        config.parse(["nowhere.gin"])


def test_the_settings_that_differ_are_named(build):
    saved = []
    for bindings in (
        "convolution.ConvBlock.dropout = 0.25",
        "convolution.ConvBlock.dropout = 0.5\nconvolution.ConvBlock.dilation = 2",
    ):
        build(bindings)
        saved.append(config.resolved())
    assert config.differences(*saved) == [
        "convolution.ConvBlock.dropout was 0.25 and is 0.5",
        "convolution.ConvBlock.dilation was not set and is 2",
    ]
    assert config.differences(saved[1], saved[0])[0] == "convolution.ConvBlock.dilation was 2 and is not set"
    before = "problems = \\\n    [@a(),\n     @b()]\n\n# Parameters for x.Y:\n# =====\n"
    before += "x.Y.z = {'q': 1,\n  'r': 2}\nscope/x.Y.z = 1\n"
    assert config.differences(before, before) == []
    after = before.replace("@b()", "@c()").replace("2}", "3}").replace("z = 1", "z = 2")
    assert config.differences(before, after) == [
        "problems was [@a(), @b()] and is [@a(), @c()]", "x.Y.z was {'q': 1, 'r': 2} and is {'q': 1, 'r': 3}",
        "scope/x.Y.z was 1 and is 2",
    ]  # fmt: skip


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
    in_parts = "prepared.gin", "joint.gin", "experiment.gin", "few_examples.gin"
    parts = os.path.basename(path) in in_parts or os.path.basename(os.path.dirname(path)) == "tables"
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


@pytest.mark.parametrize("text, message", [
    ("a = 1\nb = (\n  1,\n", r"mine.gin: line 2: '\(' is never closed"),
    ("a = {'b': [1, 2}\n", r"mine.gin: line 1: '\[' is never closed|does not match"),
    ("a = 1\nb = \'\'\'c\n", "mine.gin: line 2: .*multi-line string"),
])  # fmt: skip
def test_what_is_never_closed_is_named(tmp_path, text, message):
    (tmp_path / "mine.gin").write_text(text)
    with pytest.raises(config.ConfigError, match=message):
        config.parse([str(tmp_path / "mine.gin")])
    with pytest.raises(config.ConfigError, match=r"--gin_param=a.b = \[1: line 1: '\[' is never closed"):
        config.parse([], ["a.b = [1"])


def write(folder, **files):
    for name, text in files.items():
        (folder / name.replace("_gin", ".gin").replace("_py", ".py")).write_text(text)


MINE = "from t2t_mm.layers.convolution import ConvBlock\n\ndef narrow():\n    return 0.125\n"
USES_MINE = """
from __gin__ import dynamic_registration
import own_module
from t2t_mm.layers import convolution
convolution.ConvBlock.dropout = @own_module.narrow()
"""


def test_modules_beside_a_gin_file_are_importable_there_and_from_the_saved_configuration(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    write(tmp_path / "own", own_module_py=MINE, mine_gin=USES_MINE)
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    config.parse([str(tmp_path / "own" / "mine.gin")])
    assert sys.path == [*before, str(tmp_path / "own")]  # last: it hides no module
    saved = config.resolved()
    assert saved.startswith(f"# Modules beside: {tmp_path}/own\n")
    write(tmp_path, config_gin=saved)
    monkeypatch.setattr(sys, "path", list(before))
    config.parse([str(tmp_path / "config.gin")])
    assert sys.path == [*before, str(tmp_path / "own")]
    assert config.resolved() == saved
    config.parse(["gin/sizes/mini.gin"])
    assert "Modules beside" not in config.resolved()


def test_files_of_the_package_are_found_from_any_folder_and_ones_own_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.parse(["gin/sizes/mini.gin"])
    assert config.value_of("model.MultiModel.depth") == 128
    write(tmp_path, mine_gin="include 'gin/sizes/mini.gin'\nmodel.MultiModel.depth = 64\n")
    config.parse(["mine.gin"])
    assert config.value_of("model.MultiModel.depth") == 64
    (tmp_path / "gin" / "sizes").mkdir(parents=True)
    write(tmp_path / "gin" / "sizes", mini_gin="depth = 32\n")
    config.parse(["gin/sizes/mini.gin"])
    assert config.value_of("%depth") == 32


def test_an_unused_macro_is_found_before_anything_is_built(tmp_path):
    text = "from __gin__ import dynamic_registration\nfrom t2t_mm.layers import convolution\n"
    write(tmp_path, mine_gin=text + "dropout = 0.1\ndropuot = 0.2\nconvolution.ConvBlock.dropout = %dropout\n")
    config.parse([str(tmp_path / "mine.gin")])
    with pytest.raises(config.ConfigError, match=r"macro dropuot is used by no binding \(did you mean dropout\?\)"):
        config.check_macros()


@pytest.mark.parametrize("files", [["gin/runs/joint_mini.gin"], ["gin/runs/joint_mini.gin", "gin/runs/quickstart.gin"]])
def test_no_macro_of_the_runs_is_unused(files):
    config.parse(files)
    config.check_macros()


LOOP = "from __gin__ import dynamic_registration\nfrom t2t_mm.training import loop\nfrom t2t_mm.training import settings\n"


@pytest.mark.parametrize("before, now", RENAMED.items())
def test_an_old_name_says_what_it_is_called_now(tmp_path, before, now):
    value = "" if before.count(".") > 1 else "loop.train.optimizer = @"
    call = "()" if value else " = 1"
    write(tmp_path, old_gin=f"{LOOP}{value}{before}{call}\n", new_gin=f"{LOOP}{value}{now}{call}\n")
    with pytest.raises(config.ConfigError, match=rf"It is called {now} now\.$"):
        config.parse([str(tmp_path / "old.gin")])
    with pytest.raises(config.ConfigError, match=rf"It is called {now} now\.$"):
        config.parse(["gin/runs/joint_mini.gin"], [f"{value}{before}{call}"])
    try:
        config.parse([str(tmp_path / "new.gin")])
    except config.ConfigError as error:  # some take no number; all are known
        assert f"{now} is 1; it must be" in str(error).replace("t2t_mm.training.", "")


def test_mixing_by_size_is_reached_from_gin(tmp_path):
    write(
        tmp_path,
        mine_gin="""
from __gin__ import dynamic_registration
from t2t_mm.training import loop
from t2t_mm.training import mixing
include 'gin/runs/joint_mini.gin'
loop.train.mixing = @mixing.BySize()
mixing.BySize.temperature = 2.0
""",
    )
    config.parse([str(tmp_path / "mine.gin")])
    assert config.configured(mixing.BySize)() == mixing.BySize(temperature=2.0)
    with pytest.raises(config.ConfigError, match="did you mean temperature\\?"):
        config.parse([str(tmp_path / "mine.gin")], ["mixing.BySize.temprature = 2.0"])


def test_a_misspelt_setting_of_a_group_names_what_is_near_and_a_value_out_of_range_is_refused():
    run = ["gin/runs/joint_mini.gin"]
    with pytest.raises(config.ConfigError, match=r"a parameter named 'evry_steps'.* \(did you mean every_steps\?\)"):
        config.parse(run, ["settings.Evaluation.evry_steps = 3"])
    with pytest.raises(config.ConfigError, match="settings.Evaluation.every_steps is 2.5; it must be int"):
        config.parse(run, ["settings.Evaluation.every_steps = 2.5"])


def test_messages_have_no_addresses():
    def inner():
        pass

    message = config.without_addresses(f"{inner} and {dict.get} and {int}, {config.parse}")
    assert " at 0x" not in message and "parse" in message and message.endswith("int, parse")
    calls = "No problem.\n  In call to configurable 'train' (<function train at 0x7f0>)\n  In call to configurable 'x' (x)"
    assert config.without_calls(calls) == "No problem."
