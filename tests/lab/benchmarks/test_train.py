"""Tests how the training benchmark times the parts of a step, with made-up parts."""

import threading
import types

from t2t_mm.lab.benchmarks import train


def test_parts_of_several_problems_are_computed_at_the_same_time(monkeypatch):
    together, called = threading.Barrier(2, timeout=30), []

    class Passes:
        def __init__(self, network):
            pass

        def of(self, problem, batch):
            def call(name):
                called.append(name)
                if called.count(name) > 1:  # the first call traces, and is alone
                    together.wait()

            both = {part: lambda part=part: call(f"{part} {problem.name}") for part in ("encoder", "decoder")}
            return both if problem.name == "first" else both | {"mixer": lambda: called.append("mixer")}

    def seconds(*functions, repeats):
        for function in functions:
            function()
        return list(range(len(functions)))

    monkeypatch.setattr(train, "_Passes", Passes)
    monkeypatch.setattr(train, "_update", lambda *_: lambda: None)
    monkeypatch.setattr(train, "seconds", seconds)
    monkeypatch.setattr(train, "problems_at_once", lambda: 2)
    problems = [types.SimpleNamespace(name=name) for name in ("first", "second")]
    experiment = types.SimpleNamespace(problems=problems)
    batch = {"first": None, "second": None}
    whole, parts = train._parts_of_step(None, lambda batch: None, experiment, batch)
    assert whole == 0 and parts == {"optimizer": 1, "encoder": 2, "decoder": 3, "mixer": 4}
    assert len(called) == 2 * (2 + 2 + 1)
