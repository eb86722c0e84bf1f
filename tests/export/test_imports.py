"""Tests what an installation without the extra "serve" can do."""

import json
import os
import subprocess
import sys

import pytest

from t2t_mm.common import command, description

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WITHOUT_SERVING = """
import runpy, sys
for name in ("aiohttp", "psutil"):
    sys.modules[name] = None
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def without_serving(name, *flags):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_SERVING, os.path.join(TOP, "bin", name), *flags],
        env=os.environ | {"PYTHONPATH": TOP}, capture_output=True, text=True,
    )  # fmt: skip


def test_export_needs_no_server(tmp_path):
    """The quickstart exports; only bin/serve.py and bin/predict.py need the extra."""
    (tmp_path / "model.json").write_text(json.dumps(dict.fromkeys(description.KEYS, [])))
    (tmp_path / "config.gin").write_text(
        "from __gin__ import dynamic_registration\nfrom t2t_mm import experiment\nexperiment.Experiment.problems = ()\n"
        "experiment.Experiment.vocabulary = 'absent'\n"
    )
    flags = [f"--model_dir={tmp_path}", f"--export_dir={tmp_path}"]
    run = without_serving("export.py", *flags)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("export.py: ") and "There are no problems" in run.stderr


@pytest.mark.parametrize("name", ["predict.py", "serve.py"])
def test_help_and_flags_need_no_extra(name):
    assert "flags:" in without_serving(name, "--help").stdout
    wrong = without_serving(name, "--modle_name=x")
    assert wrong.returncode == 1 and "Unknown command line flag" in wrong.stderr and "Traceback" not in wrong.stderr


@pytest.mark.parametrize(
    "name, flags, package",
    [
        ("predict.py", ["--problem=wmt_en_de", "--input=x"], "aiohttp"),
        ("serve.py", ["--export_dir=nowhere"], "aiohttp"),
        ("benchmark.py", ["serve"], "aiohttp"),
    ],
)
def test_a_missing_extra_is_one_line(name, flags, package):
    run = without_serving(name, *flags)
    assert run.returncode == 1 and run.stderr == (
        f"{name}: the package {package} is not installed. Install it with pip install 't2t_mm[serve]' (in a checkout: "
        "pip install -e '.[serve]').\n"
    )


def test_any_other_missing_package_is_a_traceback():
    """Its lack is a fault of the installation, not of the command line."""
    with pytest.raises(SystemExit, match=r"psutil is not installed. Install it with pip install 't2t_mm\[serve\]'"):
        with command.errors_in_one_line():
            raise ModuleNotFoundError("No module named 'psutil'", name="psutil")
    with pytest.raises(ModuleNotFoundError, match="keras"):
        with command.errors_in_one_line():
            raise ModuleNotFoundError("No module named 'keras'", name="keras")
