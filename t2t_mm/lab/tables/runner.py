"""Runs the missing jobs of a plan, each in its own process."""

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

import tqdm

from t2t_mm.lab.tables.costs import Costs
from t2t_mm.lab.tables.runs import SCORES, Planned

_PROGRESS = re.compile(r"step (\d+)/\d+ ([^|\n]*)")  # of bin/train.py: the step, and each problem with its loss
_LOSS = re.compile(r"\w+ (\d+\.\d+)")
_LOOK_SECONDS = 0.5
_DRAW_SECONDS = 1.0  # between two updates of a bar on a terminal
_LOG_TAIL = 1 << 14  # bytes


class Stopped(Exception):
    """Raised after Ctrl-C or SIGTERM, once the running jobs have saved their state. The same command resumes them."""

    def __init__(self, number: int, name: str):
        stopped_by = signal.Signals(number).name
        super().__init__(f"stopped by {stopped_by} during {name}; run the same command again to resume.")
        self.number = number


@dataclasses.dataclass(frozen=True)
class Job:
    """One job of a run.

    Attributes:
      kind: "train" or "score".
      done: number of steps that the run has already been trained for.
    """

    planned: Planned
    kind: str
    done: int

    @property
    def name(self) -> str:
        return f"{self.kind} {self.planned.name}"

    @property
    def steps(self) -> int:
        return self.planned.steps - self.done if self.kind == "train" else 0

    @property
    def needs(self) -> set[str]:
        """The folders of the runs, other than this training itself, that must have been trained before."""
        if self.kind == "score":
            return {self.planned.weights}
        return {self.planned.start} if self.planned.start else set()


def missing(plan: Sequence[Planned]) -> list[Job]:
    """Returns the jobs that remain to be done for a plan, with every training before its scoring.

    A run that already has its scores is only trained if a run without scores starts from its weights, directly or by way of
    others.

    Raises:
      RunError: a folder holds a run with another configuration.
    """
    unscored = [planned for planned in plan if planned.scores() is None]
    needed = {planned.weights for planned in unscored}
    for planned in reversed(plan):  # a run comes after the one that it starts from
        if planned.start and planned.folder in needed and not planned.trained():
            needed.add(planned.start)
    jobs = []
    for planned in plan:
        planned.check_same()
        if planned.run.trained and planned.folder in needed and not planned.trained():
            jobs.append(Job(planned, "train", planned.done()))
        if planned in unscored:
            jobs.append(Job(planned, "score", planned.done()))
    return jobs


@dataclasses.dataclass
class Work:
    """A running job.

    Attributes:
      place: its position among all jobs, such as "[2/9]".
      log: path of its log file.
      begin: offset in the log file at which the output of this process begins.
      expected: estimated duration in seconds of machine time (see `Runner`).
      bar: its line on a terminal.
      step: the last step that is known of a training.
      started: start time.
      shown: time of the last line of progress, or of the last update of the bar.
    """

    job: Job
    place: str
    process: subprocess.Popen
    log: str
    begin: int
    expected: float
    bar: tqdm.tqdm | None = None
    step: int = 0
    started: float = dataclasses.field(default_factory=time.monotonic)
    shown: float = dataclasses.field(default_factory=time.monotonic)

    def seconds(self) -> float:
        return time.monotonic() - self.started


