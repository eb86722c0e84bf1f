"""The description of a trained model, `model.json` in the folder of its run. Nothing here imports TensorFlow."""

import json
import os

from t2t_mm.common.errors import RunError

KEYS = ("problems", "vocabulary", "commands", "inputs", "class_names", "frequency_bins")
_REPAIR = "Restore it from a copy, or copy the one of another run that was trained with the same configuration and corpora."


def load_description(model_dir: str) -> dict:
    """Returns the description in the folder of a run.

    Raises:
      RunError: the folder does not contain a run, or its description is damaged.
    """
    path = os.path.join(model_dir, "model.json")
    if os.path.isfile(model_dir):
        raise RunError(f"{model_dir}: is a file. Give the folder of the run{_parent(model_dir)}.")
    if not os.path.isfile(path):
        raise RunError(f"{path}: no such file, so {model_dir} holds no trained model. Train one with bin/train.py.")
    try:
        with open(path, encoding="utf-8") as file:
            description = json.load(file)
    except ValueError as error:  # neither JSON nor UTF-8
        raise RunError(f"{path}: is damaged: {error}. {_REPAIR}") from error
    for key in KEYS:
        if not isinstance(description, dict) or key not in description:
            raise RunError(f"{path}: is damaged: it has no {key!r}. {_REPAIR}")
    return description


def _parent(path: str) -> str:
    parent = os.path.dirname(path)
    return f", {parent}" if os.path.isfile(os.path.join(parent, "model.json")) else ""
