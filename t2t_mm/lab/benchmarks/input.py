"""Measures whether input slows training down: examples per second, time waited per step, and host memory."""

import os
import resource
import time

from t2t_mm.experiment import Experiment
from t2t_mm.input import prepare
from t2t_mm.input.pipeline import next_batch
from t2t_mm.lab.benchmarks.train import open_streams, train_step
from t2t_mm.problems import prepared

# Batches of a problem that may be ready before they are asked for: two are prefetched, one is being padded, and one more may be
# on its way.
_BUFFERED = 4


def run(experiment: Experiment, records: str, batches: int = 40, steps: int = 20) -> dict[str, dict[str, float]]:
    """Prepares the experiment's problems in `records`, unless that has been done, and trains on them for `steps` steps.

    Reading is timed over `batches` batches of each problem. Directly before, the batches that are ready are taken, because
    they were made in time that is not measured.

    Returns:
      One case per problem, and "joint" for all problems in turn ("examples_per_second" of reading batches and doing
      nothing else); "memory" ("peak_mebibytes" of this process with all pipelines open, before a model is built); and
      "training" ("seconds_per_step", and "percent_waiting" for input).
    """
    with prepare.ShardWriters(os.cpu_count() or 1) as workers:
        for problem in experiment.problems:
            prepare.prepare(
                problem, experiment.vocabulary, records, experiment.batches.image_size, experiment.audio.sample_rate,
                workers, ("train",),
            )  # fmt: skip
    problems = prepared.problems(experiment.problems, records)
    streams, reports = open_streams(problems, experiment)
    iterators = {name: iter(stream) for name, stream in streams.items()}
    found = {name: {"examples_per_second": _speed([name], iterators, reports, batches)} for name in streams}
    found["joint"] = {"examples_per_second": _speed(list(streams), iterators, reports, batches)}
    found["memory"] = {"peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    found["training"] = _training(experiment, problems, streams, iterators, reports, steps)
    return found


def _speed(names: list[str], iterators: dict, reports: dict, batches: int) -> float:
    """Returns the examples per second of `batches` batches of each problem, taken from the problems in turn.

    The buffers are emptied first. They are then as full at the start as at the end, and only what was made meanwhile counts.
    """
    for name in names * _BUFFERED:
        next_batch(iterators[name], reports[name])
    start, examples = time.perf_counter(), 0
    for name in names * batches:
        batch = next_batch(iterators[name], reports[name])
        assert batch is not None  # training never ends
        examples += int(batch["index"].shape[0])
    return examples / (time.perf_counter() - start)


def _training(experiment: Experiment, problems, streams: dict, iterators: dict, reports: dict, steps: int) -> dict:
    """Times joint steps like those of `loop.train`, without the first two: one traces, and one fills the caches."""
    network = experiment.build_model(experiment.describe())
    step = train_step(network, problems, {name: stream.element_spec for name, stream in streams.items()})
    waited, start = 0.0, 0.0
    for number in range(-2, steps):
        if number == 0:
            waited, start = 0.0, time.perf_counter()
        before = time.perf_counter()
        batch = {name: next_batch(iterators[name], reports[name]) for name in streams}
        waited += time.perf_counter() - before
        _, norm = step(batch)
        float(norm)  # the step has finished when its result is available
    seconds = time.perf_counter() - start
    return {"seconds_per_step": seconds / steps, "percent_waiting": 100 * waited / seconds}
