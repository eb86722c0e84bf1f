"""Trains the runs of the tables with JAX instead of bin/train.py: packs what is to be trained, and takes over the results."""

import os
from collections.abc import Callable, Sequence

from t2t_mm.common import config
from t2t_mm.experiment import Experiment
from t2t_mm.jax_training.pack import Packer, PackSettings
from t2t_mm.jax_training.packed import load_result, write_ended
from t2t_mm.jax_training.unpack import unpack
from t2t_mm.lab.tables.runs import SCORES, Planned
from t2t_mm.lab.tables.scores import write
from t2t_mm.training import loop


def pack_runs(plan: Sequence[Planned], parent: str, folder: str, say: Callable[[str], None] = print) -> int:
    """Packs all runs that have not been trained yet, and those from which they start.

    Args:
      parent: the folder of all runs.
      folder: the folder for the packed runs.

    Returns:
      The number of packed runs.
    """
    packer = Packer(folder, say)
    missing = [planned for planned in plan if planned.run.trained and planned.scores() is None and not planned.trained()]
    needed = {planned.start for planned in missing} | {planned.folder for planned in missing}
    chosen = [planned for planned in plan if planned.run.trained and planned.folder in needed]
    first: dict[str, str] = {}  # run -> the name of its first seed
    for planned in chosen:
        name = os.path.relpath(planned.folder, parent)
        start = None if planned.start is None else os.path.relpath(planned.start, parent)
        if planned.run.name in first:
            packer.add_seed(name, planned.seed, first[planned.run.name], start)
            continue
        first[planned.run.name] = name
        config.parse(planned.gin_files, planned.bindings)
        packer.add(name, PackSettings.of(config.arguments_of(loop.train)), start)
    packer.save()
    return len(chosen)


def take_over(plan: Sequence[Planned], parent: str, trained: str, say: Callable[[str], None] = print) -> int:
    """Makes the folders of all runs that were trained with JAX and have not been trained here.

    Of runs without decoded answers, only the scores that were measured with JAX are taken over, so that their weights need not
    be there. The others are scored afterwards.

    Args:
      parent: the folder of all runs.
      trained: the folder that bin/train_jax.py wrote.

    Returns:
      The number of runs taken over.

    Raises:
      RunError: the weights of a run do not fit its configuration.
    """
    taken = 0
    for planned in plan:
        name = os.path.relpath(planned.folder, parent)
        if not planned.run.trained or planned.trained() or load_result(trained, name) is None:
            continue
        if not planned.run.decode:
            _take_scores(planned, trained, name)
            taken += 1
            continue
        config.parse(planned.gin_files, planned.bindings)
        experiment = config.configured(Experiment)()
        described = experiment
        if planned.start:  # it has the model of the run that it starts from
            before = next(one for one in plan if one.folder == planned.start)
            config.parse(before.gin_files, before.bindings)
            described = config.configured(Experiment)()
        result = unpack(trained, name, planned.folder, experiment, described.describe(), planned.configuration)
        taken += 1
        say(f"{planned.name}: taken over, {result['step']} steps")
    return taken


def _take_scores(planned: Planned, trained: str, name: str) -> None:
    result = load_result(trained, name)
    assert result is not None  # see `take_over`
    scores = {key: result[key] for key in ("step", "seed", "training_seconds", "parameters", "splits", "curves")}
    os.makedirs(planned.folder, exist_ok=True)
    write_ended(planned.folder, result)
    # With the configuration, because there is no checkpoint from which the step could be known.
    write(
        os.path.join(planned.folder, SCORES), scores | {"baselines": {"dev": {}, "test": {}}, "configuration": planned.digest}
    )
