"""Tests the workers of the scaling benchmark without training."""

import subprocess
import sys

import pytest

from t2t_mm.common import config
from t2t_mm.lab.benchmarks import scaling
from t2t_mm.training import strategy


def program(text):
    return subprocess.Popen([sys.executable, "-c", text])


def test_a_worker_that_fails_ends_those_that_wait_for_it():
    waiting, failing = program("import time; time.sleep(60)"), program("raise SystemExit(3)")
    assert scaling._codes([waiting, failing]) == [None, 3]
    assert waiting.returncode is not None


def test_workers_that_succeed_are_all_waited_for():
    assert scaling._codes([program(""), program("import time; time.sleep(0.3)")]) == [0, 0]


@pytest.mark.parametrize("cluster, chosen, divided", [(False, strategy.one, 1), (True, strategy.multi_worker, 0)])
def test_cores_are_divided_as_in_training(cluster, chosen, divided, monkeypatch):
    calls, trained = [], []
    monkeypatch.setattr(config, "parse", lambda *_: None)
    monkeypatch.setattr(config, "configured", lambda _: lambda **arguments: trained.append((len(calls), arguments["strategy"])))
    monkeypatch.setattr(strategy, "divide_cores", lambda: calls.append(1))
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if cluster:
        monkeypatch.setenv("TF_CONFIG", "{}")
    scaling.train('{"gin_files": [], "bindings": [], "steps": 1}', "folder")
    assert trained == [(divided, chosen)]