class Runner:
    """Runs jobs as processes of bin/train.py and bin/score.py.

    Separate processes do not share memory or Gin configuration. The output of a process goes to `train.log` or
    `score.log` in the folder of the run.

    Args:
      commands: folder of the two commands.
      costs: estimates the duration of the jobs and records it.
      say: prints one line.
      every_seconds: seconds between two lines of progress.
      at_once: number of jobs that run at the same time, each with an equal share of the cores. A model whose step
        consists of many small operations cannot keep several cores busy, but two such models can. Times are then
        counted as machine time: the time of a job divided by `at_once`.
      screen: the terminal on which each running job has a line that is updated in place, and the whole plan has another one.
        None: every `every_seconds`, `say` prints a line for each running job.
    """

    def __init__(
        self, commands: str, costs: Costs, say: Callable[[str], None] = print, every_seconds: float = 30.0, at_once: int = 1,
        screen: TextIO | None = None,
    ):  # fmt: skip
        self._commands, self._costs, self._print, self._every = commands, costs, say, every_seconds
        self._at_once, self._stop, self._stopped_in, self._screen = at_once, 0, "", screen
        self._working: list[Work] = []
        self._total = None if screen is None else self._line("{desc}", at_once)

    def run(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Runs all jobs, in the given order as far as their dependencies allow.

        A job starts when the weights that it needs have been trained. Jobs that depend on a failed training are
        skipped; all others still run.

        Returns:
          The name of each failed job -> the reason.

        Raises:
          Stopped: a signal stopped the jobs, which have saved their state.
        """
        failed: dict[str, str] = {}
        broken: set[str] = set()  # folders whose training failed or was skipped
        waiting = list(jobs)
        places = {job.name: f"[{position}/{len(jobs)}]" for position, job in enumerate(jobs, 1)}
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while waiting or self._working:
                while not self._stop and len(self._working) < self._at_once and (job := self._next(waiting)):
                    waiting.remove(job)
                    if needs := job.needs & broken:
                        failed[job.name] = f"it needs {', '.join(sorted(needs))}, where training did not finish"
                        broken.add(job.planned.weights)
                        continue
                    self._start(job, places[job.name], waiting)
                time.sleep(_LOOK_SECONDS)
                self._show(waiting)
                for work in [work for work in self._working if work.process.poll() is not None]:
                    self._working.remove(work)
                    if work.bar is not None:
                        work.bar.close()
                    if self._stop:
                        continue
                    if reason := self._end(work):
                        self._say(f"{work.place} FAILED {work.job.name}: {reason}")
                        failed[work.job.name] = reason
                        if work.job.kind == "train":
                            broken.add(work.job.planned.weights)
                if self._stop and not self._working:
                    raise Stopped(self._stop, self._stopped_in)
        finally:
            for work in self._working:  # after an error, because nobody else would stop them
                work.process.terminate()
            for work in self._working:
                work.process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)
            for line in (*(work.bar for work in self._working), self._total):
                if line is not None:
                    line.close()
        return failed

    def _say(self, text: str) -> None:
        """Prints a line, on a terminal above the lines that are updated in place."""
        if self._screen is None:
            self._print(text)
        else:
            tqdm.tqdm.write(text, file=self._screen)

    def _line(self, bar_format: str, position: int, **settings) -> tqdm.tqdm:
        return tqdm.tqdm(
            file=self._screen, bar_format=bar_format, position=position, leave=False, dynamic_ncols=True, **settings
        )

    def _bar(self, job: Job, place: str) -> tqdm.tqdm | None:
        """Returns a new bar at the first place on the screen that is free, or None without a screen."""
        if self._screen is None:
            return None
        taken = {work.bar.pos for work in self._working if work.bar is not None}
        free = next(position for position in range(self._at_once) if -position not in taken)
        total = job.planned.steps if job.kind == "train" else None
        return self._line("{desc} {bar}{postfix}", free, total=total, initial=job.done, desc=f"{place} {job.name}")

    def _next(self, waiting: Sequence[Job]) -> Job | None:
        """Returns the first waiting job whose weights do not depend on a training that is running or waiting."""
        to_train = {work.job.planned.folder for work in self._working if work.job.kind == "train"}
        for job in waiting:
            if not job.needs & to_train:
                return job
            if job.kind == "train":
                to_train.add(job.planned.folder)
        return None

    def _start(self, job: Job, place: str, waiting: Sequence[Job]) -> None:
        folder = job.planned.folder
        os.makedirs(folder, exist_ok=True)
        log = os.path.join(folder, f"{job.kind}.log")
        command = [sys.executable, *self.command(job)]
        environment = dict(os.environ)
        if self._at_once > 1:
            threads = max(len(os.sched_getaffinity(0)) // self._at_once, 1)
            environment |= {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)}
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"$ {shlex.join(command)}\n")
            file.flush()
            begin = file.tell()
            # In its own session, the process does not get Ctrl-C from the terminal, only the signal of `_on_signal`.
            process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, env=environment)
        expected = self._costs.seconds(job.planned, job.kind, job.steps)
        self._working.append(Work(job, place, process, log, begin, expected, self._bar(job, place), job.done))
        if self._stop:  # a signal that came while the process was being started
            process.terminate()
        self._say(f"{place} {job.name} | {until(self._left(waiting))}")

    def _show(self, waiting: Sequence[Job]) -> None:
        """Shows the progress of each running job, unless it has been shown recently."""
        now = time.monotonic()
        for work in self._working:
            if now - work.shown <= (self._every if work.bar is None else _DRAW_SECONDS):
                continue
            work.shown = now
            where, left = self.look(work), until(self._left(waiting))
            if work.bar is None or self._total is None:
                self._say(f"{work.place} {work.job.name}: {where} | {left}")
                continue
            work.bar.n = work.step
            work.bar.set_postfix_str(where)
            self._total.set_description_str(left)

    def look(self, work: Work) -> str:
        """Returns the progress of a job (step, mean loss of its problems, time left) and updates its expected duration."""
        found = _PROGRESS.findall(_tail(work.log, work.begin))
        if work.job.kind != "train" or not found or not work.job.steps:
            return f"{work.seconds():.0f} s"
        step, figures = found[-1]
        work.step = int(step)
        share = (work.step - work.job.done) / work.job.steps
        if share > 0:
            work.expected = work.seconds() / share / self._at_once
        losses = [float(loss) for loss in _LOSS.findall(figures)]
        mean = f", loss {sum(losses) / len(losses):.3f}" if losses else ""
        left = max(work.expected * self._at_once - work.seconds(), 0)
        return f"step {step}/{work.job.planned.steps}{mean}, {duration(left)} left"

    def _left(self, waiting: Sequence[Job]) -> float:
        """Returns the estimated seconds left, for waiting and running jobs."""
        running = [max(work.expected - work.seconds() / self._at_once, 0) for work in self._working]
        waits = sum(self._costs.seconds(job.planned, job.kind, job.steps) for job in waiting)
        # The last jobs have the machine to themselves, but do not become faster in the same measure.
        return max(waits + sum(running), *(left * self._at_once for left in running), 0)

    def _end(self, work: Work) -> str | None:
        """Handles a process that has ended, and returns the reason if it failed."""
        job, code = work.job, work.process.returncode
        if code:
            return f"exit code {code}: {_last_line(work.log, work.begin)} ({work.log})"
        if job.kind == "score":
            job.planned.stamp()
        if job.kind == "train" and not job.planned.trained() or job.kind == "score" and job.planned.scores() is None:
            last = _last_line(work.log, work.begin)
            return f"it ended without an error, but did not write its result: {last} ({work.log})"
        self._costs.add(job.planned, job.kind, job.steps, work.seconds() / self._at_once)
        return None

    def command(self, job: Job) -> list[str]:
        """Returns the command line of a job, without the interpreter."""
        planned = job.planned
        settings = [f"--gin_file={path}" for path in planned.gin_files]
        settings += [f"--gin_param={binding}" for binding in planned.bindings]
        script = os.path.join(self._commands, f"{job.kind}.py")
        if job.kind == "train":
            return [script, *settings, f"--model_dir={planned.folder}"]
        flags = [f"--model_dir={planned.weights}", f"--output={os.path.join(planned.folder, SCORES)}"]
        flags.append("--nobest" if planned.best() is None else "--best")
        flags += [] if planned.run.decode else ["--nodecode"]
        return [script, *settings, *flags, *(["--baselines"] if planned.run.baselines else [])]

    def _on_signal(self, number, _):
        """Passes the signal on: after the first one the processes save and exit, after the second they exit at once."""
        self._stop = number
        self._stopped_in = ", ".join(work.job.name for work in self._working) or "a pause between two jobs"
        for work in self._working:
            if work.process.poll() is None:
                work.process.send_signal(signal.SIGTERM)


def duration(seconds: float) -> str:
    """Formats a duration as minutes, or as hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def until(seconds: float, now: float | None = None) -> str:
    """Formats the time that all jobs still take, and the clock time of their end, with the date if it is another day.

    Args:
      now: the present time in seconds since the epoch. Default: the clock of the machine.
    """
    now = time.time() if now is None else now
    end, today = time.localtime(now + seconds), time.localtime(now)
    same_day = (end.tm_year, end.tm_yday) == (today.tm_year, today.tm_yday)
    return f"{duration(seconds)} left in total, until {time.strftime('%H:%M' if same_day else '%Y-%m-%d %H:%M', end)}"


def _tail(path: str, begin: int) -> str:
    """Returns the end of what was written to a log after the offset `begin`."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(begin, size - _LOG_TAIL))
        return file.read().decode("utf-8", "replace")


def _last_line(path: str, begin: int) -> str:
    lines = _tail(path, begin).strip().splitlines()
    return lines[-1][:500] if lines else "there was no output"
