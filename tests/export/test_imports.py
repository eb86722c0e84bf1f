"""Tests what an installation without the extra "serve" can do."""

import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WITHOUT_SERVING = """
import runpy, sys
for name in ("aiohttp", "grpc"):
    sys.modules[name] = None
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_export_needs_no_server(tmp_path):
    """The quickstart exports; only bin/serve.py and bin/predict.py need the extra."""
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "config.gin").write_text(
        "from __gin__ import dynamic_registration\nfrom t2t_mm import experiment\nexperiment.Experiment.problems = ()\n"
        "experiment.Experiment.vocabulary = 'absent'\n"
    )
    flags = [f"--model_dir={tmp_path}", f"--export_dir={tmp_path}"]
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_SERVING, os.path.join(TOP, "bin", "export.py"), *flags],
        env=os.environ | {"PYTHONPATH": TOP}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("export.py: ") and "There are no problems" in run.stderr
