"""The folder of a run: its files besides the checkpoints, and how a trained model is loaded from it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from absl import logging

from t2t_mm.common.description import load_description
from t2t_mm.common.errors import RunError
from t2t_mm.common.files import write_json, write_whole
from t2t_mm.common.writing import reason_of
from t2t_mm.corpora.example import CorpusError
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.layers.randomness import is_random_state
from t2t_mm.run.checkpoints import (  # fmt: skip
    best_first,
    best_folder,
    checkpoints_folder,
    key_of,
    newest_first,
    of_step,
    random_states_in,
    valid,
    weights_in_order,
)
from t2t_mm.run.weights import Weights
from t2t_mm.spelling import near

if TYPE_CHECKING:  # not at run time, because `experiment` must not depend on the folders of runs
    from t2t_mm.experiment import Experiment
    from t2t_mm.model import MultiModel
    from t2t_mm.problem import Problem

PACKED = "packed"  # key in model.json: the data type of the matrices of a packed model, see t2t_mm/run/pack.py
MOVING_AVERAGES = "averages"  # key in a checkpoint: place among all variables -> moving average of the weight
_PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy", "sentencepiece", "sacrebleu", "jiwer")


def has_begun(model_dir: str) -> bool:
    """Returns whether a folder holds a run. A start that failed before its first checkpoint does not count as one."""
    return os.path.exists(os.path.join(model_dir, "model.json")) and bool(
        newest_first(checkpoints_folder(model_dir)) or newest_first(best_folder(model_dir))
    )


def check_folder(model_dir: str, description: dict) -> None:
    """Checks that a folder, if it exists, belongs to a run with this model that can be resumed. Changes nothing.

    Raises:
      RunError: the model in the folder has another vocabulary, other problems or other classes, or it is packed.
    """
    if has_begun(model_dir):
        old = load_description(model_dir)
        if old.get(PACKED):
            raise RunError(
                f"{model_dir}: holds a packed model, which has no optimizer state, so its training cannot be resumed. "
                f"Start a new run from it: --init_from={model_dir} and another --model_dir."
            )
        _check_same(old, description, model_dir)


def prepare_folder(
    model_dir: str, experiment: Experiment, description: dict, configuration: str, seed: int, step: int = 0
) -> None:
    """Creates the folder of a run, or updates the folder of a resumed run. Call this after all checks.

    The folder contains `model.json` (the description of the model, its problems, the seed and the package versions),
    `vocabulary.model` and `config.gin`, so that later commands need neither the corpora nor the flags of the training. If
    the configuration has changed, the previous one is kept as `config_until_step_<step>.gin`.

    Raises:
      RunError: see `check_folder`.
    """
    check_folder(model_dir, description)
    os.makedirs(model_dir, exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES} | {"python": platform.python_version()}
    problems = {problem.name: problem.modality for problem in experiment.problems}
    whole = description | {"problems": problems, "seed": seed, "versions": versions}
    write_json(os.path.join(model_dir, "model.json"), whole, indent=1)
    path = os.path.join(model_dir, "config.gin")
    if os.path.exists(path):
        with open(path, "rb") as file:  # as bytes, because it may be damaged
            before = file.read()
        # Training continues with other settings than those it began with, so both are kept. Those of a start that made no
        # step to be kept must not replace them.
        until = os.path.join(model_dir, f"config_until_step_{step}.gin")
        if before != configuration.encode() and not os.path.exists(until):
            write_whole(until, before)
    write_whole(path, configuration)
    vocabulary = os.path.join(model_dir, "vocabulary.model")
    # A resumed run may read the vocabulary from its own folder.
    if not (os.path.exists(vocabulary) and os.path.samefile(experiment.vocabulary, vocabulary)):
        with open(experiment.vocabulary, "rb") as file:
            write_whole(vocabulary, file.read())


def seed_of(model_dir: str, seed: int) -> int:
    """Returns the seed with which the run in the folder was started, or `seed` for a new run."""
    if not has_begun(model_dir):
        return seed
    # With another seed, a resumed run would draw other batches and random numbers than the unbroken one.
    begun = load_description(model_dir).get("seed", seed)
    if begun != seed:
        logging.warning(
            "%s was started with seed %d and keeps it; seed %d is ignored. To use another seed, use another folder.",
            model_dir, begun, seed,
        )  # fmt: skip
    return begun


def _check_same(old: dict, new: dict, model_dir: str) -> None:
    if old["vocabulary"] != new["vocabulary"]:
        raise RunError(
            f"{model_dir}: its checkpoints were trained with another vocabulary (SHA-256 {old['vocabulary'][:12]} instead "
            f"of {new['vocabulary'][:12]}). Use {os.path.join(model_dir, 'vocabulary.model')}, or another folder."
        )
    for name in ("commands", "inputs", "class_names", "frequency_bins"):
        if old[name] != new[name]:
            raise RunError(
                f"{model_dir}: its checkpoints have {name} {old[name]}, this configuration has {new[name]}. Use another "
                "folder for a run with other problems."
            )


def all_variables(network: MultiModel) -> list[tf.Variable]:
    """Returns all weights and all states of random numbers to save and restore, in the order of the model.

    TensorFlow would not find all of them by itself, because Keras tracks lists of layers and seeds in its own way.
    """
    return [variable.value for variable in network.variables]


def weights_of(network: MultiModel) -> list[tf.Variable]:
    """Returns all variables of a model without the states of random numbers, in the order of the model.

    A trained model draws no random numbers. How many states there are depends on the dropout and on `MultiModel.mean_share`,
    which may therefore differ from those of the training.
    """
    return [variable.value for variable in network.variables if not is_random_state(variable)]


class MisfitError(RunError):
    """A checkpoint contains something else than the model of this configuration.

    Args:
      path: the checkpoint.
      reason: what differs.
      settings: the settings that differ from those of the run, as sentences.
    """

    def __init__(self, path: str, reason: str, settings: Sequence[str] = ()):
        differing = f" These settings differ from those of the run: {'; '.join(settings)}." if settings else ""
        super().__init__(
            f"{path}: does not fit this configuration ({reason}).{differing} Use the config.gin of the run, or another folder."
        )
        self.path, self.reason = path, reason


def check_variables(network: MultiModel, path: str) -> None:
    """Checks that a checkpoint contains the variables of a model that is to be trained further, with their shapes.

    Raises:
      MisfitError: it contains others; the message names the first one.
    """
    weights = weights_of(network)
    _fitting(tf.train.load_checkpoint(path), weights, path)
    before, now = random_states_in(path), len(all_variables(network)) - len(weights)
    if before != now:
        raise MisfitError(
            path,
            f"it has {before} states of random numbers, but the model has {now}; a dropout was 0 and is not, or the reverse",
        )


def restore(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Restores everything in `checkpoint` from the file `path`, and ignores the rest of the file.

    Raises:
      MisfitError: the file is damaged, or a part of it is missing or has another shape.
    """
    try:
        checkpoint.read(path).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        reason = reason_of(error) if isinstance(error, tf.errors.OpError) else " ".join(str(error).split())[:300]
        raise MisfitError(path, reason) from error


