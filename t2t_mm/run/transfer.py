"""Starts a run from the weights of another one, whose problems, vocabulary or number of experts may differ."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from t2t_mm.common.description import load_description
from t2t_mm.common.errors import RunError
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.layers.randomness import is_random_state
from t2t_mm.model import path_below
from t2t_mm.run.checkpoints import checkpoints_folder, newest_valid, weights_in_order
from t2t_mm.run.folder import use_folder
from t2t_mm.run.shapes import without_values

if TYPE_CHECKING:  # not at run time, because `experiment` must not depend on the folders of runs
    from t2t_mm.experiment import Experiment
    from t2t_mm.model import MultiModel

_FEW = 6  # up to this many names are listed; otherwise only their number is shown


def joined_description(experiment: Experiment, model_dir: str) -> dict:
    """Returns the description of a model that starts from the one in `model_dir` and learns the problems of `experiment`.

    It has the commands, inputs and label sets of both, so that nothing the other run has learned is lost, and the
    vocabulary of `experiment`. A label set with the same name in both has the classes of `experiment`.

    Raises:
      RunError: `model_dir` does not contain a run.
    """
    old, new = load_description(model_dir), experiment.describe()
    return {
        "vocabulary": new["vocabulary"],
        "commands": sorted({*old["commands"], *new["commands"]}),
        "inputs": sorted({*old["inputs"], *new["inputs"]}),
        "class_names": {**old["class_names"], **new["class_names"]},
        # The value means something only for a run that has audio.
        "frequency_bins": (new if "audio" in new["inputs"] else old)["frequency_bins"],
    }


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Which weights of another run were kept, are new or were dropped.

    Attributes:
      path: the checkpoint of the weights.
      kept, new, dropped: names of parts of the model, and of rows in them (commands, pieces, classes, experts).
    """

    path: str
    kept: list[str]
    new: list[str]
    dropped: list[str]

    def lines(self) -> list[str]:
        """Returns the lines of the report that is printed before the first step."""
        found = [f"Starting from the weights of {self.path}"]
        for what in ("kept", "new", "dropped"):
            found.append(f"  {what + ':':8} {'; '.join(getattr(self, what)) or 'nothing'}")
        return found


def transfer(network: MultiModel, description: dict, experiment: Experiment, model_dir: str) -> Transfer:
    """Assigns the weights of the newest valid checkpoint of another run to `network`, as far as they match.

    The rows of the language embedding and of the language output net are matched by piece, the rows of commands and classes
    by name, and experts by number. Rows that the other run does not have keep their initial values. All other weights are
    matched by path.

    Args:
      network: the model that gets the weights.
      description: the description of `network`, see `joined_description`.
      experiment: the experiment of `network`.
      model_dir: the folder of the other run. Its layers are assumed to have the settings of the layers of `network`.

    Raises:
      RunError: there is no checkpoint, or its weights have other shapes. Nothing has been changed in this case.
    """
    path = newest_valid(checkpoints_folder(model_dir))
    if path is None:
        raise RunError(f"{model_dir}: no checkpoint to start from. Train that run first.")
    before, old = use_folder(experiment, model_dir), load_description(model_dir)
    # Checkpoints store weights by place. The paths of these places follow from building the other model, whose values are not
    # needed.
    theirs = [v for v in without_values(lambda: before.build_model(old)).variables if not is_random_state(v)]
    reader = tf.train.load_checkpoint(path)
    shapes, saved = reader.get_variable_to_shape_map(), weights_in_order(reader)
    places = {path_below(variable): key for variable, key in zip(theirs, saved)}
    # If the settings of the layers differ, places would stand for other weights.
    if len(theirs) != len(saved):
        raise RunError(
            f"{model_dir}: its model has other layers than this configuration (another number of blocks, or a part that "
            f"is left out), so this run cannot start from it. Use the model settings in {model_dir}/config.gin."
        )
    old_names = _Names(old, _pieces(before.vocabulary))
    new_names = _Names(description, _pieces(experiment.vocabulary))
    changes, untouched = _Changes(), []
    assigned: list[tuple[Any, str, tuple[int, list[tuple[int, int]]] | None]] = []
    for variable in network.variables:
        name, shape = path_below(variable), tuple(variable.shape)
        if is_random_state(variable):  # the new run draws its own random numbers
            continue
        if name not in places:
            untouched.append(name)
            continue
        key = places[name]
        found = new_names.of(name, shape)
        if found is None:
            _check(shape == tuple(shapes[key]), name, shapes[key], shape, model_dir)
            assigned.append((variable, key, None))
            continue
        axis, what, names = found
        before_of_name = old_names.of(name, tuple(shapes[key]))
        assert before_of_name is not None  # whether a weight has named rows does not depend on the model
        names_before = before_of_name[2]
        rest, rest_before = (tuple(np.delete(sizes, axis)) for sizes in (shape, shapes[key]))
        _check(rest == rest_before and len(names_before) == shapes[key][axis], name, shapes[key], shape, model_dir)
        places_before = {row: place for place, row in enumerate(names_before)}
        pairs = [(place, places_before[row]) for place, row in enumerate(names) if row in places_before]
        changes.note(what, names_before, names)
        assigned.append((variable, key, (axis, pairs)))
    # Only now, after all checks, so that an error leaves the model as it was.
    for variable, key, rows in assigned:
        value = reader.get_tensor(key).astype(variable.dtype)  # a packed model contains bfloat16
        if rows is not None:
            axis, pairs = rows
            whole = np.moveaxis(np.array(variable.numpy()), axis, 0)
            whole[[new for new, _ in pairs]] = np.moveaxis(value, axis, 0)[[other for _, other in pairs]]
            value = np.moveaxis(whole, 0, axis)
        variable.assign(value)
    return _report(path, network, {path_below(variable): variable for variable, *_ in assigned}, untouched, changes)


