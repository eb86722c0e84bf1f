"""Compares a joint step of this checkout with that of another one, taking turns on the same machine."""

import json
import os
import subprocess
import sys

import numpy as np

from t2t_mm.common.errors import RunError
from t2t_mm.lab.benchmarks import _joint_step

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def run(
    before: str, corpora: str, vocabulary: str, rounds: int = 5, batches: int = 4, after: str = TOP
) -> dict[str, dict[str, float]]:
    """Starts a process in each checkout, one after the other, and then lets them run rounds of steps in turn.

    Both train the mini size on all problems of gin/runs/joint_mini.gin in their own checkout.

    Args:
      before, after: folders of the two checkouts.
      corpora, vocabulary: the mini corpora and their vocabulary, which both processes read.
      rounds: number of rounds, each of `batches` joint steps and as many translation steps. The results are medians over the
        rounds.

    Returns:
      The cost of starting (CPU-seconds, graph nodes of the loss and gradients of a translation batch) and of a step for each
      checkout, and the ratios, before over after.

    Raises:
      RunError: a folder is not a checkout, or a process ended.
    """
    sides = {"before": _Side(before, corpora, vocabulary, batches), "after": _Side(after, corpora, vocabulary, batches)}
    try:
        started = {name: side.ask() for name, side in sides.items()}
        found: dict[str, list[dict]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                found[name].append(side.ask())
    finally:
        for side in sides.values():
            side.close()
    return summary(started, found)


def summary(started: dict, found: dict) -> dict[str, dict[str, float]]:
    """Summarises the measurements of both sides.

    Args:
      started: side -> measurements.
      found: side -> round -> kind of step -> measurements.
    """
    cases = {f"start, {name}": figures for name, figures in started.items()}
    for kind in found["after"][0]:
        medians = {
            name: {key: float(np.median([one[kind][key] for one in rounds])) for key in rounds[0][kind]}
            for name, rounds in found.items()
        }
        cases |= {f"{kind}, {name}": figures for name, figures in medians.items()}
        ratios = [b[kind]["milliseconds"] / a[kind]["milliseconds"] for b, a in zip(found["before"], found["after"])]
        cases[f"{kind}, before over after"] = {
            "milliseconds": float(np.median(ratios)),
            "milliseconds_least": min(ratios),
            "milliseconds_most": max(ratios),
            "cpu_milliseconds": medians["before"]["cpu_milliseconds"] / medians["after"]["cpu_milliseconds"],
        }
    return cases


class _Side:
    """A process in a checkout, which only works while it answers a request."""

    def __init__(self, folder: str, corpora: str, vocabulary: str, batches: int):
        self._folder = os.path.abspath(os.path.expanduser(folder))
        if not os.path.isfile(os.path.join(self._folder, "gin", "runs", "joint_mini.gin")):
            raise RunError(f"{folder} is not a checkout of this package: it has no gin/runs/joint_mini.gin.")
        self._arguments = [os.path.abspath(corpora), os.path.abspath(vocabulary), str(batches)]
        self._process: subprocess.Popen[str] | None = None

    def ask(self) -> dict:
        """Returns the next answer of the process, which the first call starts."""
        if self._process is None:
            # -P, so that the folder of the program does not hide the modules of the checkout.
            self._process = subprocess.Popen(
                [sys.executable, "-P", _joint_step.__file__, *self._arguments],
                cwd=self._folder, env={**os.environ, "PYTHONPATH": self._folder},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._process.stdin and self._process.stdout  # both are pipes
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RunError(f"The process in {self._folder} ended with status {self._process.wait()}; see above.")
        return json.loads(line)

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin  # a pipe
            self._process.stdin.close()
            self._process.wait()
