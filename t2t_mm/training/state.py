"""The state of a run: what its checkpoints contain, and how a run is resumed from one."""

import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from t2t_mm.common.errors import RunError
from t2t_mm.run.checkpoints import key_of, saved_text
from t2t_mm.run.folder import MOVING_AVERAGES, all_variables, check_variables, restore
from t2t_mm.training.trainee import Trainee


class RunState:
    """What a checkpoint contains, so that the losses after a resume equal those of an uninterrupted run.

    Args:
      trainee: the model and the optimizer, with their random state.
      iterators: problem -> iterator over its batches, whose state is the position in the data.
      layout: name -> value of everything without which the positions in the data mean something else.

    Attributes:
      done: number of steps that were made.
      seconds: seconds of training, including those before a resume.
    """

    def __init__(self, trainee: Trainee, iterators: Mapping[str, Any], layout: Mapping[str, Any]):
        network, adam = trainee.network, trainee.adam
        self._network = network
        self.done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        places = {id(variable.value): str(place) for place, variable in enumerate(network.variables)}
        self._averages = {places[id(v.value)]: average.value for v, average in zip(trainee.trained, adam.averages())}
        self._parts: dict[str, Any] = {
            "variables": all_variables(network), "optimizer": adam, "done": self.done, "seconds": self.seconds,
        }  # fmt: skip
        if self._averages:
            self._parts[MOVING_AVERAGES] = self._averages
        if trainee.loss_scale:
            self._parts["loss_scale"] = trainee.loss_scale
        self._iterators = dict(iterators)
        # Strings must be outside the scope of the strategy, because workers cannot send them to each other.
        self._frozen = tf.Variable(json.dumps(trainee.frozen), trainable=False)
        self._layout = tf.Variable(json.dumps(layout, default=str), trainable=False)

    def checkpoint(self) -> tf.train.Checkpoint:
        """Returns the objects to save."""
        return tf.train.Checkpoint(**self._parts, iterators=self._iterators, layout=self._layout, frozen=self._frozen)

    def restore(self, path: str) -> None:
        """Restores the state from a checkpoint, and the state of the data if its layout is unchanged.

        A batch size is usually changed because memory ran out, which must not end the run. The data then begins a new pass,
        and everything else is restored. The same holds for another number of replicas or examples, for which the buffers of
        the data have other sizes: TensorFlow would restore them nevertheless, and lose examples without a word. If a
        checkpoint has no loss scale, because the run had another precision, the scale keeps its initial value.

        Raises:
          RunError: the checkpoint does not fit; the frozen parts have changed, so that moments would be missing; or moving
            averages have been switched on or off.
        """
        check_variables(self._network, path)
        self._check_optimizer(path)
        state = dict(self._parts)
        if not tf.train.load_checkpoint(path).has_tensor(key_of("loss_scale/scale")):
            state.pop("loss_scale", None)
        saved, now = saved_text(path, "layout"), self._layout.numpy().decode()
        before, after = json.loads(saved or "{}"), json.loads(now)
        # What an older checkpoint does not mention counts as unchanged.
        differing = [name for name in after if name in before and before[name] != after[name]]
        if not differing:
            restore(tf.train.Checkpoint(**state, iterators=self._iterators), path)
            logging.info("Continuing from %s", path)
            return
        restore(tf.train.Checkpoint(**state), path)
        changed = [f"{name} was {before[name]} and is {after[name]}" for name in differing]
        logging.info("Continuing from %s; %s, so every problem's data begins a new pass.", path, ", ".join(changed))

    def _check_optimizer(self, path: str) -> None:
        """Checks that a checkpoint contains the optimizer state that the resumed run needs."""
        had = any(name.startswith(f"{MOVING_AVERAGES}/") for name, _ in tf.train.list_variables(path))
        if had != bool(self._averages):
            raise RunError(
                f"{path}: was written {'with' if had else 'without'} moving averages of the weights. Restore the value of "
                "Optimizer.ema, or start a new run from it with --init_from."
            )
        saved, now = json.loads(saved_text(path, "frozen") or "[]"), json.loads(self._frozen.numpy().decode())
        if saved != now:
            count = len(set(saved) ^ set(now))
            raise RunError(
                f"{path}: {count} weights were frozen and are not now, or the other way round. The frozen parts cannot change "
                "during a run; start a new run from it with --init_from, or restore Optimizer.rates."
            )
