"""Makes the folder of a run from weights that were trained with JAX, as training with TensorFlow leaves it."""

import os

import numpy as np
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.evaluation.curves import COSINE
from t2t_mm.experiment import Experiment
from t2t_mm.jax_training.packed import load_result, load_weights, without_random_states, write_ended
from t2t_mm.run.checkpoints import Checkpoints, checkpoints_folder, newest_first
from t2t_mm.run.folder import all_variables, prepare_folder, weights_of

METRIC = "log_perplexity"  # the one that selects the best weights, see `train`


def unpack(trained: str, name: str, model_dir: str, experiment: Experiment, description: dict, configuration: str) -> dict:
    """Writes the folder of a run with a checkpoint of its best weights and the events of its learning curves.

    The checkpoint counts both as the newest and as the best.

    Args:
      trained: the folder that `train` wrote.
      name: the name of the run in it.
      model_dir: the folder to create; it must not have checkpoints.
      experiment: the experiment of the run.
      description: the description of its model.
      configuration: the text of its config.gin.

    Returns:
      The results of the run, see `train`.

    Raises:
      RunError: the run has not been trained, its weights do not fit the model, or the folder has checkpoints.
    """
    result, weights = load_result(trained, name), without_random_states(load_weights(trained, name))
    if result is None:
        raise RunError(f"{trained}: holds no results of {name}.")
    if newest_first(checkpoints_folder(model_dir)):
        raise RunError(f"{model_dir}: already has checkpoints. Move it away, or use another folder.")
    step = result["step"]
    network = experiment.build_model(description)
    variables = weights_of(network)
    if [tuple(value.shape) for value in weights] != [tuple(variable.shape) for variable in variables]:
        raise RunError(f"{trained}: the weights of {name} do not fit this configuration; pack the run again.")
    for variable, value in zip(variables, weights):
        variable.assign(tf.cast(value, variable.dtype))
    prepare_folder(model_dir, experiment, description, configuration, result["seed"])
    done = tf.Variable(step, dtype=tf.int64)
    seconds = tf.Variable(result["training_seconds"], dtype=tf.float64)
    checkpoint = tf.train.Checkpoint(variables=all_variables(network), done=done, seconds=seconds)
    checkpoints = Checkpoints(checkpoint, model_dir, metric=METRIC)
    checkpoints.save(step)
    values = [value for points in result["curves"]["dev"].values() for at, value in points if at == step]
    if values:  # none without evaluations
        checkpoints.keep_best(step, float(np.mean(values)), higher_is_better=False)
    _write_events(model_dir, result)
    # Last, because it says that everything else is there.
    write_ended(model_dir, result)
    return result


def _write_events(model_dir: str, result: dict) -> None:
    """Writes the learning curves with the tags of `training.progress` and `evaluation.periodic`."""
    for folder, split, figure in (("events", "train", "loss"), ("events/dev_in_training", "dev", "log_perplexity")):
        with tf.summary.create_file_writer(os.path.join(model_dir, folder)).as_default():
            for problem, points in result["curves"][split].items():
                for step, value in points:
                    tf.summary.scalar(f"{problem}/{figure}", value, step)
            if split == "train":
                for pair, cosine in result["cosines"].items():
                    tf.summary.scalar(f"{COSINE}{pair}", cosine, result["step"])
