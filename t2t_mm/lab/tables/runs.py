"""Maps declared runs to folders on disk: which runs there are, their configuration, and how far they are."""

import dataclasses
import difflib
import json
import os
import re
from collections.abc import Sequence

from t2t_mm.common import config
from t2t_mm.common.config import ConfigError
from t2t_mm.common.errors import RunError
from t2t_mm.jax_training.packed import ENDED, digest_of
from t2t_mm.lab.results import processor
from t2t_mm.lab.tables.scores import write
from t2t_mm.lab.tables.tables import Run
from t2t_mm.run.checkpoints import best_step, checkpoints_folder, newest_first, step_of

SCORES = "scores.json"
_INIT_FROM = re.compile(r"loop\.train\.init_from = (?:\\\n\s+)?'[^']*?([^/']+/seed_\d+)'")


@dataclasses.dataclass(frozen=True)
class Setting:
    """The settings that all runs share.

    Attributes:
      folder: parent of the folders of all runs.
      gin_files: configuration files of every run; those of the run itself are applied after them.
      bindings: Gin bindings of every run; those of the run itself are applied after them.
      seeds: number of seeds of each run. From three on, the `more_seeds` of the run are added to them.
      alone: configuration files of the runs that are trained on one problem from the beginning, between those of all
        runs and those of the run itself.
    """

    folder: str
    gin_files: tuple[str, ...]
    bindings: tuple[str, ...] = ()
    seeds: int = 3
    alone: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run with one seed.

    Attributes:
      folder: folder of the run.
      start: folder of the run whose weights it starts from.
      weights: folder of its checkpoints. For a run that is not trained itself, this is `start`.
      configuration: the complete Gin configuration as text.
      steps: the largest number of training steps of its weights.
      evaluated_every: number of steps between two evaluations during training, or 0. With evaluations, the best
        checkpoint is scored, and otherwise the newest.
      patience: number of successive evaluations without improvement after which training ends; 0 for no limit.
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
    evaluated_every: int = 0
    patience: int = 0

    @property
    def name(self) -> str:
        return f"{self.run.name}, seed {self.seed}"

    def done(self) -> int:
        """Returns the step of the newest checkpoint, or 0 if there is none."""
        found = newest_first(checkpoints_folder(self.weights))
        return step_of(found[0]) if found else 0

    def trained(self) -> bool:
        """Whether training has made all its steps, or ended early because the evaluations did not improve any more."""
        done = self.done()
        if done >= self.steps or os.path.isfile(os.path.join(self.weights, ENDED)):
            return True
        best = best_step(self.weights) if self.patience else None
        # As `training.loop` decides it, which would end at once if it were started again.
        return best is not None and done - best >= self.patience * self.evaluated_every

    def device(self) -> str:
        """Returns the device on which it was trained with JAX, that of the report whose scores were kept, or "this machine"."""
        path = os.path.join(self.weights, ENDED)
        if not os.path.isfile(path):
            return (self._written() or {}).get("device", "this machine")
        with open(path, encoding="utf-8") as file:
            return f"{json.load(file)['device']}, with JAX"

    def best(self) -> int | None:
        """Returns the step of the best checkpoint, which is scored, or None if there is none and the newest is scored."""
        return best_step(self.weights) if self.evaluated_every else None

    def scored_step(self) -> int:
        """Returns the step of the checkpoint that counts, or 0 if there is no checkpoint."""
        best = self.best()
        return self.done() if best is None else best

    @property
    def digest(self) -> str:
        """The SHA-256 hash of the configuration, wherever the folder of all runs is."""
        return digest_of(_movable(self.configuration))

    def scores(self) -> dict | None:
        """Returns the scores that bin/score.py wrote for the checkpoint that counts, or None if there are none yet.

        The checkpoint itself need not exist; see `keep`.
        """
        found = self._written()
        # Scores that bin/score.py has written by itself do not say of which configuration they are.
        if found is None or found.get("configuration", self.digest) != self.digest:
            return None
        if self.done():
            return found if self.trained() and found["step"] == self.scored_step() else None
        # Without checkpoints, only scores that were taken over are known to be those of the end of a training.
        return found if found["step"] == self.steps or "configuration" in found else None

    def stamp(self) -> None:
        """Adds the configuration and the processor to the scores that bin/score.py has just written."""
        found = self._written()
        if found is not None:
            device = {} if os.path.isfile(os.path.join(self.weights, ENDED)) else {"device": processor()}
            write(os.path.join(self.folder, SCORES), {"configuration": self.digest} | device | found)

    def _written(self) -> dict | None:
        try:
            with open(os.path.join(self.folder, SCORES), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def keep(self, kept: dict) -> bool:
        """Takes the scores of an earlier report if they have the same configuration and the run has not begun here.

        Returns:
          Whether the scores were taken.
        """
        found = kept.get(self.run.name, {}).get(str(self.seed))
        if found is None or found["configuration"] != self.digest or self.done() or self.scores() is not None:
            return False
        write(os.path.join(self.folder, SCORES), found)
        return True

    def check_same(self) -> None:
        """Raises RunError if the folder holds a run with a configuration other than the planned one."""
        path = os.path.join(self.folder, "config.gin")
        if not os.path.isfile(path):
            return
        with open(path, encoding="utf-8") as file:
            before = file.read()
        before, planned = _movable(before), _movable(self.configuration)
        if before == planned:
            return
        lines = difflib.unified_diff(before.splitlines(), planned.splitlines(), lineterm="", n=0)
        changed = [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]
        raise RunError(
            f"{self.folder} was created with another configuration ({'; '.join(changed[:6])}). Delete it, or choose "
            "another folder for the runs."
        )


def _movable(configuration: str) -> str:
    """Returns a configuration in which the run that it starts from is named without the folder of all runs."""
    return _INIT_FROM.sub(r"loop.train.init_from = '\1'", configuration)


def plan(runs: Sequence[Run], setting: Setting) -> list[Planned]:
    """Returns every run with each of its seeds.

    All runs of the first seed come first, so that a first version of every table is available early.

    Raises:
      ConfigError: a .gin file is missing or cannot be parsed.
      RunError: a run starts from one that is not declared before it.
    """
    found: list[Planned] = []
    for position, run in enumerate(runs):
        if run.init_from and run.init_from not in [before.name for before in runs[:position]]:
            raise RunError(f"{run.name} starts from the run {run.init_from}, which is not declared before it.")
        # With one or two seeds, nobody asks for an interval.
        seeds = setting.seeds + (run.more_seeds if setting.seeds > 2 else 0)
        found += [_planned(run, seed, setting) for seed in range(seeds)]
    return sorted(found, key=lambda planned: planned.seed)  # stable, so that runs still follow those they start from


def with_starts(names: Sequence[str], runs: dict[str, Run]) -> list[Run]:
    """Returns the named runs and all runs that they start from, directly or by way of others, in the order of declaration."""
    wanted: set[str] = set()
    for name in names:
        following: str | None = name
        while following and following not in wanted:
            wanted.add(following)
            following = runs[following].init_from
    return [run for name, run in runs.items() if name in wanted]


def _planned(run: Run, seed: int, setting: Setting) -> Planned:
    folder = os.path.join(setting.folder, run.name, f"seed_{seed}")
    start = os.path.join(setting.folder, run.init_from, f"seed_{seed}") if run.init_from else None
    own = [*run.bindings, f"loop.train.seed = {seed}"]
    if run.only:
        own.append(f"experiment.Experiment.only = {list(run.only)}")
    if start and run.trained:
        own.append(f"loop.train.init_from = {start!r}")
    alone = setting.alone if len(run.only) == 1 and not run.init_from else ()
    gin_files, bindings = (*setting.gin_files, *alone, *run.gin_files), (*setting.bindings, *own)
    config.parse(gin_files, bindings)
    weights = folder if run.trained or start is None else start
    return Planned(
        run, seed, folder, start, weights, gin_files, bindings, config.resolved(), config.value_of("loop.train.steps"),
        _bound("settings.Evaluation.every_steps"), _bound("settings.Evaluation.patience"),
    )  # fmt: skip


def _bound(name: str) -> int:
    """Returns the number to which a parameter is bound, or 0, its default, if it is not."""
    try:
        return int(config.value_of(name))
    except ConfigError:
        return 0
