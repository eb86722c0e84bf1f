"""Does what a plan still lacks, one process after the other."""

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from t2t_mm.experiments.costs import Costs
from t2t_mm.experiments.runs import SCORES, Planned

_PROGRESS = re.compile(r"step (\d+)/\d+ .*")
_LOOK_SECONDS = 0.5
_LOG_TAIL = 1 << 14  # bytes


class Stopped(Exception):
    """Ctrl-C or SIGTERM; what was at work is saved, and the same command goes on from there."""

    def __init__(self, number: int, name: str):
        super().__init__(f"stopped by {signal.Signals(number).name} during {name}; the same command goes on from here.")
        self.number = number


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be done for a run: "train" or "score". done: steps there are already."""

    planned: Planned
    kind: str
    done: int

    @property
    def name(self) -> str:
        return f"{self.kind} {self.planned.name}"

    @property
    def steps(self) -> int:
        return self.planned.steps - self.done if self.kind == "train" else 0


def missing(plan: Sequence[Planned]) -> list[Job]:
    """The jobs that a plan lacks, each training before the scoring of what it trains.

    Raises:
      RunError: a folder holds a run of another configuration.
    """
    jobs = []
    for planned in plan:
        planned.check_same()
        if planned.run.trained and not planned.trained():
            jobs.append(Job(planned, "train", planned.done()))
        if planned.scores() is None:
            jobs.append(Job(planned, "score", planned.done()))
    return jobs


class Runner:
    """Runs jobs as processes of bin/train.py and bin/score.py.

    A process has its memory and its Gin to itself; its output goes to `train.log` or `score.log` of the run's folder.

    Args:
      commands: the folder of the two. costs: learns what they take. say: prints a line.
      every_seconds: between two lines of progress.
    """

    def __init__(self, commands: str, costs: Costs, say: Callable[[str], None] = print, every_seconds: float = 30.0):
        self._commands, self._costs, self._say, self._every = commands, costs, say, every_seconds
        self._stop, self._child = 0, None

    def run(self, jobs: Sequence[Job]) -> dict[str, str]:
        """All jobs in order -> name of each that failed: why. What needs a failed one is not tried, the rest is.

        Raises:
          Stopped: by a signal; the job at work has saved itself.
        """
        failed: dict[str, str] = {}
        broken: set[str] = set()  # folders whose weights there are none of
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for position, job in enumerate(jobs):
                needs = {job.planned.weights, job.planned.start} & broken
                if needs:
                    failed[job.name] = f"{', '.join(sorted(needs))} has no finished training"
                    broken.add(job.planned.weights)
                    continue
                reason = self._run(job, jobs[position + 1 :], f"[{position + 1}/{len(jobs)}]")
                if reason:
                    self._say(f"[{position + 1}/{len(jobs)}] FAILED {job.name}: {reason}")
                    failed[job.name] = reason
                    if job.kind == "train":
                        broken.add(job.planned.weights)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return failed

    def _run(self, job: Job, later: Sequence[Job], place: str) -> str | None:
        """One job -> why it failed."""
        if self._stop:
            raise Stopped(self._stop, job.name)
        folder = job.planned.folder
        os.makedirs(folder, exist_ok=True)
        log, start = os.path.join(folder, f"{job.kind}.log"), time.monotonic()
        command = [sys.executable, *self.command(job)]
        left = sum(self._costs.seconds(other.planned, other.kind, other.steps) for other in later)
        expected = self._costs.seconds(job.planned, job.kind, job.steps)
        self._say(f"{place} {job.name} | {duration(left + expected)} left in all")
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"$ {shlex.join(command)}\n")
            file.flush()
            begin = file.tell()
            # A session of its own, so that Ctrl-C reaches it once, by `_on_signal`.
            self._child = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        shown = start
        while self._child.poll() is None:
            time.sleep(_LOOK_SECONDS)
            if time.monotonic() - shown > self._every:
                shown = time.monotonic()
                self._say(self._progress(job, log, begin, place, shown - start, expected, left))
        if self._stop:
            raise Stopped(self._stop, job.name)
        if self._child.returncode:
            return f"exit code {self._child.returncode}: {_last_line(log, begin)} ({log})"
        if job.kind == "train" and not job.planned.trained() or job.kind == "score" and job.planned.scores() is None:
            return f"it ended without an error and without what it is for: {_last_line(log, begin)} ({log})"
        self._costs.add(job.planned, job.kind, job.steps, time.monotonic() - start)
        return None

    def command(self, job: Job) -> list[str]:
        """The command line after the interpreter's name."""
        planned = job.planned
        settings = [f"--gin_file={path}" for path in planned.gin_files]
        settings += [f"--gin_param={binding}" for binding in planned.bindings]
        script = os.path.join(self._commands, f"{job.kind}.py")
        if job.kind == "train":
            return [script, *settings, f"--model_dir={planned.folder}"]
        flags = [f"--model_dir={planned.weights}", f"--output={os.path.join(planned.folder, SCORES)}"]
        flags += [] if planned.run.decode else ["--nodecode"]
        return [script, *settings, *flags, *(["--baselines"] if planned.run.baselines else [])]

    def _progress(self, job, log, begin, place, seconds, expected, left) -> str:
        found = _PROGRESS.findall(_tail(log, begin))
        if job.kind == "train" and found and job.steps:
            share = (int(found[-1]) - job.done) / job.steps
            expected = seconds / share if share > 0 else expected
            where = f"step {found[-1]}/{job.planned.steps}"
        else:
            where = f"{seconds:.0f} s"
        return f"{place} {job.name}: {where} | {duration(max(expected - seconds, 0) + left)} left in all"

    def _on_signal(self, number, _):
        """The first one lets the process save itself; one more ends it at once, and this with it."""
        self._stop = number
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _tail(path: str, begin: int) -> str:
    """The end of what was written to a log from `begin` on."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(begin, size - _LOG_TAIL))
        return file.read().decode("utf-8", "replace")


def _last_line(path: str, begin: int) -> str:
    lines = _tail(path, begin).strip().splitlines()
    return lines[-1][:500] if lines else "it wrote nothing"