def load_trained(experiment: Experiment, model_dir: str, asked: Sequence[Problem] = ()) -> tuple[MultiModel, dict, dict]:
    """Loads the model from the checkpoint that `experiment.weights` selects, or the only one of a packed model.

    Args:
      asked: the problems that the model is going to answer. They may be others than those of its training.

    Returns:
      The model, its description, and {"step", "seconds"} of its training.

    Raises:
      RunError: there is no such checkpoint, it does not fit the vocabulary or the model of the experiment, or the model lacks
        the input, the command or the classes of a problem in `asked`.
    """
    description = load_description(model_dir)
    for problem in asked:
        _check_answerable(problem, description, model_dir)
    # With another vocabulary, ids would mean other pieces and the model would answer nonsense without an error.
    fingerprint = Tokenizer(experiment.vocabulary).fingerprint
    if fingerprint != description["vocabulary"]:
        _check_same(description, {"vocabulary": fingerprint}, model_dir)
    # The configuration of a packed model is that of its run, but what it selects there was selected when it was packed.
    weights = Weights() if description.get(PACKED) else experiment.weights
    paths = chosen_checkpoints(model_dir, weights)
    network = experiment.build_model(description)
    readers = {path: tf.train.load_checkpoint(path) for path in paths}
    _assign_means(network, readers, weights.moving_average)
    newest = readers[paths[0]]
    step, seconds = (newest.get_tensor(key_of(name)) for name in ("done", "seconds"))
    return network, description, {"step": int(step), "seconds": float(seconds)}


def _check_answerable(problem: Problem, description: dict, model_dir: str) -> None:
    needed = [("input", modality.name, description["inputs"]) for modality in problem.modalities]
    needed.append(("command", problem.command, description["commands"]))
    if problem.targets == "class":
        needed.append(("list of classes", problem.name, list(description["class_names"])))
    for what, name, known in needed:
        if name not in known:
            raise RunError(
                f"{problem.name}: the model in {model_dir} has no {what} {name!r}{near(name, known)}; it was trained with "
                f"{', '.join(known)}."
            )


