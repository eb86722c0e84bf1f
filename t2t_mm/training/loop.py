"""The joint training loop, read downwards: data, model, optimizer, restore; then step, log, save."""

import dataclasses
import math
import os
import time
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import logging

from t2t_mm.data.example import Report
from t2t_mm.data.pipeline import load_examples, make_batches, next_batch
from t2t_mm.data.tokenizer import Tokenizer
from t2t_mm.experiment import Experiment, RunError, all_variables, checkpoint_manager, prepare_folder, restore
from t2t_mm.training.mixing import problems_of_step
from t2t_mm.training.schedule import InverseSquareRoot
from t2t_mm.training.step import make_train_step, split_batch


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """Adam's constants; the paper names none, these are the 2017 release's.

    label_smoothing is left out of every reported figure; balance_weight multiplies the mixtures' two losses.
    """

    beta_1: float = 0.85
    beta_2: float = 0.997
    epsilon: float = 1e-6
    clip_norm: float = 2.0
    label_smoothing: float = 0.1
    balance_weight: float = 0.01


def train(
    experiment: Experiment,
    model_dir: str,
    steps: int,
    schedule: Callable = InverseSquareRoot,
    optimizer: OptimizerSettings = OptimizerSettings(),
    loss_weights: dict[str, float] | None = None,
    mixing: str | dict[str, float] = "joint",
    strategy: tf.distribute.Strategy | None = None,
    seed: int = 0,
    log_steps: int = 20,
    save_steps: int = 500,
    max_bad_examples: int = 100,
    configuration: Callable[[], str] = lambda: "",
):
    """Trains one model on all problems of `experiment` until `steps`, and returns it.

    Goes on from the newest checkpoint of `model_dir`; data order, random state and optimizer are part of it, so that
    the losses are those of a run that was never stopped.

    Args:
      mixing: which problems a step takes, see `problems_of_step`.
      log_steps, save_steps: steps between two lines of progress, between two checkpoints.
      configuration: called once all is built; its text is saved as `config.gin`. An error it raises stops the run.

    Raises:
      RunError: a loss is not finite, the batches cannot be shared out over the replicas, or `model_dir` is another
        run's.
      CorpusError: a corpus is missing or has too many unusable examples.
    """
    keras.utils.set_random_seed(seed)
    strategy = strategy or tf.distribute.get_strategy()
    replicas, batches = strategy.num_replicas_in_sync, experiment.batches
    if batches.images < replicas:
        raise RunError(
            f"batches.images is {batches.images}, less than the {replicas} replicas; each needs an example. Raise it."
        )
    names = [problem.name for problem in experiment.problems]
    problems_of_step(names, mixing, 1, seed)  # a bad mixing stops here

    # Data.
    tokenizer = Tokenizer(experiment.vocabulary)
    streams, reports = {}, {}
    for problem in experiment.problems:
        report = reports[problem.name] = Report(problem.name, max_bad_examples)
        examples = load_examples(problem, "train", report)
        logging.info("%s: %d training examples", problem.name, len(examples))
        streams[problem.name] = make_batches(
            problem, examples, tokenizer, experiment.audio, batches, report,
            training=True, seed=seed, replicas=replicas,
        )  # fmt: skip
    iterators = {name: iter(stream) for name, stream in streams.items()}

    # Model and optimizer.
    with strategy.scope():
        network = experiment.build_model(experiment.describe())
        adam = keras.optimizers.Adam(
            schedule(), beta_1=optimizer.beta_1, beta_2=optimizer.beta_2, epsilon=optimizer.epsilon
        )
        adam.build(network.trainable_variables)
        done = tf.Variable(0, dtype=tf.int64, trainable=False)
        seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
    logging.info(
        "%d problems, %d parameters, %d replica(s); the first step takes longer, it traces the graph",
        len(names), network.count_params(), replicas,
    )  # fmt: skip
    train_step = make_train_step(
        strategy, network, adam, experiment.problems,
        {name: (loss_weights or {}).get(name, 1.0) for name in names},
        optimizer.clip_norm, optimizer.label_smoothing, optimizer.balance_weight,
        {name: stream.element_spec for name, stream in streams.items()},
    )  # fmt: skip

    # Restore.
    prepare_folder(model_dir, experiment, configuration(), seed)
    checkpoint = tf.train.Checkpoint(
        variables=all_variables(network), optimizer=adam, done=done, seconds=seconds, iterators=iterators
    )
    manager = checkpoint_manager(checkpoint, model_dir)
    if manager.latest_checkpoint:
        restore(checkpoint, manager.latest_checkpoint)
        logging.info("Going on from %s", manager.latest_checkpoint)
    writer = tf.summary.create_file_writer(os.path.join(model_dir, "events"))
    progress = Progress(steps, int(done), float(seconds), writer, adam)

    # Step, log, save.
    try:
        while not progress.finished():
            step = int(done) + 1
            batch = {
                name: next_batch(iterators[name], reports[name])
                for name in problems_of_step(names, mixing, step, seed)
            }
            figures, norm = train_step(split_batch(strategy, batch))
            done.assign(step)
            progress.count(step, batch)
            if step % log_steps == 0 or step == 1 or progress.finished():
                progress.log(figures, norm)
            if step % save_steps == 0 or progress.finished():
                seconds.assign(progress.seconds())
                manager.save()
    except KeyboardInterrupt:
        seconds.assign(progress.seconds())
        manager.save()
        logging.info("Stopped and saved at step %d; the same command goes on from here.", int(done))
    return network


