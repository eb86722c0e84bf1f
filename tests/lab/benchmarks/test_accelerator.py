"""Tests the accelerator benchmark on a small model, with JAX and without TensorFlow."""

import json
import os
import subprocess
import sys

import keras
import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.lab.benchmarks import accelerator

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SMALL = """
from __gin__ import dynamic_registration
from t2t_mm import model
from t2t_mm.lab.benchmarks import accelerator
from t2t_mm.layers import moe
accelerator.run:
  models = {'small': @model.MultiModel}
  batch_sizes = (2,)
  tokens = 5
  vocabulary_size = 50
  peak_size = 64
  depth = 8
  hidden = 8
  chosen = 2
  experts = (4,)
  mixture_tokens = 40
  repeats = 2
model.MultiModel:
  depth = 16
  encoder_blocks = 1
  mixer_blocks = 0
  decoder_blocks = 1
  mixture = @moe.MixtureOfExperts
moe.MixtureOfExperts:
  num_experts = 4
  chosen = 2
  hidden = 8
"""
# A machine with an accelerator may have no TensorFlow at all.
WITHOUT_TENSORFLOW = """
import runpy, sys
for name in ("tensorflow", "tensorflow_text", "tensorflow_datasets"):
    sys.modules[name] = None
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_command_runs_where_there_is_no_tensorflow(tmp_path):
    (tmp_path / "small.gin").write_text(SMALL)
    output = tmp_path / "accelerator.json"
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, os.path.join(TOP, "bin", "benchmark.py"), "accelerator"]
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": TOP}
    run = subprocess.run(
        [*command, f"--gin_file={tmp_path / 'small.gin'}", f"--output={output}"],
        env=environment, capture_output=True, text=True, cwd=TOP,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    record = json.loads(output.read_text())
    assert "jax" in record["versions"] and "tensorflow" not in record["versions"]
    results = record["results"]
    for policy in ("float32", "mixed_bfloat16"):
        case = results[f"small, {policy}, batch 2"]
        assert case["target_tokens_per_second"] > 0 and case["gflop"] > 0 and 0 < case["share_of_peak"]
        assert results[f"mixture of 4, {policy}"]["over_dense"] > 0
    assert results["machine"]["device"].startswith("1 x")


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="is about the other backend")
def test_another_backend_is_refused():
    with pytest.raises(RunError, match="KERAS_BACKEND=jax"):
        accelerator.run({})
