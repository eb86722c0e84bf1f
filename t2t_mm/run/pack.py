"""Packs a trained model into a small folder for sharing. All commands accept it as a run, except that it cannot be resumed."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.common.files import size_on_disk, whole_folder, write_json
from t2t_mm.run.checkpoints import checkpoints_folder
from t2t_mm.run.folder import PACKED, load_trained, weights_of

if TYPE_CHECKING:
    from t2t_mm.experiment import Experiment

_COPIED = ("config.gin", "vocabulary.model")


def pack(experiment: Experiment, model_dir: str, output: str, dtype: str = "bfloat16") -> int:
    """Writes the model that `experiment.weights` selects, without the state of training.

    Matrices and kernels are rounded to `dtype`. Vectors (norms, biases, moving statistics) stay unchanged, because they are
    only a hundredth of the weights and sensitive to rounding. The folder is written under another name and then renamed.

    Args:
      model_dir: the folder of a run.
      output: the folder to create; it must not exist or must be empty.
      dtype: "bfloat16" halves the size and keeps three significant digits; "float32" keeps all digits.

    Returns:
      The size of the folder in bytes.

    Raises:
      RunError: `output` is not empty, or there is no matching checkpoint.
    """
    if os.path.exists(output) and (not os.path.isdir(output) or os.listdir(output)):
        raise RunError(f"{output}: already exists and is not empty. Move it away, or use another --output.")
    network, description, trained = load_trained(experiment, model_dir)
    kept = tf.as_dtype(dtype)
    variables = [
        tf.Variable(tf.cast(weight, kept) if weight.dtype.is_floating and weight.shape.rank > 1 else weight)
        for weight in weights_of(network)
    ]
    done, seconds = tf.Variable(trained["step"], dtype=tf.int64), tf.Variable(trained["seconds"], dtype=tf.float64)
    with whole_folder(output) as folder:
        path = os.path.join(checkpoints_folder(folder), f"ckpt-{trained['step']}")
        # The names of a training checkpoint, so that all commands can read it.
        tf.train.Checkpoint(variables=variables, done=done, seconds=seconds).write(path)
        for name in _COPIED:
            shutil.copyfile(os.path.join(model_dir, name), os.path.join(folder, name))
        write_json(os.path.join(folder, "model.json"), description | {PACKED: dtype}, indent=1)
    return size_on_disk(output)
