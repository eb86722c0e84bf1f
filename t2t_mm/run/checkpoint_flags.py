"""The flags --best and --step, one definition for every command that loads a trained model.

A command defines them by `define()` and reads them by `chosen`.
"""

import dataclasses
from typing import TYPE_CHECKING

from absl import flags

from t2t_mm.run.errors import RunError

if TYPE_CHECKING:
    from t2t_mm.experiment import Experiment


def define() -> None:
    """Makes them flags of the command that calls this."""
    flags.DEFINE_bool(
        "best", None,
        "Take the checkpoint of the best evaluation during training, not the newest. Default: as weights.Weights has it.",
    )  # fmt: skip
    flags.DEFINE_integer("step", None, "Take the checkpoint of this step, not the newest.", lower_bound=0)


def check() -> None:
    """RunError where both are given; call it before anything slow is imported."""
    if flags.FLAGS.best and flags.FLAGS.step is not None:
        raise RunError("Either --best or --step, not both.")


def chosen(experiment: "Experiment") -> "Experiment":
    """The experiment with the weights that the flags choose; without any flag, as it is configured."""
    weights = experiment.weights
    if flags.FLAGS.best is not None:
        weights = dataclasses.replace(weights, best=flags.FLAGS.best, step=None)
    if flags.FLAGS.step is not None:
        weights = dataclasses.replace(weights, best=False, step=flags.FLAGS.step, average=1)
    return experiment.with_weights(weights)


flags.disclaim_key_flags()  # --help lists them among those of the command
