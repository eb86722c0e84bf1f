"""Profiles some steps of a run for TensorBoard's profile page (`pip install tensorboard-plugin-profile`)."""

import os

import tensorflow as tf
from absl import logging

from t2t_mm.common.writing import writing

_FIRST = 5  # the steps before are not typical, because they trace and allocate


class Steps:
    """Profiles `count` steps, beginning with the sixth step of the process. Use it as a context around the steps.

    Args:
      model_dir: the folder of the run; the profile is written to `events/plugins/profile` below it.
      done: number of steps before the process.
      count: number of steps to profile; 0 profiles none.
    """

    def __init__(self, model_dir: str, done: int, count: int):
        self._folder, self._running = os.path.join(model_dir, "events"), False
        # Without a profile, step 0, which never comes.
        self._begin, self._end = (done + 1 + _FIRST, done + 1 + _FIRST + count) if count else (0, 0)

    def before(self, step: int) -> None:
        """Starts or stops the profile where step number `step` requires it."""
        if step == self._begin:
            with writing("the profile"):
                tf.profiler.experimental.start(self._folder)
            self._running = True
        elif step == self._end:
            self._stop()

    def _stop(self) -> None:
        if self._running:
            # First, so that a profile that cannot be written is not stopped a second time by `__exit__`.
            self._running = False
            with writing("the profile"):
                tf.profiler.experimental.stop()
            logging.info("Profile of the steps %d to %d written to %s", self._begin, self._end - 1, self._folder)

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
