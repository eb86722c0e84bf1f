"""Trains the runs of the tables with JAX instead of bin/train.py: packs what is to be trained, and takes over the results."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence

from t2t_mm.common import config
from t2t_mm.experiment import Experiment
from t2t_mm.jax_training.pack import Packer, PackSettings
from t2t_mm.jax_training.packed import check_configuration, load_result, write_ended
from t2t_mm.jax_training.unpack import unpack
from t2t_mm.lab.tables.runner import missing
from t2t_mm.lab.tables.runs import SCORES, Planned
from t2t_mm.lab.tables.scores import write
from t2t_mm.training import loop


def pack_runs(
    plan: Sequence[Planned], parent: str, folder: str, say: Callable[[str], None] = print, only: Collection[str] | None = None
) -> int:
    """Packs all runs that are left to be trained, and those from which they start, directly or by way of others.

    Args:
      parent: the folder of all runs.
      folder: the folder for the packed runs.
      only: names of the runs that are to be trained. Default: all.

    Returns:
      The number of packed runs.

    Raises:
      RunError: a folder holds a run with another configuration, or training with JAX does not support a run.
    """
    packer = Packer(folder, say)
    # The weights of those that were trained here are not among those that training with JAX can start from.
    folders = {planned.folder: planned for planned in plan}
    jobs = [job for job in missing(plan) if job.kind == "train" and (only is None or job.planned.run.name in only)]
    needed = {before.folder for job in jobs for before in _chain(job.planned, folders)}
    chosen = [planned for planned in plan if planned.folder in needed]
    first: dict[str, str] = {}  # run -> the name of its first seed
    for planned in chosen:
        name = os.path.relpath(planned.folder, parent)
        start = None if planned.start is None else os.path.relpath(planned.start, parent)
        if planned.run.name in first:
            packer.add_seed(name, planned.seed, first[planned.run.name], start, planned.digest)
            continue
        first[planned.run.name] = name
        config.parse(planned.gin_files, planned.bindings)
        packer.add(name, PackSettings.of(config.arguments_of(loop.train)), start, planned.digest)
    packer.save()
    return len(chosen)


def _chain(planned: Planned, folders: Mapping[str, Planned]) -> list[Planned]:
    """Returns a run, the one that it starts from, the one that this starts from, and so on.

    Args:
      folders: all planned runs by their folders.
    """
    found = [planned]
    while found[-1].start is not None:
        found.append(folders[found[-1].start])
    return found


def take_over(plan: Sequence[Planned], parent: str, trained: str, say: Callable[[str], None] = print) -> int:
    """Makes the folders of all runs that were trained with JAX and have not been trained here.

    Of runs without decoded answers, the scores that were measured with JAX are taken over. Their weights need only be there if
    something starts from them that is left to do. Runs with decoded answers are scored afterwards.

    Args:
      parent: the folder of all runs.
      trained: the folder that bin/train_jax.py wrote.

    Returns:
      The number of runs taken over.

    Raises:
      RunError: a run was trained with another configuration, or its weights are needed and not there.
    """
    taken = 0
    folders = {planned.folder: planned for planned in plan}
    names = {planned.folder: os.path.relpath(planned.folder, parent) for planned in plan if planned.run.trained}
    ended = {folder: result for folder, name in names.items() if (result := load_result(trained, name)) is not None}
    used: set[str] = set()  # folders of runs whose weights are needed here
    for planned in reversed(plan):  # a run comes after the one that it starts from
        if planned.start and planned.folder not in ended and (planned.scores() is None or planned.folder in used):
            used.add(planned.start)
    for planned in plan:
        if planned.folder not in ended or planned.trained():
            continue
        name, result = names[planned.folder], ended[planned.folder]
        check_configuration(result, os.path.join(trained, name), planned.digest)
        taken += 1
        if planned.run.decode or planned.folder in used:
            # It has the model of the run with which its chain begins.
            experiment, described = (_experiment(one) for one in (planned, _chain(planned, folders)[-1]))
            unpack(trained, name, planned.folder, experiment, described.describe(), planned.configuration)
            say(f"{planned.name}: taken over, {result['step']} steps")
        if not planned.run.decode:
            _take_scores(planned, result)
    return taken


def _experiment(planned: Planned) -> Experiment:
    config.parse(planned.gin_files, planned.bindings)
    return config.configured(Experiment)()


def _take_scores(planned: Planned, result: dict) -> None:
    scores = {key: result[key] for key in ("step", "seed", "training_seconds", "parameters", "splits", "curves")}
    os.makedirs(planned.folder, exist_ok=True)
    write_ended(planned.folder, result)
    # With the configuration, because there is no checkpoint from which the step could be known.
    write(
        os.path.join(planned.folder, SCORES), scores | {"baselines": {"dev": {}, "test": {}}, "configuration": planned.digest}
    )
