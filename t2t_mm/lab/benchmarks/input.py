"""Whether input holds training back: examples a second from prepared records, the wait in a step, and host memory."""

import os
import resource
import time

from t2t_mm.experiment import Experiment
from t2t_mm.input import prepare
from t2t_mm.input.pipeline import next_batch
from t2t_mm.lab.benchmarks.train import open_streams, train_step
from t2t_mm.problems import prepared


def run(experiment: Experiment, records: str, batches: int = 40, steps: int = 20) -> dict:
    """Prepares the experiment's problems below `records`, unless they are there, and trains on them for `steps`.

    Returns: a case for each problem and for all in turn ("examples_per_second" of batches that nothing else is done
      with), "memory" ("peak_mebibytes" of this process with all pipelines open, before there is a model), and
      "training" ("seconds_per_step", "percent_waiting" for input).
    """
    with prepare.Workers(os.cpu_count()) as workers:
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
    """Examples a second of `batches` batches, those of several problems in turn; the first of each is left out."""
    for name in names:
        next_batch(iterators[name], reports[name])
    start, examples = time.perf_counter(), 0
    for number in range(batches):
        name = names[number % len(names)]
        examples += int(next_batch(iterators[name], reports[name])["index"].shape[0])
    return examples / (time.perf_counter() - start)


def _training(experiment: Experiment, problems, streams: dict, iterators: dict, reports: dict, steps: int) -> dict:
    """Joint steps as `loop.train` makes them; the first two are left out, one traces and one fills the caches."""
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
        float(norm)  # the step is over when its result is there
    seconds = time.perf_counter() - start
    return {"seconds_per_step": seconds / steps, "percent_waiting": 100 * waited / seconds}
