"""The files between the steps of training with JAX: packed runs, the arrays of their corpora, and trained weights."""

import dataclasses
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from t2t_mm.common.errors import RunError
from t2t_mm.common.files import write_json
from t2t_mm.corpora.source import NoExamples
from t2t_mm.layers.randomness import looks_like_random_state
from t2t_mm.problem import Problem

SPLITS = ("train", "dev", "test")
ENDED = "ended.json"  # in the folder of a run whose training has ended, although its only checkpoint is the best one
_RUNS, _ARRAYS, _WEIGHTS, _RESULT = "runs.json", "arrays", "weights.npz", "result.json"


@dataclasses.dataclass(frozen=True)
class Slot:
    """A problem of a run, and how a training step takes a batch of it.

    Attributes:
      problem: its name.
      modality, padded: the name of its input modality, and whether its inputs are padded.
      targets: "text", "tree" or "class".
      command: its command token.
      weight: the weight of its loss.
      arrays: split -> name of the file of its examples, see `PackedExamples`.
      budget: maximum number of positions of a batch; None if only the number of examples is limited.
      most: maximum number of examples of a batch; None if only the positions are limited.
    """

    problem: str
    modality: str
    padded: bool
    targets: str
    command: str
    weight: float
    arrays: dict[str, str]
    budget: int | None
    most: int | None

    def declaration(self) -> Problem:
        """Returns the problem without its corpus, whose examples are in `arrays`."""
        return Problem(self.problem, NoExamples(), inputs=self.modality, targets=self.targets, command=self.command)

    @property
    def kind(self) -> tuple:
        """A key that is equal for slots whose batches have the same shapes."""
        return self.modality, self.problem if self.targets == "class" else "sequence", self.budget, self.most, self.weight


@dataclasses.dataclass(frozen=True)
class PackedRun:
    """A run whose settings are plain numbers.

    Attributes:
      name: the name of the run, and of its folder below the output.
      seed: its seed.
      model: the configuration of the model, as `MultiModel.get_config` returns it.
      slots: its problems, all of which take part in each step.
      steps: number of training steps.
      rates: learning rate of each step.
      factors: factor of the learning rate for each trainable weight.
      optimizer, objective, evaluation: the fields of the groups of settings in `t2t_mm.training.settings`.
      cosine_steps: number of steps between two measurements of the cosines between the problems' gradients; 0 for none.
      init_from: name of the run whose weights it starts from.
      configuration: the hash of its whole configuration, by which its results are recognised where they are taken over, or "".
    """

    name: str
    seed: int
    model: dict
    slots: tuple[Slot, ...]
    steps: int
    rates: tuple[float, ...]
    factors: tuple[float, ...]
    optimizer: dict
    objective: dict
    evaluation: dict
    cosine_steps: int = 0
    init_from: str | None = None
    configuration: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256 hash of everything but the name. The names of the arrays stand for their contents."""
        return digest_of(json.dumps(dataclasses.asdict(self) | {"name": ""}, sort_keys=True))

    def kind(self, slot: Slot) -> tuple:
        """Returns a key that is equal for slots that can share compiled functions."""
        # Only texts have a contrast, so that trees need a function of their own if there is one (see `losses.has_contrast`).
        return (*slot.kind, slot.targets) if self.objective["contrast_weight"] else slot.kind

    @property
    def group(self) -> str:
        """A key that is equal for runs that can be trained in lanes of the same computation."""
        kinds = [(*self.kind(slot), *slot.arrays) for slot in self.slots]  # with the splits that the corpus has
        shared = {**dataclasses.asdict(self), "slots": kinds, "name": "", "seed": 0, "configuration": ""}
        shared["init_from"] = bool(self.init_from)
        # The names of commands and label sets do not change the computation, only their number does.
        shared["model"] = {**self.model, "name": "", "commands": len(self.model["commands"])}
        return json.dumps(shared, sort_keys=True)


def digest_of(text: str) -> str:
    """Returns the SHA-256 hash of a text, such as a configuration."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_configuration(result: dict, path: str, digest: str) -> None:
    """Checks that a trained run has this configuration.

    Args:
      result: its results, see `load_result`.
      path: their folder, for the message.
      digest: the hash of the configuration, as for `PackedRun.configuration`.

    Raises:
      RunError: it has another one.
    """
    if result.get("configuration", digest) != digest:
        raise RunError(
            f"{path}: was trained with another configuration. Use the one with which it was packed, or pack and train it again."
        )


def save_runs(folder: str, runs: Iterable[PackedRun]) -> None:
    os.makedirs(folder, exist_ok=True)
    write_json(os.path.join(folder, _RUNS), [dataclasses.asdict(run) for run in runs])


def load_runs(folder: str) -> list[PackedRun]:
    """Returns the packed runs of a folder.

    Raises:
      RunError: there are none, or another version of this package wrote them.
    """
    path = os.path.join(folder, _RUNS)
    if not os.path.isfile(path):
        raise RunError(f"{path}: no such file. Pack runs with `bin/train_jax.py pack` first.")
    try:
        return [PackedRun(**{**run, "slots": tuple(Slot(**slot) for slot in run["slots"])}) for run in _load_json(path)]
    except (TypeError, KeyError) as error:
        raise RunError(f"{path}: was written by another version of this package ({error}). Pack the runs again.") from None


def _load_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise RunError(f"{path}: is incomplete or damaged ({error}). Copy it again from where it was written.") from None


