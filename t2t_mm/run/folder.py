"""The folder of a run: what lies in it beside the checkpoints, and how a trained model is loaded from it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from typing import TYPE_CHECKING

import tensorflow as tf
from absl import logging

from t2t_mm.corpora.example import CorpusError
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.run.checkpoints import best_folder, checkpoints_folder, newest_sound
from t2t_mm.run.errors import RunError
from t2t_mm.run.files import write_json, write_whole

if TYPE_CHECKING:  # an experiment knows nothing of the folder that its run is kept in
    from t2t_mm.experiment import Experiment
    from t2t_mm.model import MultiModel

_PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy", "sentencepiece", "sacrebleu", "jiwer")


def check_folder(model_dir: str, description: dict) -> None:
    """Checks that a folder, where there is one, is of a run with this model; changes nothing.

    Raises:
      RunError: the folder's model was made with another vocabulary, other problems or other classes.
    """
    if os.path.exists(os.path.join(model_dir, "model.json")):
        _check_same(load_description(model_dir), description, model_dir)


def prepare_folder(
    model_dir: str, experiment: Experiment, description: dict, configuration: str, seed: int, step: int = 0
) -> None:
    """Makes the folder of a run, or brings that of a resumed run up to date; call it when everything has been checked.

    It holds `model.json` (the model's description, its problems, seed and package versions), `vocabulary.model` and
    `config.gin`, so that later commands need neither the corpora nor the flags of the training. A configuration that
    differs from the one before keeps that one as `config_until_step_<step>.gin`.

    Raises:
      RunError: as `check_folder`.
    """
    check_folder(model_dir, description)
    os.makedirs(model_dir, exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES} | {"python": platform.python_version()}
    problems = {problem.name: problem.inputs for problem in experiment.problems}
    whole = description | {"problems": problems, "seed": seed, "versions": versions}
    write_json(os.path.join(model_dir, "model.json"), whole, indent=1)
    path = os.path.join(model_dir, "config.gin")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = file.read()
        if before != configuration:
            write_whole(os.path.join(model_dir, f"config_until_step_{step}.gin"), before)
    write_whole(path, configuration)
    vocabulary = os.path.join(model_dir, "vocabulary.model")
    if not (os.path.exists(vocabulary) and os.path.samefile(experiment.vocabulary, vocabulary)):
        with open(experiment.vocabulary, "rb") as file:
            write_whole(vocabulary, file.read())


def seed_of(model_dir: str, seed: int) -> int:
    """The seed that the run in the folder was begun with; `seed` for a new one."""
    if not os.path.exists(os.path.join(model_dir, "model.json")):
        return seed
    begun = load_description(model_dir).get("seed", seed)
    if begun != seed:
        logging.warning(
            "%s was begun with seed %d, and goes on with it; seed %d is ignored. Another folder takes another seed.",
            model_dir, begun, seed,
        )  # fmt: skip
    return begun


def load_description(model_dir: str) -> dict:
    """The description in a run's folder; RunError where there is none."""
    path = os.path.join(model_dir, "model.json")
    if not os.path.isfile(path):
        raise RunError(f"{path}: not there, so {model_dir} holds no trained model. Train one with bin/train.py.")
    with open(path) as file:
        return json.load(file)


def _check_same(old: dict, new: dict, model_dir: str) -> None:
    if old["vocabulary"] != new["vocabulary"]:
        raise RunError(
            f"{model_dir}: its checkpoints were trained with another vocabulary (SHA-256 {old['vocabulary'][:12]}, this "
            f"one's is {new['vocabulary'][:12]}). Use {os.path.join(model_dir, 'vocabulary.model')}, or another folder."
        )
    for name in ("commands", "inputs", "class_names", "frequency_bins"):
        if old[name] != new[name]:
            raise RunError(
                f"{model_dir}: its checkpoints have {name} {old[name]}, this configuration has {new[name]}. Start a run "
                "with other problems in another folder."
            )


def describe_from(experiment: Experiment, model_dir: str) -> dict:
    """The description of the model in `model_dir`, for an experiment that starts from its weights.

    Raises:
      RunError: the model has another vocabulary, or lacks a command, an input or a label set of the experiment.
    """
    old, new = load_description(model_dir), experiment.describe()
    _check_same(old, old | {"vocabulary": new["vocabulary"]}, model_dir)
    lacking = [f"{name} {value}" for name in ("commands", "inputs") for value in new[name] if value not in old[name]]
    for name, classes in new["class_names"].items():
        if old["class_names"].get(name) != classes:
            lacking.append(f"the {len(classes)} classes of {name}")
    if new["frequency_bins"] != old["frequency_bins"]:
        lacking.append(f"{new['frequency_bins']} frequency bins (it has {old['frequency_bins']})")
    if lacking:
        raise RunError(
            f"{model_dir}: its model knows nothing of {', '.join(lacking)}, so this run cannot start from it. Train one on "
            "problems that have them all."
        )
    return {name: old[name] for name in new}


def restore_weights(network: MultiModel, model_dir: str) -> str:
    """The weights and random state of the newest sound checkpoint of another run -> its path.

    Raises:
      RunError: there is none, or it does not fit the model.
    """
    path = newest_sound(checkpoints_folder(model_dir))
    if path is None:
        raise RunError(f"{model_dir}: no checkpoint to start from. Train that run first.")
    restore(tf.train.Checkpoint(variables=all_variables(network)), path)
    return path


def all_variables(network: MultiModel) -> list[tf.Variable]:
    """Every weight and every state of random numbers, in the model's own order, to be saved and restored.

    TensorFlow does not find them all by walking the model: Keras tracks its layers' lists and seeds in its own way.
    """
    return [variable.value for variable in network.variables]


def restore(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Restores everything in `checkpoint`; what else the file holds is left alone.

    Raises:
      RunError: the file is damaged, or lacks a part, or has parts of another shape.
    """
    try:
        checkpoint.read(path).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"{path}: does not fit this configuration ({reason}). Use the config.gin beside it, or another folder."
        ) from error


def load_trained(experiment: Experiment, model_dir: str, best: bool = False) -> tuple[MultiModel, dict, dict]:
    """The newest sound checkpoint's model -> model, description, and {"step", "seconds"} of its training.

    best: take the checkpoint of the best evaluation instead.

    Raises:
      RunError: no checkpoint, or one that does not fit the experiment's vocabulary or model.
    """
    description = load_description(model_dir)
    fingerprint = Tokenizer(experiment.vocabulary).fingerprint
    if fingerprint != description["vocabulary"]:
        _check_same(description, {"vocabulary": fingerprint}, model_dir)
    folder = best_folder(model_dir) if best else checkpoints_folder(model_dir)
    path = newest_sound(folder)
    if path is None:
        how = " with loop.train.eval_steps above 0" if best else ""
        raise RunError(f"{folder}: no checkpoint yet. Train first with bin/train.py{how}.")
    network = experiment.build_model(description)
    done, seconds = tf.Variable(0, dtype=tf.int64), tf.Variable(0.0, dtype=tf.float64)
    restore(tf.train.Checkpoint(variables=all_variables(network), done=done, seconds=seconds), path)
    return network, description, {"step": int(done), "seconds": float(seconds)}


def use_folder(experiment: Experiment, model_dir: str) -> Experiment:
    """The experiment with the vocabulary that lies in the run's folder."""
    path = os.path.join(model_dir, "vocabulary.model")
    if not os.path.isfile(path):
        raise CorpusError(f"{path}: not there, so {model_dir} holds no trained model. Train one with bin/train.py.")
    return experiment.with_vocabulary(path)
