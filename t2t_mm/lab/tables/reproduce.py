"""The implementation of bin/reproduce.py: corpora, plan, runs and report."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from t2t_mm.common import config
from t2t_mm.common.command import matching_runs
from t2t_mm.common.errors import RunError
from t2t_mm.experiment import Experiment
from t2t_mm.lab.tables import tables as declared
from t2t_mm.lab.tables.costs import Costs
from t2t_mm.lab.tables.jax_runs import pack_runs, take_over
from t2t_mm.lab.tables.report.gather import gather
from t2t_mm.lab.tables.report.write import write
from t2t_mm.lab.tables.runner import Runner, Stopped, missing
from t2t_mm.lab.tables.runs import Setting, plan, with_starts
from t2t_mm.spelling import counted, near

__all__ = ["CORPORA", "Stopped", "Study"]
CORPORA = {"mini": "gin/runs/tables_mini.gin", "real": "gin/runs/tables_real.gin"}
_ONLY_MINI = (
    "curve",
    "partner_settings",
    "experts",
    "zero_shot",
    "zero_shot_options",
    "pairs",
)  # these need trees, references or settings of the mini corpora
_PIECES = {"mini": 1200, "real": 8000}  # vocabulary size
_ALONE = {"paper": ("gin/tables/alone_paper.gin",)}  # size -> files of the runs of one problem


class Study:
    """A selection of the tables on the mini or the real corpora.

    Args:
      corpora: a key of CORPORA.
      names: names of the tables. Empty: all tables that the corpora support.
      seeds: number of seeds of each run.
      folder: folder of all runs.
      commands: folder of train.py, score.py and the other commands.
      gin_files: configuration files for all runs, applied after those of the corpora.
      bindings: Gin bindings for all runs, applied after the files.
      size: a file of gin/sizes, for real corpora only. Default: "base".
      declaration: runs and tables to use instead of those of `tables.declare`.
      say: prints one line.

    Raises:
      ConfigError: a .gin file is missing or cannot be parsed.
      RunError: a table is unknown or not supported by the corpora, or a size was given for the mini corpora.
    """

    def __init__(
        self,
        corpora: str,
        names: Sequence[str],
        seeds: int,
        folder: str,
        commands: str,
        gin_files: Sequence[str] = (),
        bindings: Sequence[str] = (),
        size: str | None = None,
        declaration: tuple[dict[str, declared.Run], Sequence[declared.ResultTable]] | None = None,
        say: Callable[[str], None] = print,
    ):
        runs, tables = declaration or declared.declare()
        known = [table.name for table in tables if corpora == "mini" or table.name not in _ONLY_MINI]
        for name in names:
            if name not in known:
                raise RunError(
                    f"Unknown table {name!r}{near(name, known)} for the {corpora} corpora; choose from {', '.join(known)}."
                )
        self._tables = [table for table in tables if table.name in (names or known)]
        wanted = [name for table in self._tables for name in table.run_names()]
        if corpora == "mini" and size:
            raise RunError(f"Runs on the mini corpora have the mini size, not {size!r}; change its settings with --gin_param.")
        sizes = [f"gin/sizes/{size or 'base'}.gin"] if corpora == "real" else []
        self._setting = Setting(
            folder, (*sizes, CORPORA[corpora], *gin_files), tuple(bindings), seeds, _ALONE.get(size or "", ())
        )
        self.planned = plan(with_starts(wanted, runs), self._setting)
        config.parse(self._setting.gin_files, self._setting.bindings)
        self._paths = config.value_of("%corpora"), config.value_of("experiment.Experiment.vocabulary")
        self.problems = tuple(problem.name for problem in config.configured(Experiment)().problems)
        self._costs = Costs(folder, {p.run.name: p.run.only or self.problems for p in self.planned})
        self._corpora, self._commands, self._say = corpora, commands, say

    def describe(self, only: Sequence[str] = ()) -> str:
        """Returns a table of the runs with their steps, the steps done and the hours left, and the total.

        Args:
          only: see `run`.
        """
        chosen = self._chosen(only)
        jobs: dict[str, float] = {}
        for job in missing(self.planned):
            name = job.planned.name
            jobs[name] = jobs.get(name, 0.0) + self._costs.seconds(job.planned, job.kind, job.steps)
        shown = [planned for planned in self.planned if planned.run.name in chosen]
        width = max(len(planned.name) for planned in shown)
        lines = [f"{'run':{width}} {'steps':>7} {'done':>7} {'hours left':>11}"]
        for planned in shown:
            done: int | str = planned.done()
            if not done and (kept := planned.scores()):  # without its checkpoints
                done = kept["step"]
            steps, done = (planned.steps, done) if planned.run.trained else ("–", "–")
            left = jobs.get(planned.name, 0.0) / 3600
            lines.append(f"{planned.name:{width}} {steps:>7} {done:>7} {left:>11.2f}")
        total = sum(jobs.get(planned.name, 0.0) for planned in shown)
        lines.append(f"{counted(len(shown), 'run')}, {total / 3600:.1f} hours left ({self._costs.basis()})")
        return "\n".join(lines)

    def keep(self, path: str) -> list[str]:
        """Reuses the scores of an earlier report for runs with the same configuration.

        Args:
          path: the JSON file of the report.

        Returns:
          The names of the runs whose scores were taken.

        Raises:
          RunError: the file does not exist or is not a report of bin/reproduce.py.
        """
        try:
            with open(path, encoding="utf-8") as file:
                results = json.load(file)["results"]
            kept = results["scores"]
            for name, seeds in kept.items():
                for scores in seeds.values():
                    scores.setdefault("device", results["runs"][name]["device"])
                    scores["configuration"], scores["step"]
        except FileNotFoundError:
            raise RunError(f"{path}: there is no such report to take scores from.") from None
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path}: this is not a report of bin/reproduce.py ({error!r}).") from error
        return [planned.name for planned in self.planned if planned.keep(kept)]

    def prepare(self) -> None:
        """Creates the mini corpora and the vocabulary if they do not exist yet.

        Raises:
          RunError: one of the commands that create them failed.
        """
        corpora, vocabulary = self._paths
        if self._corpora == "mini" and not os.path.isdir(corpora):
            self._command("make_mini.py", f"--root={corpora}")
        if not os.path.isfile(vocabulary):
            settings = [f"--gin_file={path}" for path in self._setting.gin_files]
            settings += [f"--gin_param={binding}" for binding in self._setting.bindings]
            self._command("build_vocabulary.py", *settings, f"--size={_PIECES[self._corpora]}")

    def _command(self, script: str, *flags: str) -> None:
        self._say(f"{script}: {' '.join(flags)}")
        done = subprocess.run([sys.executable, os.path.join(self._commands, script), *flags])
        if done.returncode:
            raise RunError(f"{script} failed with exit code {done.returncode}.")

    def run(self, at_once: int = 1, only: Sequence[str] = ()) -> dict[str, str]:
        """Runs the missing jobs of the plan.

        Args:
          at_once: number of jobs that run at the same time.
          only: names of runs, or shell-style patterns. Default: all runs.

        Returns:
          The name of each failed job -> the reason.

        Raises:
          RunError: a name or pattern matches no run, a chosen run starts from one that is neither chosen nor trained, or a
            folder holds a run with another configuration.
          Stopped: a signal stopped the jobs.
        """
        chosen, left = self._chosen(only), missing(self.planned)
        untrained = {job.planned.folder: job.planned for job in left if job.kind == "train"}
        jobs = [job for job in left if job.planned.run.name in chosen]
        for job in jobs:
            for start in (untrained[folder] for folder in job.needs & untrained.keys()):
                if start.run.name not in chosen:
                    raise RunError(
                        f"{job.planned.name} needs the weights of {start.name}, which has not been trained to its end. "
                        f"Add --run={start.run.name}."
                    )
        os.makedirs(self._setting.folder, exist_ok=True)
        screen = sys.stdout if sys.stdout.isatty() else None
        return Runner(self._commands, self._costs, self._say, at_once=at_once, screen=screen).run(jobs)

    def _chosen(self, only: Sequence[str]) -> set[str]:
        return set(matching_runs(only, sorted({planned.run.name for planned in self.planned})))

    def pack(self, folder: str, only: Sequence[str] = ()) -> int:
        """Packs the runs that are left for bin/train_jax.py (see `jax_runs.pack_runs`).

        Args:
          only: see `run`. The runs from which the chosen ones start are packed, too.
        """
        return pack_runs(self.planned, self._setting.folder, folder, self._say, self._chosen(only))

    def take_over(self, trained: str) -> int:
        """Takes over the runs that bin/train_jax.py has trained (see `jax_runs.take_over`)."""
        return take_over(self.planned, self._setting.folder, trained, self._say)

    def report(self, path: str, command: str, answers: str | None = None) -> list[str]:
        """Writes the report on the finished runs, and the page `answers` with its findings; returns the paths of all files."""
        found = {"corpora": self._corpora} | gather(self._tables, self.planned, self.problems)
        return write(path, command, self._costs.spent() / 60, found, answers)
