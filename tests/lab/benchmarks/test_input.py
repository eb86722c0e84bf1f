"""Tests how the input benchmark counts, with made-up batches."""

import time

import numpy as np
import pytest

from t2t_mm.corpora.example import Report
from t2t_mm.lab.benchmarks import input as benchmark


@pytest.mark.parametrize("names", [["one"], ["one", "other"]])
def test_batches_that_are_ready_before_do_not_count(names, monkeypatch):
    now, taken = [0.0], dict.fromkeys(names, 0)

    def batches(name):
        for _ in range(benchmark._BUFFERED):
            yield {"index": np.zeros(1000)}  # in no time
        while True:
            now[0] += 2.0
            taken[name] += 1
            yield {"index": np.zeros(6)}

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    iterators = {name: batches(name) for name in names}
    speed = benchmark._speed(names, iterators, {name: Report(name) for name in names}, batches=5)
    assert speed == 3.0 and taken == dict.fromkeys(names, 5)
