"""Tests that a run that is killed repeatedly, and a run on two workers, have the same losses as an uninterrupted run."""

import glob
import json
import os
import random
import re
import signal
import socket
import time

import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.evaluation.curves import curves
from t2t_mm.input.vocabulary import build_vocabulary
from tests import commands
from tests.training import tiny_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("unbroken")
    build_vocabulary(list(tiny_run.PROBLEMS), str(path / "vocabulary.model"), size=310)
    return str(path)


def losses(folder, name, least=0):
    """(problem, step) -> loss as TensorBoard has it, steps above `least`. A step done twice must have one loss."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, name, "events", "events.*"))):
        try:
            for event in tf.compat.v1.train.summary_iterator(path):
                for value in event.summary.value:
                    problem, _, what = value.tag.partition("/")
                    if what == "loss" and event.step > least:
                        loss = float(tf.make_ndarray(value.tensor))
                        assert found.setdefault((problem, event.step), loss) == loss
        except tf.errors.DataLossError:
            pass  # a process was killed while it wrote this file
    return found


class Run:
    """A tiny run in a process of its own."""

    def __init__(self, folder, name, cluster=None, index=0, **settings):
        self._log = os.path.join(folder, f"{name}.{index}.log")
        task = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": index}}
        environment = {"TF_CONFIG": json.dumps(task)} if cluster else {}
        with open(os.devnull) as nothing, open(self._log, "w") as log:
            self._process = commands.start(
                os.path.join("tests", "training", "tiny_run.py"), folder, name, json.dumps(settings),
                files=(nothing, log, log), environment=environment,
            )  # fmt: skip

    def log(self):
        with open(self._log) as file:
            return file.read()

    def until(self, condition):
        """Waits for it; a process that ends before is a failure."""
        while not condition():
            assert self._process.is_alive(), self.log()[-3000:]
            time.sleep(0.001)

    def until_step(self, step):
        self.until(lambda: f"step {step}/" in self.log())

    def end(self, number=None, seconds=600):
        """Sends a signal, where one is given, and waits for the process's end -> its exit code."""
        if number and self._process.is_alive():
            os.kill(self._process.pid, number)
        self._process.join(seconds)
        return self._process.exitcode


@pytest.fixture
def start():
    """Makes runs, and leaves none behind when a test fails."""
    made = []
    yield lambda *arguments, **settings: made.append(Run(*arguments, **settings)) or made[-1]
    for run in made:
        run.end(signal.SIGKILL)


def test_killed_at_random_moments_a_run_has_the_losses_of_the_whole_run(folder, start):
    settings, any_step = {"steps": 14, "checkpointing": {"every_steps": 2}}, re.compile(r"step \d+/14")
    whole = start(folder, "whole", **settings)
    run, moment = start(folder, "parts", **settings), random.Random()
    run.until_step(2)
    time.sleep(moment.uniform(0, 0.5))
    run.end(signal.SIGKILL)

    run, part = start(folder, "parts", **settings), os.path.join(folder, "parts", "checkpoints", "part")
    run.until(lambda: any_step.search(run.log()))
    run.until(lambda: os.path.isdir(part))
    time.sleep(moment.uniform(0, 0.02))  # in the middle of a save
    run.end(signal.SIGKILL)

    run = start(folder, "parts", **settings)
    run.until(lambda: any_step.search(run.log()))
    assert run.end(signal.SIGTERM) == os.EX_TEMPFAIL
    assert "saved at step" in run.log()

    assert start(folder, "parts", **settings).end() == 0
    assert whole.end() == 0
    expected = losses(folder, "whole")
    assert len(expected) == 28
    assert losses(folder, "parts") == expected


EVALUATION = {"evaluation": {"every_steps": 3, "examples": 4, "samples": 1}}


@pytest.fixture(scope="module")
def one_replica(folder):
    assert Run(folder, "one", noise=False, steps=5, **EVALUATION).end() == 0
    return losses(folder, "one")


def same(found, expected, steps):
    """Losses of the given steps agree but for the order of float sums."""
    wanted = {key: loss for key, loss in expected.items() if key[1] in steps}
    assert wanted and set(wanted) <= set(found)
    np.testing.assert_allclose([found[key] for key in wanted], list(wanted.values()), rtol=2e-5)


def test_two_devices_have_the_losses_of_one_and_its_checkpoints(folder, start, one_replica):
    # In a process of its own: TensorFlow numbers what devices exchange, and other tests' replicas have used the numbers.
    assert start(folder, "mirrored", noise=False, steps=3, strategy="mirrored", devices=2, **EVALUATION).end() == 0
    same(losses(folder, "mirrored"), one_replica, range(1, 4))
    dev, expected = (curves(os.path.join(folder, name))["dev"] for name in ("mirrored", "one"))
    assert dev.keys() == {"capitals", "reversal"}
    for problem, steps in dev.items():
        assert steps.keys() == {3} and steps[3] == pytest.approx(expected[problem][3], rel=2e-5)
    assert start(folder, "mirrored", noise=False, steps=4).end() == 0  # goes on alone
    same(losses(folder, "mirrored"), one_replica, range(4, 5))


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def test_two_workers_have_the_losses_of_one_and_one_that_dies_is_named(folder, start, one_replica):
    cluster = [f"localhost:{free_port()}" for _ in range(2)]
    settings = {"steps": 1000, "noise": False, "strategy": "multi_worker", "compiled": True}
    settings["checkpointing"] = {"every_steps": 2}
    chief, other = (start(folder, "workers", cluster, index, **settings) for index in range(2))
    chief.until_step(3)
    other.end(signal.SIGKILL)
    begin = time.monotonic()
    assert chief.end() == 1
    assert time.monotonic() - begin < 90  # heartbeats are missed after 10 s; the rest is a machine under load
    assert re.search(r"worker 1 is gone .*resumes from its newest checkpoint", chief.log())
    same(losses(folder, "workers"), one_replica, range(1, 4))
    # One replica goes on from the two workers' checkpoint.
    assert start(folder, "workers", noise=False, steps=5).end() == 0
    same(losses(folder, "workers", least=3), one_replica, range(4, 6))
