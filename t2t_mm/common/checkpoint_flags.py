"""The flags --best and --step, which all commands that load a trained model share.

A command defines them with `define()` and reads them with `chosen`.
"""

import dataclasses
from typing import TYPE_CHECKING

from absl import flags

from t2t_mm.common.description import load_description
from t2t_mm.common.errors import RunError

if TYPE_CHECKING:
    from t2t_mm.experiment import Experiment


def define() -> None:
    """Defines the flags for the command that calls this."""
    flags.DEFINE_bool(
        "best", None,
        "Whether to use the checkpoint with the best evaluation during training instead of the newest. Default: "
        "weights.Weights.best.",
    )  # fmt: skip
    flags.DEFINE_integer("step", None, "Step of the checkpoint to use instead of the newest.", lower_bound=0)


def check() -> None:
    """Checks the flags. Call this before importing anything slow.

    Raises:
      RunError: both flags are given.
    """
    if flags.FLAGS.best and flags.FLAGS.step is not None:
        raise RunError("Give either --best or --step, not both.")


def chosen(experiment: "Experiment", model_dir: str) -> "Experiment":
    """Returns the experiment with the weights that the flags select; without flags, returns it as configured.

    Raises:
      RunError: the folder holds a packed model, and the flags select another checkpoint than its only one.
    """
    weights = experiment.weights
    if flags.FLAGS.best or flags.FLAGS.step is not None:
        _check_packed(model_dir)
    if flags.FLAGS.best is not None:
        weights = dataclasses.replace(weights, best=flags.FLAGS.best, step=None)
    if flags.FLAGS.step is not None:
        weights = dataclasses.replace(weights, best=False, step=flags.FLAGS.step, average=1)
    return experiment.with_weights(weights)


def _check_packed(model_dir: str) -> None:
    """Checks the flags against a packed model, whose weights were selected when it was packed."""
    from t2t_mm.run import checkpoints, folder  # here, because they need TensorFlow, and flags are defined before it

    if not load_description(model_dir).get(folder.PACKED):
        return
    if flags.FLAGS.best:
        raise RunError(
            f"{model_dir}: holds a packed model, which has a single checkpoint; drop --best. The best one of a run is packed "
            "with bin/pack_model.py --best."
        )
    checkpoints.of_step(model_dir, flags.FLAGS.step)  # raises an error that names the step of the packed model


flags.disclaim_key_flags()  # so that --help lists them with the flags of the command
