"""Tests what bin/benchmark.py does around a benchmark, with made-up benchmarks and without TensorFlow."""

import json
import os
import subprocess
import sys

import pytest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
# The modules of a benchmark and of the strategies are replaced, so that nothing slow is imported.
PROGRAM = """
import os, runpy, sys, types
name, arguments = sys.argv[1:3]
made = types.ModuleType(f"t2t_mm.lab.benchmarks.{name}")
exec(f"def run({arguments}): return {{'divided': {{'times': int(os.environ['DIVIDED'])}}}}", {"os": os}, vars(made))
made.run.__module__ = made.__name__
strategy = types.ModuleType("t2t_mm.training.strategy")
strategy.divide_cores = lambda: os.environ.update(DIVIDED="1")
os.environ["DIVIDED"] = "0"
import t2t_mm.lab.benchmarks, t2t_mm.training
for package, module in ((t2t_mm.lab.benchmarks, made), (t2t_mm.training, strategy)):
    sys.modules[module.__name__] = module
    setattr(package, module.__name__.rpartition(".")[2], module)
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
sys.argv = ["bin/benchmark.py", name, *sys.argv[3:]]
runpy.run_path("bin/benchmark.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    "name, arguments, binding, divided, seed",
    [
        ("bfloat16", "steps=5, seeds=(0, 1, 2)", "steps = 3", 1, [0, 1, 2]),
        ("bfloat16", "steps=5, seeds=(0, 1, 2)", "seeds = (3, 4)", 1, [3, 4]),
        ("train", "steps=5", "steps = 3", 1, 0), ("input", "steps=5", "steps = 3", 1, 0),
        ("scaling", "steps=5", "steps = 3", 0, 0), ("moe", "depth=5", "depth = 3", 0, 0),
    ],
)  # fmt: skip
def test_cores_are_divided_for_training_and_the_seeds_are_recorded(name, arguments, binding, divided, seed, tmp_path):
    lines = f"from __gin__ import dynamic_registration\nfrom t2t_mm.lab.benchmarks import {name}\n{name}.run.{binding}\n"
    (tmp_path / "small.gin").write_text(lines)
    output = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, arguments, f"--gin_file={tmp_path}/small.gin", f"--output={output}"],
        capture_output=True, text=True, cwd=TOP, env={**os.environ, "PYTHONPATH": TOP, "KERAS_BACKEND": "tensorflow"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(output.read_text())
    assert record["seed"] == seed and record["results"] == {"divided": {"times": divided}}