def chosen_checkpoints(model_dir: str, weights: Weights) -> list[str]:
    """Returns the paths of the `weights.average` valid checkpoints that `weights` selects. Damaged ones are skipped.

    Raises:
      RunError: there are not enough valid checkpoints.
    """
    if weights.step is not None:
        return [of_step(model_dir, weights.step)]
    folder = best_folder(model_dir) if weights.best else checkpoints_folder(model_dir)
    paths = valid(best_first(model_dir) if weights.best else newest_first(folder), weights.average)
    if not paths and weights.best and newest_first(checkpoints_folder(model_dir)):
        raise RunError(
            f"{model_dir}: no checkpoint is the best one, because none was evaluated in training "
            "(settings.Evaluation.every_steps). Use the newest one: --nobest, or weights.Weights.best = False."
        )
    if not paths:
        how = " with settings.Evaluation.every_steps above 0" if weights.best else ""
        raise RunError(f"{folder}: no checkpoint yet. Train first with bin/train.py{how}.")
    if len(paths) < weights.average:
        how = "keep_best" if weights.best else "keep"
        raise RunError(
            f"{folder}: weights.Weights.average is {weights.average}, but there are only {len(paths)} checkpoints. "
            f"Average fewer, or train with settings.Checkpointing.{how} = {weights.average}."
        )
    return paths


def _assign_means(network: MultiModel, readers: dict[str, tf.train.CheckpointReader], moving_average: bool) -> None:
    """Assigns to each weight its mean over checkpoints, or the mean of its moving averages.

    Weights that are not floating-point numbers get the value in the newest checkpoint.

    Args:
      readers: path of each checkpoint -> its reader, the newest first.

    Raises:
      RunError: a checkpoint has other weights, or has no moving averages although they are requested.
    """
    variables = weights_of(network)
    weights = [(reader, _fitting(reader, variables, path)) for path, reader in readers.items()]
    for path, reader in readers.items():
        if moving_average and not any(name.startswith(f"{MOVING_AVERAGES}/") for name in reader.get_variable_to_shape_map()):
            raise RunError(
                f"{path}: has no moving averages (weights.Weights.moving_average). Train with settings.Optimizer.ema, "
                "for instance 0.999."
            )
    newest, names_in_newest = weights[0]
    for place, variable in enumerate(variables):
        if not variable.dtype.is_floating:  # such as a counter, whose mean would be meaningless
            variable.assign(newest.get_tensor(names_in_newest[place]))
            continue
        # In float64, so that the mean of equal weights is exactly these weights.
        total = np.zeros(variable.shape, np.float64)
        for reader, names in weights:
            averaged = names[place].replace("variables", MOVING_AVERAGES, 1)
            # Variables that are not trained, such as the moving statistics of batch norm, have no moving average.
            use = averaged if moving_average and reader.has_tensor(averaged) else names[place]
            total += reader.get_tensor(use).astype(np.float64)  # a packed model contains bfloat16
        variable.assign((total / len(readers)).astype(variable.dtype.as_numpy_dtype))


def _fitting(reader: tf.train.CheckpointReader, variables: Sequence[tf.Variable], path: str) -> list[str]:
    """Returns the name of the tensor of each weight in a checkpoint.

    Raises:
      MisfitError: the checkpoint has other weights.
    """
    shapes, names = reader.get_variable_to_shape_map(), weights_in_order(reader)
    # The number is compared, too: weights are stored by place, so one more or less shifts all others.
    wrong = None if len(names) == len(variables) else f"it has {len(names)} weights, but the model has {len(variables)}"
    for name, variable in zip(names, variables):
        if wrong is None and tuple(shapes[name]) != tuple(variable.shape):
            wrong = f"{variable.name} has the shape {tuple(shapes[name])} there and {tuple(variable.shape)} here"
    if wrong:
        raise MisfitError(path, wrong)
    return names


def use_folder(experiment: Experiment, model_dir: str) -> Experiment:
    """Returns the experiment with the vocabulary in the folder of the run.

    Raises:
      CorpusError: the folder has no vocabulary.
    """
    path = os.path.join(model_dir, "vocabulary.model")
    if not os.path.isfile(path):
        raise CorpusError(f"{path}: no such file, so {model_dir} holds no trained model. Train one with bin/train.py.")
    return experiment.with_vocabulary(path)