@dataclasses.dataclass(frozen=True)
class PackedExamples:
    """The examples of a problem in one split.

    Attributes:
      inputs: token ids, frames or pixels. Sequences of all examples follow each other, [positions, …]; images are
        [N, H, W, 3] uint8, and become standardised in `standardised`.
      lengths: number of positions of each input [N]; for images, their height.
      targets: token ids of all examples one after the other, or one class for each example.
      target_lengths: number of tokens of each target [N]; 1 for classes.
    """

    inputs: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    target_lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def save(self, folder: str, name: str) -> None:
        os.makedirs(os.path.join(folder, _ARRAYS), exist_ok=True)
        _save_arrays(os.path.join(folder, _ARRAYS, f"{name}.npz"), dataclasses.asdict(self), np.savez_compressed)

    @staticmethod
    def exist(folder: str, name: str) -> bool:
        return os.path.isfile(os.path.join(folder, _ARRAYS, f"{name}.npz"))

    @classmethod
    def load(cls, folder: str, name: str) -> "PackedExamples":
        """Reads the examples that `save` wrote.

        Raises:
          RunError: the folder is incomplete, or the file is damaged.
        """
        if not cls.exist(folder, name):
            raise RunError(f"{folder}: {_ARRAYS}/{name}.npz is missing. Copy the whole folder, or pack the runs again.")
        return cls(**_load_arrays(os.path.join(folder, _ARRAYS, f"{name}.npz")))

    def padded_inputs(self, rows: np.ndarray, bound: int) -> np.ndarray:
        """Returns the inputs of some examples, [rows, bound, …], or images [rows, H, W, 3]."""
        if self.inputs.ndim == 4:
            return self.inputs[rows]
        return _padded(self.inputs, self.lengths, rows, bound)

    def padded_targets(self, rows: np.ndarray, bound: int) -> np.ndarray:
        """Returns the targets of some examples, [rows, bound] ids."""
        return _padded(self.targets, self.target_lengths, rows, bound)


def _save_arrays(path: str, arrays: dict[str, np.ndarray], save: Callable = np.savez) -> None:
    """Writes arrays with a function of NumPy, atomically."""
    with open(path + ".part", "wb") as file:
        save(file, **arrays)
    os.replace(path + ".part", path)


def _load_arrays(path: str) -> dict[str, np.ndarray]:
    """Returns the arrays that `_save_arrays` wrote.

    Raises:
      RunError: the file is damaged.
    """
    try:
        with np.load(path) as found:
            return dict(found)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: is incomplete or damaged ({error}). Copy it again from where it was written.") from None


def _padded(flat: np.ndarray, lengths: np.ndarray, rows: np.ndarray, bound: int) -> np.ndarray:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    found = np.zeros((len(rows), bound, *flat.shape[1:]), flat.dtype)
    for place, row in enumerate(rows):
        found[place, : lengths[row]] = flat[starts[row] : starts[row] + lengths[row]]
    return found


def save_trained(folder: str, name: str, weights: Sequence[np.ndarray], result: dict) -> None:
    """Writes the weights of a trained run, in the order of the model's variables, and its results.

    Weights whose values all fit into bfloat16 are stored in it.
    """
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    stored: dict[str, Any] = {}
    for place, value in enumerate(weights):
        short = rounded(value)
        if value.dtype == np.float32 and np.array_equal(short, value):
            # NumPy's files know no bfloat16: its bits are the upper half of those of float32.
            stored[f"short_{place}"] = (short.view(np.uint32) >> 16).astype(np.uint16)
        else:
            stored[f"whole_{place}"] = value
    _save_arrays(os.path.join(path, _WEIGHTS), stored)
    write_json(os.path.join(path, _RESULT), result)


def rounded(value: np.ndarray) -> np.ndarray:
    """Returns float32 values rounded to bfloat16, still as float32."""
    return np.asarray(value, ml_dtypes.bfloat16).astype(np.float32)


def load_weights(folder: str, name: str) -> list[np.ndarray]:
    """Returns the weights that `save_trained` wrote.

    Raises:
      RunError: the run has not been trained, or the file is damaged.
    """
    path = os.path.join(folder, name, _WEIGHTS)
    if not os.path.isfile(path):
        raise RunError(f"{path}: no such file, so {name} has not been trained.")
    weights: dict[int, np.ndarray] = {}
    for key, value in _load_arrays(path).items():
        kind, place = key.split("_")
        weights[int(place)] = (value.astype(np.uint32) << 16).view(np.float32) if kind == "short" else value
    return [weights[place] for place in range(len(weights))]


def without_random_states(values: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Returns the weights among the values of all variables of a model.

    How many states of random numbers there are depends on the dropout and on `MultiModel.mean_share`, which do not matter to
    another run or after training.
    """
    return [value for value in values if not looks_like_random_state(value.dtype.name, value.shape)]


def load_result(folder: str, name: str) -> dict | None:
    """Returns the results that `save_trained` wrote, or None if the run has not been trained.

    Raises:
      RunError: the file is damaged.
    """
    path = os.path.join(folder, name, _RESULT)
    return _load_json(path) if os.path.isfile(path) else None


def write_ended(model_dir: str, result: dict) -> None:
    """Marks the folder of a run as one whose training has ended, given its results."""
    ended = {"step": result["ended"], "best": result["step"], "device": result["device"]}
    write_json(os.path.join(model_dir, ENDED), ended)
