"""Measures whether host memory stays constant over many joint steps."""

import os
import tempfile
import threading
import time

import numpy as np

from t2t_mm.experiment import Experiment
from t2t_mm.run.checkpoints import checkpoints_folder, newest_first
from t2t_mm.training import loop
from t2t_mm.training.settings import Checkpointing, Evaluation, Observation

MIB = 2**20


def resident() -> int:
    """Returns the resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(experiment: Experiment, steps: int = 2000, every: int = 200, seconds: float = 0.5) -> dict[str, dict[str, float]]:
    """Trains for `steps` steps and samples the resident memory from the first checkpoint on.

    Args:
      every: steps between two evaluations, each followed by a checkpoint. Sampling starts after the first checkpoint,
        when every kind of work has been done once and all graphs have been traced.
      seconds: seconds between two samples.

    Returns:
      The medians of the second tenth (buffers still grow during the first) and of the last tenth of the samples, their
      ratio, and the slope of a straight line fitted to all samples but the first tenth.
    """
    found, done = [], threading.Event()

    def look(folder):
        while not done.wait(seconds):
            if newest_first(checkpoints_folder(folder)):
                found.append((time.monotonic(), resident()))

    with tempfile.TemporaryDirectory() as folder:
        watcher = threading.Thread(target=look, args=(folder,))
        watcher.start()
        try:
            loop.train(
                experiment, folder, steps, observation=Observation(log_steps=100),
                evaluation=Evaluation(every_steps=every, examples=16), checkpointing=Checkpointing(every_steps=every),
            )  # fmt: skip
        finally:
            done.set()
            watcher.join()
    return {f"{steps} joint steps, from {every} on": summary(np.array(found), steps - every)}


def summary(found: np.ndarray, steps: int) -> dict[str, float]:
    """Summarizes memory samples of a run.

    Args:
      found: `[samples, 2]`, seconds and bytes.
      steps: steps of the run. The samples are assumed to be spread evenly over them.
    """
    tenth = max(len(found) // 10, 1)
    later = found[tenth:]
    place = (later[:, 0] - later[0, 0]) / max(later[-1, 0] - later[0, 0], 1e-9) * 0.9 * steps
    slope = np.polyfit(place, later[:, 1], 1)[0]
    early, late = np.median(later[:tenth, 1]), np.median(later[-tenth:, 1])
    return {
        "resident_early_mib": early / MIB,
        "resident_late_mib": late / MIB,
        "late_over_early": late / early,
        "growth_mib_per_1000_steps": slope * 1000 / MIB,
    }
