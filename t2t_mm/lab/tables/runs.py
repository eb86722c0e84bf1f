"""From declared runs to folders on disk: which there are, what each holds, what is done."""

import dataclasses
import difflib
import hashlib
import json
import os
from collections.abc import Sequence

from t2t_mm.lab.tables.scores import write
from t2t_mm.lab.tables.tables import Run
from t2t_mm.run import config
from t2t_mm.run.checkpoints import checkpoints_folder, newest_first
from t2t_mm.run.errors import RunError

SCORES = "scores.json"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all runs share.

    folder: every run has its own below it. gin_files, bindings: of every run; its own come over them. seeds: how many.
    """

    folder: str
    gin_files: tuple[str, ...]
    bindings: tuple[str, ...] = ()
    seeds: int = 3


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run with one seed.

    folder: its own. start: that of the run it starts from. weights: where its checkpoints lie, in `start` where it is not
      trained itself. configuration: all of its
    Gin as text. steps: of its training, or of that of its weights.
    """

    run: Run
    seed: int
    folder: str
    start: str | None
    weights: str
    gin_files: tuple[str, ...]
    bindings: tuple[str, ...]
    configuration: str
    steps: int

    @property
    def name(self) -> str:
        return f"{self.run.name}, seed {self.seed}"

    def done(self) -> int:
        """Steps that the newest checkpoint has; 0 without one."""
        found = newest_first(checkpoints_folder(self.weights))
        return int(found[0].rsplit("-", 1)[1]) if found else 0

    def trained(self) -> bool:
        return self.done() >= self.steps

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration."""
        return hashlib.sha256(self.configuration.encode()).hexdigest()

    def scores(self) -> dict | None:
        """What bin/score.py found at the last step; None where that is still to come or was not scored.

        The checkpoint need not be there any more, see `keep`.
        """
        try:
            with open(os.path.join(self.folder, SCORES), encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            return None
        return found if found["step"] == max(self.steps, self.done()) else None

    def keep(self, kept: dict) -> bool:
        """Takes the scores of an earlier report, where they are of the same configuration and there are none here."""
        found = kept.get(self.run.name, {}).get(str(self.seed))
        if found is None or found["configuration"] != self.digest or self.done() or self.scores() is not None:
            return False
        write(os.path.join(self.folder, SCORES), found)
        return True

    def check_same(self) -> None:
        """RunError when the folder holds a run of another configuration than the one planned now."""
        path = os.path.join(self.folder, "config.gin")
        if not os.path.isfile(path):
            return
        with open(path, encoding="utf-8") as file:
            before = file.read()
        if before == self.configuration:
            return
        lines = difflib.unified_diff(before.splitlines(), self.configuration.splitlines(), lineterm="", n=0)
        changed = [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]
        raise RunError(
            f"{self.folder}: was made with another configuration ({'; '.join(changed[:6])}). Delete it, or choose another "
            "folder for the runs."
        )


def plan(runs: Sequence[Run], setting: Setting) -> list[Planned]:
    """Every run with each of its seeds; all runs of the first seed come first, so that every table is there early.

    Raises:
      ConfigError: a .gin file is missing or does not parse.
      RunError: a run starts from one that does not come before it in `runs`, or has fewer seeds than its start.
    """
    found: list[Planned] = []
    seeds = {run.name: run.seeds(setting.seeds) for run in runs}
    for position, run in enumerate(runs):
        if run.init_from and run.init_from not in [before.name for before in runs[:position]]:
            raise RunError(f"{run.name} starts from the run {run.init_from}, which is not declared before it.")
        if run.init_from and len(seeds[run.init_from]) < len(seeds[run.name]):
            raise RunError(f"{run.name} has more seeds than the run {run.init_from} that it starts from.")
        found += [_planned(run, seed, setting) for seed in seeds[run.name]]
    return sorted(found, key=lambda planned: planned.seed)


def with_starts(names: Sequence[str], runs: dict[str, Run]) -> list[Run]:
    """The named runs and those they start from, in the order of their declaration."""
    wanted = set(names) | {runs[name].init_from for name in names}
    return [run for name, run in runs.items() if name in wanted]


def _planned(run: Run, seed: int, setting: Setting) -> Planned:
    folder = os.path.join(setting.folder, run.name, f"seed_{seed}")
    start = os.path.join(setting.folder, run.init_from, f"seed_{seed}") if run.init_from else None
    own = [*run.bindings, f"loop.train.seed = {seed}"]
    if run.only:
        own.append(f"experiment.Experiment.only = {list(run.only)}")
    if start and run.trained:
        own.append(f"loop.train.init_from = {start!r}")
    gin_files, bindings = (*setting.gin_files, *run.gin_files), (*setting.bindings, *own)
    config.parse(gin_files, bindings)
    weights = folder if run.trained else start
    return Planned(
        run, seed, folder, start, weights, gin_files, bindings, config.resolved(), config.value_of("loop.train.steps")
    )
