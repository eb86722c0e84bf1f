"""The process that `step_before_after` starts in each checkout. It times joint steps with the code of the checkout.

    python -P _joint_step.py CORPORA VOCABULARY BATCHES

It answers every input line with a line of JSON: first the cost of starting, then that of each round of steps. It only uses
code that both checkouts have. In an older checkout, the same modules may be in other places, and training divides the cores
as TensorFlow does.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from t2t_mm.experiment import Experiment

TRANSLATION = "wmt_en_de"


def module(*names: str) -> Any:
    """Returns the first of these modules that exists in the checkout, which is the current folder.

    Trying the import would not work: if this package is installed in editable mode, Python would find a missing module there.
    """
    here = (name for name in names if os.path.isfile(f"{name.replace('.', os.sep)}.py"))
    return importlib.import_module(next(here))


config = module("t2t_mm.common.config", "t2t_mm.config")
timing = module("t2t_mm.lab.benchmarks.timing", "t2t_mm.benchmarks.timing")
benchmark = module("t2t_mm.lab.benchmarks.train", "t2t_mm.benchmarks.train")
strategy = importlib.import_module("t2t_mm.training.strategy")


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(call: Callable) -> dict[str, float]:
    start, used = time.perf_counter(), cpu_seconds()
    timing.wait(call())
    return {"milliseconds": 1e3 * (time.perf_counter() - start), "cpu_milliseconds": 1e3 * (cpu_seconds() - used)}


def graph_nodes(function: Any) -> dict[str, float]:
    """Returns the number of nodes of a traced function, and of the functions that it calls."""
    graph = function.get_concrete_function().graph.as_graph_def()
    return {"nodes": len(graph.node), "nodes_in_functions": sum(len(part.node_def) for part in graph.library.function)}


def main(corpora: str, vocabulary: str, count: int) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # so that other output does not mix with the answers

    def answer(found):
        print(json.dumps(found), file=answers, flush=True)

    imported = cpu_seconds()
    if hasattr(strategy, "divide_cores"):
        strategy.divide_cores()
    bindings = [f"corpora = {corpora!r}", f"vocabulary_file = {vocabulary!r}"]
    config.parse(["gin/runs/joint_mini.gin"], bindings)
    experiment = config.configured(Experiment)()
    keras.utils.set_random_seed(0)
    streams, _ = benchmark.open_streams(experiment.problems, experiment)
    network = experiment.build_model(experiment.describe())
    step = benchmark.train_step(network, experiment.problems, {name: stream.element_spec for name, stream in streams.items()})
    iterators = {name: iter(stream) for name, stream in streams.items()}
    batches = [{name: next(iterator) for name, iterator in iterators.items()} for _ in range(count)]
    first = timed(lambda: step(batches[0]))
    started = {
        "import_cpu_seconds": imported,
        "first_step_cpu_seconds": first["cpu_milliseconds"] / 1e3,
        "first_step_seconds": first["milliseconds"] / 1e3,
    }
    if hasattr(step, "functions"):
        started |= graph_nodes(step.functions[TRANSLATION])
    for batch in batches:  # warm up buffers and threads
        timing.wait(step(batch))
    sys.stdin.readline()
    answer(started)
    for _ in sys.stdin:
        joint = [timed(lambda batch=batch: step(batch)) for batch in batches]
        alone = [timed(lambda batch=batch: step({TRANSLATION: batch[TRANSLATION]})) for batch in batches]
        medians = {"joint step": joint, "translation step": alone}
        middle = lambda found: {key: float(np.median([one[key] for one in found])) for key in found[0]}  # noqa: E731
        answer({name: middle(found) for name, found in medians.items()})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