class Progress:
    """Counts what a run has done, and writes it to the screen and to TensorBoard."""

    def __init__(self, steps: int, first: int, seconds: float, writer, optimizer):
        self._steps, self._writer, self._optimizer = steps, writer, optimizer
        self.step, self._before, self._start = first, seconds, time.monotonic()
        self._since, self._steps_since, self._examples = self._start, 0, 0

    def seconds(self) -> float:
        """Of training in all, the parts before a resume included."""
        return self._before + time.monotonic() - self._start

    def finished(self) -> bool:
        return self.step >= self._steps

    def count(self, step: int, batch: dict) -> None:
        self.step = step
        self._steps_since += 1
        self._examples += sum(int(part["targets"].shape[0]) for part in batch.values())

    def log(self, figures: dict, norm) -> None:
        """One line on the screen and the figures for TensorBoard; stops the run on a loss that is not finite."""
        for name, values in figures.items():
            if not math.isfinite(float(values["loss"])):
                raise RunError(
                    f"{name}: loss is {float(values['loss'])} at step {self.step}. The last checkpoint is from before; "
                    "lower the schedule's peak learning rate or clip_norm and start the same command again."
                )
        now = time.monotonic()
        per_step = (now - self._since) / max(self._steps_since, 1)
        left = (self._steps - self.step) * per_step / 60
        logging.info(
            "step %d/%d  %s  | %.2f s/step, %.0f examples/s, %.0f min left", self.step, self._steps,
            "  ".join(f"{name} {float(values['loss']):.3f}" for name, values in figures.items()),
            per_step, self._examples / max(now - self._since, 1e-9), left,
        )  # fmt: skip
        self._since, self._steps_since, self._examples = now, 0, 0
        with self._writer.as_default(step=self.step):
            for name, values in figures.items():
                for key, value in values.items():
                    if value.shape.rank:  # importance and load of the experts
                        tf.summary.histogram(f"{name}/{key}", value)
                        tf.summary.scalar(f"{name}/{key}_largest_share", tf.reduce_max(value) / tf.reduce_sum(value))
                    else:
                        tf.summary.scalar(f"{name}/{key}", value)
            tf.summary.scalar("gradient_norm", norm)
            tf.summary.scalar("learning_rate", self._optimizer.learning_rate)
        self._writer.flush()
