"""The progress of a run: what is counted, and reported on the screen and in TensorBoard."""

import math
import os
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from t2t_mm.common.errors import RunError
from t2t_mm.common.writing import writing
from t2t_mm.evaluation import tensorboard
from t2t_mm.evaluation.curves import COSINE
from t2t_mm.training.loss_scale import LossScale
from t2t_mm.training.optimizer import FusedAdam


def open_events(model_dir: str, step: int, configuration: str, hyper_parameters: dict[str, Any]) -> Any:
    """Returns the TensorBoard writer of a run, which has written the configuration and the hyper-parameters.

    Args:
      model_dir: the folder of the run.
      step: number of steps that were made.
      configuration: the text of `config.gin`.
      hyper_parameters: name -> number or text.

    Raises:
      RunError: the events cannot be written.
    """
    writer = tf.summary.create_file_writer(os.path.join(model_dir, "events"))
    with writing("the events for TensorBoard"), writer.as_default(step=step):
        tf.summary.text("config.gin", "".join(f"    {line}\n" for line in configuration.splitlines()))  # as code in Markdown
        tensorboard.write_hyper_parameters(hyper_parameters, model_dir)
    return writer


class Progress:
    """Counts the steps and examples of a run, and reports its progress on the screen and in TensorBoard."""

    def __init__(
        self,
        steps: int,
        first: int,
        seconds: float,
        writer: Any,
        optimizer: FusedAdam,
        loss_scale: LossScale | None = None,
    ):
        self._steps, self._writer, self._optimizer, self._loss_scale = steps, writer, optimizer, loss_scale
        self.step, self._first, self._before, self._start = first, first, seconds, time.monotonic()
        self._since, self._steps_since, self._examples = self._start, 0, 0
        self._names: list[str] = []  # of the problems, in the order in which they are shown
        self._latest: dict[str, dict] = {}
        self._skipped: dict[str, int] = {}

    def check(self, step: int, figures: dict, norm: tf.Tensor, not_finite: str) -> bool:
        """Reports a loss or gradient that is not finite. The step has not updated anything in this case.

        Returns:
          Whether everything is finite.

        Raises:
          RunError: a loss is not finite, or a gradient that a lower loss scale cannot make finite, and `not_finite` is
            "stop".
        """
        finite = {name: float(values["finite"]) == 1.0 for name, values in figures.items()}
        if all(finite.values()) and math.isfinite(float(norm)):
            return True
        broken = [name for name in finite if not finite[name]] or list(finite)
        losses = ", ".join(f"{name} (loss {float(figures[name]['loss']):.3g})" for name in broken)
        scale = self._loss_scale
        # A loss that is not finite itself is not due to its scale.
        overflow = scale if scale and scale.halved and all(math.isfinite(float(x["loss"])) for x in figures.values()) else None
        if not_finite == "stop" and not overflow:
            wider = "" if scale is None else 'train with settings.Numerics.precision = "float32", '
            raise RunError(
                f"{losses}: the loss or its gradient is not finite at step {step}. The last checkpoint was written before "
                "this step. Reduce the peak learning rate of the schedule or clip_norm and start the same command again, "
                f'{wider}or set settings.Numerics.not_finite = "skip".'
            )
        for name in broken:
            self._skipped[name] = self._skipped.get(name, 0) + 1
        counts = ", ".join(f"{name} {count}" for name, count in self._skipped.items())
        if overflow:
            logging.info(
                "step %d is skipped: the gradient of %s overflows float16, so the loss scale is halved to %g. Skipped so far: "
                "%s", step, losses, float(overflow.scale), counts,
            )  # fmt: skip
            return False
        logging.warning(
            "step %d is skipped: the loss or its gradient is not finite for %s. Skipped so far: %s", step, losses, counts
        )
        return False

    def seconds(self) -> float:
        """Returns the seconds of training in total, including those before a resume."""
        return self._before + time.monotonic() - self._start

    def finished(self) -> bool:
        return self.step >= self._steps

    def count(self, step: int, micro_batches: Sequence[dict], figures: dict) -> None:
        """Counts a step and its examples, and keeps the figures of its problems for the next line of progress."""
        self.step = step
        self._names += [name for name in figures if name not in self._names]
        self._latest |= figures
        if step == self._first + 1:  # not typical for later steps, because it included tracing
            self._since = time.monotonic()
            return
        self._steps_since += 1
        self._examples += sum(int(part["targets"].shape[0]) for batch in micro_batches for part in batch.values())

    def log(self, norm: tf.Tensor) -> None:
        """Prints one line of progress and, if there is a writer, writes the metrics for TensorBoard.

        They are the newest ones of each problem since the last line, because a step need not take all of them.
        """
        now = time.monotonic()
        figures, self._latest = {name: self._latest[name] for name in self._names if name in self._latest}, {}
        losses = "  ".join(f"{name} {float(values['loss']):.3f}" for name, values in figures.items())
        speed = f"{now - self._start:.0f} s so far, mostly for tracing"
        if self._steps_since:
            per_step = (now - self._since) / self._steps_since
            left = (self._steps - self.step) * per_step / 60
            speed = f"{per_step:.2f} s/step, {self._examples / (now - self._since):.0f} examples/s, {left:.0f} min left"
        if self._loss_scale is not None:
            speed += f", loss scale {float(self._loss_scale.scale):g}"
        bar = ("#" * round(20 * self.step / self._steps)).ljust(20, "-")
        logging.info("step %d/%d  %s  | [%s] %s", self.step, self._steps, losses, bar, speed)
        self._since, self._steps_since, self._examples = now, 0, 0
        if self._writer is None:
            return
        with writing("the events for TensorBoard"):
            self._write(figures, norm)

    def write_cosines(self, cosines: dict[tuple[str, str], float]) -> None:
        """Writes the cosines between the gradients of pairs of problems for TensorBoard and for `curves.cosines`."""
        if self._writer is None:
            return
        with writing("the events for TensorBoard"), self._writer.as_default(step=self.step):
            for (one, other), value in cosines.items():
                tf.summary.scalar(f"{COSINE}{one}/{other}", value)

    def _write(self, figures: dict, norm) -> None:
        with self._writer.as_default(step=self.step):
            for name, values in figures.items():
                for key, value in values.items():
                    if key == "finite":  # reported as skipped steps below
                        continue
                    if value.shape.rank:  # importance and load of the experts
                        tf.summary.histogram(f"{name}/{key}", value)
                        tf.summary.scalar(f"{name}/{key}_largest_share", tf.reduce_max(value) / tf.reduce_sum(value))
                    else:
                        tf.summary.scalar(f"{name}/{key}", value)
            for name, count in self._skipped.items():
                tf.summary.scalar(f"{name}/skipped_steps", count)
            if self._loss_scale is not None:
                tf.summary.scalar("loss_scale", self._loss_scale.scale)
            tf.summary.scalar("gradient_norm", norm)
            tf.summary.scalar("learning_rate", self._optimizer.learning_rate)
        self._writer.flush()
