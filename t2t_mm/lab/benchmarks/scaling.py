"""Measures the cost of a second worker: the same global batch on one core, and on two workers with one core each."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from t2t_mm.common import config
from t2t_mm.common.errors import RunError
from t2t_mm.training import loop, strategy
from t2t_mm.training.settings import Observation


def run(gin_files: Sequence[str], bindings: Sequence[str] = (), steps: int = 12) -> dict[str, dict[str, float]]:
    """Trains with the given configuration in one process on one core, in one on two cores, and in two on one core each.

    Ideally, two workers take half the time of one core; `cost_over_ideal` is then 1. The first half of the steps is
    left out, because it includes tracing.

    Raises:
      RunError: fewer than two cores are available, or a training fails.
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise RunError("The scaling benchmark needs two cores, but this process may use only one.")
    task = json.dumps({"gin_files": list(gin_files), "bindings": list(bindings), "steps": steps})
    one = _seconds([cores[:1]], task)
    both = _seconds([cores], task)
    two = _seconds([cores[:1], cores[1:]], task)
    return {
        "one worker, one core": {"seconds_per_step": one, "cost_over_ideal": 1.0},
        "one worker, two cores": {"seconds_per_step": both, "cost_over_ideal": both / (one / 2)},
        "two workers, a core each": {"seconds_per_step": two, "cost_over_ideal": two / (one / 2)},
    }


def _seconds(cores_of: list[list[int]], task: str) -> float:
    """Returns the median seconds per step with one worker for each list of cores."""
    addresses = [f"localhost:{_free_port()}" for _ in cores_of]
    with tempfile.TemporaryDirectory() as folder:
        processes, logs = [], [os.path.join(folder, f"{index}.log") for index in range(len(cores_of))]
        for index, cores in enumerate(cores_of):
            environment = dict(os.environ)
            if len(cores_of) > 1:
                cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
                environment["TF_CONFIG"] = json.dumps(cluster)
            command = [sys.executable, "-m", "t2t_mm.lab.benchmarks.scaling", task, os.path.join(folder, "run")]
            command = ["taskset", "-c", ",".join(map(str, cores)), *command]
            with open(logs[index], "w") as log:
                processes.append(subprocess.Popen(command, env=environment, stderr=log))
        codes = _codes(processes)
        texts = []
        for path in logs:
            with open(path) as file:
                texts.append(file.read())
    for code, text in zip(codes, texts):
        if code:
            raise RunError(f"A training run of the benchmark failed: {text[-2000:]}")
    seconds = [float(found) for found in re.findall(r"([\d.]+) s/step", texts[0])]
    return float(np.median(seconds[len(seconds) // 2 :]))


def _codes(processes: Sequence[subprocess.Popen]) -> list[int | None]:
    """Waits until all processes have ended, or one of them has failed, and returns their exit codes.

    The code of a process that still ran when another one failed is None. It is killed, because it would wait for the other
    one forever, and after SIGTERM it would first finish its step.
    """
    try:
        while True:
            codes = [process.poll() for process in processes]
            if any(codes) or None not in codes:
                return codes
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()  # does nothing to a process that has ended
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def train(task: str, model_dir: str) -> None:
    """Runs one worker of the benchmark, described by `task` (JSON)."""
    settings = json.loads(task)
    config.parse(settings["gin_files"], settings["bindings"])
    chosen = strategy.multi_worker if "TF_CONFIG" in os.environ else strategy.one
    if chosen is strategy.one:  # as bin/train.py does
        strategy.divide_cores()
    every_step = Observation(log_steps=1)
    config.configured(loop.train)(model_dir=model_dir, steps=settings["steps"], observation=every_step, strategy=chosen)


if __name__ == "__main__":
    from absl import logging

    logging.set_verbosity(logging.INFO)
    train(*sys.argv[1:])
