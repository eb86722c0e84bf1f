"""Tests that the wheel is complete: it is built, installed into an empty environment, and used from another folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

CHECKOUT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
PARTS = ("t2t_mm", "bin", "gin", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools writes beside what it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        source, target = os.path.join(CHECKOUT, part), folder / "source" / part
        if os.path.isdir(source):
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run([sys.executable, *build, "--wheel-dir", str(folder), str(folder / "source")], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin/ of an environment that holds the wheel, and sees this environment's packages in place of its own."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python)]
    run([*pip, "install", "--no-deps", "--no-index", str(wheel)], folder)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is searched, but the .pth files in it are not read: an editable install stays out of sight.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def run(command, folder, code=0):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def test_everything_of_bin_and_gin_is_in_it_once(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    for folder, ending in (("bin", ".py"), ("gin", ".gin")):
        for at, _, files in os.walk(os.path.join(CHECKOUT, folder)):
            for file in files:
                if file.endswith(ending):
                    assert f"t2t_mm/_shipped/{os.path.relpath(os.path.join(at, file), CHECKOUT)}" in names
    assert {"t2t_mm/serving/page.html", "t2t_mm/inference/attention.html"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "corpora/"))]


def test_its_commands_are_those_of_bin(installed, tmp_path):
    done = run([installed / "t2t-mm", "--help"], tmp_path)
    known = {name.removesuffix(".py") for name in os.listdir(os.path.join(CHECKOUT, "bin")) if name.endswith(".py")}
    assert {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")} == known - {"mutate"}
    assert run([installed / "t2t-mm", "--version"], tmp_path).stdout.startswith("t2t_mm 0.")
    wrong = run([installed / "t2t-mm", "trian"], tmp_path, code=1)
    assert "unknown command 'trian' (did you mean train?)" in wrong.stderr and "Traceback" not in wrong.stderr


def test_its_texts_name_the_commands_as_its_user_types_them(installed, tmp_path):
    shown = subprocess.run([installed / "t2t-mm", "decode", "--help"], capture_output=True, text=True, cwd=tmp_path).stdout
    assert "t2t-mm decode --model_dir=runs/joint_mini --problem=wmt_en_de" in shown and "python bin" not in shown
    wrong = run([installed / "t2t-mm", "decode", "--model_dir=x", "--problem=coco", "--input=a"], tmp_path, code=1)
    assert "Train one with t2t-mm train" in wrong.stderr


def test_its_configurations_are_found_from_any_folder(installed, tmp_path):
    small = ("pairs=3", "trees=3", "images=1", "scenes=1", "utterances=1", "speakers=1", "more_trees=2", "few=2")
    held_out = [f"held_out_{name}=1" for name in ("pairs", "trees", "images", "scenes", "utterances", "speakers")]
    flags = [f"--gin_param=corpora.Sizes.{binding}" for binding in (*small, *held_out)]
    run([installed / "t2t-mm", "make_mini", "--root=here", *flags], tmp_path)
    assert (tmp_path / "here" / "mini.json").is_file()
    # A file of one's own that includes the package's, and changes something.
    (tmp_path / "mine.gin").write_text("include 'gin/sizes/mini.gin'\nmodel.MultiModel.depth = 64\n")
    done = run([installed / "t2t-mm", "inspect_model", "--gin_file=mine.gin"], tmp_path)
    own = run([installed / "t2t-mm", "inspect_model", "--gin_file=gin/sizes/mini.gin"], tmp_path)
    assert "Parameters" in done.stdout and done.stdout != own.stdout
    assert not done.stderr  # nothing of TensorFlow's own on the screen
    wrong = run([installed / "t2t-mm", "train", "--gin_file=gin/runs/joint_mni.gin", "--model_dir=x"], tmp_path, code=1)
    assert wrong.stderr.startswith("t2t-mm train: No configuration file") and "gin/runs/joint_mini.gin" in wrong.stderr
    assert not (tmp_path / "x").exists()