def _check(fits: bool, name: str, before, now, model_dir: str) -> None:
    if not fits:
        raise RunError(
            f"{model_dir}: {name} has the shape {tuple(map(int, before))} there and {tuple(map(int, now))} here, so this "
            "run cannot start from it. Problems, vocabulary and the number of experts may differ; use the other model "
            f"settings in {model_dir}/config.gin."
        )


def _pieces(vocabulary: str) -> list[str]:
    tokenizer = Tokenizer(vocabulary)
    return [tokenizer.processor.IdToPiece(index) for index in range(tokenizer.size)]


class _Names:
    """The meaning of the rows of a model's weights."""

    def __init__(self, description: dict, pieces: Sequence[str]):
        self._known = {
            "language_in/embedding": (0, "pieces of the vocabulary", pieces),
            "language_out/kernel": (1, "pieces of the vocabulary", pieces),
            "command_in/embedding": (0, "commands", description["commands"]),
        }
        for labels, classes in description["class_names"].items():
            self._known[f"categorical_out/{labels}/kernel"] = (1, f"classes of {labels}", classes)
            self._known[f"categorical_out/{labels}/bias"] = (0, f"classes of {labels}", classes)

    def of(self, path: str, shape: Sequence[int]) -> tuple[int, str, Sequence[str]] | None:
        """Returns (axis, kind of rows, names of rows) of a weight that has named rows, otherwise None."""
        # Experts have no names. The first of a larger pool are those of the smaller one.
        if found := re.fullmatch(r"(\w+)/middle/mixture/(gate|noise|expert_in|expert_out)", path):
            axis = 1 if found[2] in ("gate", "noise") else 0
            return axis, f"experts of the {found[1]}", [f"number {index}" for index in range(1, shape[axis] + 1)]
        return self._known.get(path)


class _Changes:
    """Which named rows were kept, added and dropped."""

    def __init__(self):
        self.kept: dict[str, tuple[int, int]] = {}  # kind of rows -> number kept, number before
        self.new: dict[str, list[str]] = {}
        self.dropped: dict[str, list[str]] = {}

    def note(self, what: str, before: Sequence[str], now: Sequence[str]) -> None:
        old, names = set(before), set(now)
        self.kept[what] = (len(old & names), len(old))
        self.new[what] = [name for name in now if name not in old]
        self.dropped[what] = [name for name in before if name not in names]


def _report(path: str, network: MultiModel, assigned: Mapping, untouched: Sequence[str], changes: _Changes) -> Transfer:
    def below(part, paths):
        return [name for name in paths if name.startswith(f"{part}/")]

    def spelled(what: str, names: Sequence[str]) -> str:
        if len(names) > _FEW or what.startswith("pieces"):
            return f"{len(names):,} {what}"
        return f"{what} {', '.join(names)}"

    kept = [part for part in network.parts() if below(part, assigned)]
    new = [part for part in network.parts() if not below(part, assigned)]
    if "categorical_out" in kept and network.categorical_out:  # the exit flow is kept, but label sets may be new
        heads = [labels for labels in network.categorical_out.num_classes if f"categorical_out/{labels}/kernel" in untouched]
        new += [f"label set {labels}" for labels in heads]
    kept += [f"{count:,} of {total:,} {what}" for what, (count, total) in changes.kept.items() if count < total]
    new += [spelled(what, names) for what, names in changes.new.items() if names]
    dropped = [spelled(what, names) for what, names in changes.dropped.items() if names]
    return Transfer(path, kept, new, dropped)
