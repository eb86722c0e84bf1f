"""What training, evaluation and decoding share: the problems, the vocabulary, the model; and the folder of a run."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Callable, Sequence

import tensorflow as tf

from t2t_mm.data.buckets import BatchSettings
from t2t_mm.data.example import CorpusError
from t2t_mm.data.features import AudioFeatures
from t2t_mm.data.subset import Subset
from t2t_mm.data.tokenizer import Tokenizer
from t2t_mm.errors import RunError
from t2t_mm.files import write_json, write_whole
from t2t_mm.model import MultiModel
from t2t_mm.precision import layers_of
from t2t_mm.problems.problem import Problem
from t2t_mm.training.checkpoints import best_folder, checkpoints_folder, newest_sound
from t2t_mm.traces import share_traces

_PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy", "sentencepiece", "sacrebleu", "jiwer")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """problems: in the order they are reported. vocabulary: path of the SentencePiece model.

    more: problems besides. only: names of the problems to take part, in their order; all when empty. Both are for a run
      that differs from another by its problems.
    limits: problem -> how many of its training examples are used, a part that a larger number contains (see `Subset`).
    model: MultiModel or a configured constructor of it. batches, audio: sizes of batches, features of sounds.
    """

    problems: Sequence[Problem]
    vocabulary: str
    model: Callable = MultiModel
    batches: BatchSettings = BatchSettings()
    audio: AudioFeatures = AudioFeatures()
    more: Sequence[Problem] = ()
    only: Sequence[str] = ()
    limits: dict[str, int] | None = None

    def __post_init__(self):
        problems = [*self.problems, *self.more]
        names = [problem.name for problem in problems]
        if not names:
            raise RunError("No problem to work on; the list `problems` is empty.")
        if len(set(names)) < len(names):
            raise RunError(f"A problem is named twice in {', '.join(names)}.")
        object.__setattr__(self, "problems", problems)
        object.__setattr__(self, "more", ())
        if self.only:
            object.__setattr__(self, "problems", [self.problem(name) for name in self.only])
        for name, examples in (self.limits or {}).items():
            problem = self.problem(name)
            limited = dataclasses.replace(problem, source=Subset(problem.source, examples))
            object.__setattr__(self, "problems", [limited if p is problem else p for p in self.problems])
        object.__setattr__(self, "limits", None)

    def problem(self, name: str) -> Problem:
        """The problem called `name`; RunError lists the names there are."""
        for problem in self.problems:
            if problem.name == name:
                return problem
        known = ", ".join(problem.name for problem in self.problems)
        raise RunError(f"Unknown problem {name!r}; this run has {known}.")

    def describe(self) -> dict:
        """What a model for these problems is made of; reads the class names of the corpora."""
        return {
            "vocabulary": Tokenizer(self.vocabulary).fingerprint,
            "commands": sorted({problem.command for problem in self.problems}),
            "inputs": sorted({problem.inputs for problem in self.problems}),
            "class_names": {p.name: p.source.class_names() for p in self.problems if p.targets == "class"},
            "frequency_bins": self.audio.bins,
        }

    def build_model(self, description: dict, precision: str = "float32") -> MultiModel:
        """The model of a description, every weight made.

        precision: "mixed_bfloat16" multiplies matrices in bfloat16; the weights are float32 in either.

        Raises:
          RunError: another precision.
        """
        share_traces()
        with layers_of(precision):
            built = self.model(
                vocabulary_size=Tokenizer(self.vocabulary).size,
                commands=tuple(description["commands"]),
                inputs=tuple(description["inputs"]),
                num_classes={name: len(classes) for name, classes in description["class_names"].items()},
                frequency_bins=description["frequency_bins"],
            )
            built.build()
        return built


def prepare_folder(model_dir: str, experiment: Experiment, description: dict, configuration: str, seed: int) -> None:
    """Makes the folder of a run, or checks that it is of the same run.

    It holds `model.json` (the model's description, seed and package versions), `vocabulary.model` and `config.gin`, so
    that later commands need neither the corpora nor the flags of the training.

    Raises:
      RunError: the folder's model was made with another vocabulary, other problems or other classes.
    """
    path = os.path.join(model_dir, "model.json")
    if os.path.exists(path):
        _check_same(load_description(model_dir), description, model_dir)
    os.makedirs(model_dir, exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES} | {"python": platform.python_version()}
    write_json(path, description | {"seed": seed, "versions": versions}, indent=1)
    write_whole(os.path.join(model_dir, "config.gin"), configuration)
    shutil.copyfile(experiment.vocabulary, os.path.join(model_dir, "vocabulary.model"))


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


def all_variables(network) -> list[tf.Variable]:
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
    return dataclasses.replace(experiment, vocabulary=path)
