"""The joint training loop. It prepares data, model and optimizer, restores, and then steps, logs, evaluates and saves."""

import contextlib
import dataclasses
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Report
from t2t_mm.evaluation import periodic, tensorboard
from t2t_mm.evaluation.curves import COSINE
from t2t_mm.experiment import Experiment
from t2t_mm.input.pipeline import load_examples, make_batches, next_batch
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.model import MultiModel, path_below
from t2t_mm.run.checkpoints import (  # fmt: skip
    Checkpoints,
    checkpoints_folder,
    key_of,
    newest_valid,
    only_trainer,
    saved_text,
    writing,
)
from t2t_mm.run.folder import (  # fmt: skip
    MOVING_AVERAGES,
    all_variables,
    check_folder,
    prepare_folder,
    restore,
    seed_of,
)
from t2t_mm.run.transfer import joined_description, transfer
from t2t_mm.training import dry_run, parts, profile
from t2t_mm.training import strategy as strategies
from t2t_mm.training.loss_scale import LossScale
from t2t_mm.training.mixing import BySize, problems_of_step
from t2t_mm.training.mixing import describe as describe_mixing
from t2t_mm.training.optimizer import FusedAdam
from t2t_mm.training.schedule import InverseSquareRoot
from t2t_mm.training.settings import Checkpointing, Evaluation, Numerics, Objective, Optimizer
from t2t_mm.training.step import TrainStep, split_batch


class Preempted(Exception):
    """SIGTERM arrived. The state of the run is saved, and the same command resumes it."""


def train(
    experiment: Experiment,
    model_dir: str,
    steps: int,
    schedule: Callable = InverseSquareRoot,
    optimizer: Optimizer = Optimizer(),
    objective: Objective = Objective(),
    evaluation: Evaluation = Evaluation(),
    checkpointing: Checkpointing = Checkpointing(),
    numerics: Numerics = Numerics(),
    mixing: str | dict[str, float] | BySize = "joint",
    strategy: Callable = strategies.one,
    seed: int = 0,
    log_steps: int = 20,
    cosine_steps: int = 0,
    profile_steps: int = 0,
    only_try: bool = False,
    max_bad_examples: int = 100,
    init_from: str | None = None,
    configuration: Callable[[], str] = lambda: "",
    hyper_parameters: Callable[[], dict] = dict,
) -> MultiModel:
    """Trains one model on all problems of `experiment` until `steps`, and returns it.

    Training resumes from the newest valid checkpoint in `model_dir`. A checkpoint contains the data order, the random state
    and the state of the optimizer, so that the losses equal those of an uninterrupted run. On Ctrl-C or SIGTERM, the run
    finishes the current step, saves and exits. If there are several workers, they share `model_dir`; all of them read it,
    and only the first one (the "chief") writes to it.

    Args:
      experiment: the problems, the vocabulary, the model and the batches.
      model_dir: the folder of the run.
      steps: total number of steps, including those before a resume.
      schedule: constructor of the learning rate schedule.
      optimizer, objective, evaluation, checkpointing, numerics: groups of settings, see `t2t_mm.training.settings`.
      mixing: which problems a step takes, see `problems_of_step`. `BySize` computes the rates from the numbers of examples.
      strategy: constructor of the tf.distribute strategy, one of those in `t2t_mm.training.strategy`.
      seed: the seed of the data order, the initial weights and all random numbers. A resumed run keeps its first seed.
      log_steps: number of steps between two lines of progress.
      cosine_steps: number of steps between two measurements of the cosines between the problems' gradients, which show which
        problems help and which hinder each other; 0 measures none. Only with one replica.
      profile_steps: number of steps to profile for TensorBoard, after the first steps of the process (see `profile.Steps`).
      only_try: whether to end after a dry run (`t2t_mm.training.dry_run`), which reports the data, the time and the memory of
        the run and writes nothing.
      max_bad_examples: maximum number of unusable examples of a problem, which are left out. With more, the run ends.
      init_from: the folder of another run. A new run starts from the weights of its newest valid checkpoint, as far as they
        fit (see `t2t_mm.run.transfer`), with a new optimizer state. The model then has the commands, inputs and label sets
        of both runs.
      configuration: a function that returns the text of `config.gin`. It is called when everything has been built, and an
        error that it raises stops the run.
      hyper_parameters: a function that returns the hyper-parameters for TensorBoard, name -> number or text. It is called
        when everything has been built.

    Raises:
      RunError: a loss or gradient is not finite; the batches cannot be divided among the replicas; `model_dir` belongs to
        another run, is in use or not writable; a checkpoint cannot be written; another worker is gone; or the model of
        `init_from` does not fit.
      CorpusError: a corpus is missing or has too many unusable examples.
      Preempted: SIGTERM arrived.
      KeyboardInterrupt: Ctrl-C arrived before the first step.
    """
    seed = seed_of(model_dir, seed)
    keras.utils.set_random_seed(seed)
    distribution: tf.distribute.Strategy = strategy()
    replicas, batches = distribution.num_replicas_in_sync, experiment.batches
    if batches.images < replicas:
        raise RunError(
            f"batches.images is {batches.images}, less than the {replicas} replicas; each needs an example. Increase it."
        )
    if numerics.jit_compile and replicas > 1:
        raise RunError("jit_compile requires a single device, because XLA cannot compile the exchange between replicas.")
    if cosine_steps and replicas > 1:
        raise RunError("cosine_steps requires a single device, because each replica only has its share of a gradient.")
    names = [problem.name for problem in experiment.problems]
    if not isinstance(mixing, BySize):
        problems_of_step(names, mixing, 1, seed)  # raises an error for an invalid mixing before the data is read
    weights = objective.weights(names)
    metric = periodic.Metric(evaluation.best_metric, names, evaluation.lower_is_better)
    chief = strategies.is_chief(distribution)
    try:
        learning_rate = schedule()
    except ValueError as error:
        raise RunError(str(error)) from error
    if experiment.weights.moving_average and not optimizer.ema:
        raise RunError(
            "weights.Weights.moving_average is True, but no moving average is kept; set settings.Optimizer.ema, for "
            "instance to 0.999."
        )
    for line in strategies.describe(distribution, experiment.problems, batches):
        logging.info("%s", line)

    with contextlib.ExitStack() as stack:
        if chief and not only_try:
            stack.enter_context(only_trainer(model_dir))
        description = joined_description(experiment, init_from) if init_from else experiment.describe()
        check_folder(model_dir, description)

        # Data.
        tokenizer = Tokenizer(experiment.vocabulary)
        streams, reports, sizes = {}, {}, {}
        for problem in experiment.problems:
            report = reports[problem.name] = Report(problem.name, max_bad_examples)
            examples = load_examples(problem, "train", report)
            about = dry_run.describe_data(problem, examples, experiment, tokenizer) if only_try else None
            for line in about or [f"{problem.name}: {len(examples)} training examples"]:
                logging.info("%s", line)
            sizes[problem.name] = len(examples)
            streams[problem.name] = make_batches(
                problem, examples, tokenizer, experiment.audio, batches, report,
                training=True, seed=seed, replicas=replicas,
            )  # fmt: skip
        iterators = {name: iter(stream) for name, stream in streams.items()}
        for line in describe_mixing(mixing, sizes, steps * optimizer.accumulate):
            logging.info("%s", line)
        drawn_by = mixing.rates(sizes) if isinstance(mixing, BySize) else mixing

        # Model and optimizer.
        with distribution.scope():
            network = experiment.build_model(description, numerics.precision)
            factors = parts.rate_factors(network, optimizer.rates)
            # Before the optimizer is built, so that frozen weights have no gradient, no moments and no part in the norm.
            frozen_parts = parts.freeze(network, factors)
            trained = network.trainable_variables
            adam = optimizer.adam(learning_rate, [factors[path_below(v)] for v in trained])
            adam.build(trained)
        done = tf.Variable(0, dtype=tf.int64, trainable=False)
        seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        loss_scale = LossScale() if numerics.precision == "mixed_float16" else None
        # Strings must be outside the scope of the strategy, because workers cannot send them to each other.
        frozen = tf.Variable(json.dumps(frozen_parts), trainable=False)
        # The state of the data is only valid for batches of these sizes.
        layout = tf.Variable(json.dumps(dataclasses.asdict(batches), default=str), trainable=False)
        logging.info("%d problems, %d parameters", len(names), network.count_params())
        for line in parts.describe(network, factors):
            logging.info("%s", line)
        train_step = TrainStep(
            distribution, network, adam, experiment.problems, weights,
            optimizer.clip_norm, objective.label_smoothing, objective.balance_weight,
            {name: stream.element_spec for name, stream in streams.items()},
            batches.static_shapes, numerics.jit_compile, seed, accumulate=optimizer.accumulate,
            clip_each=optimizer.clip_each, loss_scale=loss_scale,
        )  # fmt: skip
        dev_set = None
        if evaluation.every_steps:
            dev_set = periodic.DevSet(experiment, network, evaluation.examples, evaluation.samples, max_bad_examples, metric)

        # Restore.
        state = {"variables": all_variables(network), "optimizer": adam, "done": done, "seconds": seconds}
        places = {id(variable.value): str(place) for place, variable in enumerate(network.variables)}
        averages = {places[id(v.value)]: average.value for v, average in zip(trained, adam.averages())}
        state |= {MOVING_AVERAGES: averages} if averages else {}
        state |= {"loss_scale": loss_scale} if loss_scale else {}
        if newest := newest_valid(checkpoints_folder(model_dir)):
            check_optimizer(newest, frozen, averages)
            restore_run(newest, state, iterators, layout)
        elif init_from:
            for line in transfer(network, description, experiment, init_from).lines():
                logging.info("%s", line)

        def batches_of_step(step: int) -> list[dict]:
            """Returns the micro-batches of a step, each a dict of problem -> batch."""
            return [
                {
                    name: next_batch(iterators[name], reports[name])
                    for name in problems_of_step(names, drawn_by, (step - 1) * optimizer.accumulate + number, seed)
                }
                for number in range(1, optimizer.accumulate + 1)
            ]

        def make_step(micro_batches: list[dict], compared: bool = False) -> tuple[dict[str, dict], tf.Tensor]:
            shares = [split_batch(distribution, batch) for batch in micro_batches]
            return train_step(shares if optimizer.accumulate > 1 else shares[0], compared)

        if only_try:
            configuration()  # for the errors that it raises
            for line in dry_run.describe_cost(lambda number: make_step(batches_of_step(number))[1].numpy(), steps):
                logging.info("%s", line)
            return network

        # Write only now that all checks have passed, so that a rejected start leaves the folder unchanged.
        if chief:
            text = configuration()
            with writing(model_dir):
                prepare_folder(model_dir, experiment, description, text, seed, int(done))
        checkpoint = tf.train.Checkpoint(**state, iterators=iterators, layout=layout, frozen=frozen)
        checkpoints: Checkpoints | None = None
        if chief:
            keep, keep_best = checkpointing.keep, checkpointing.keep_best
            checkpoints = Checkpoints(checkpoint, model_dir, keep, metric.name, keep_best)
        writer = tf.summary.create_file_writer(os.path.join(model_dir, "events")) if chief else None
        if writer is not None:
            with writing("the events for TensorBoard"), writer.as_default(step=int(done)):
                tf.summary.text("config.gin", "".join(f"    {line}\n" for line in text.splitlines()))  # as code in Markdown
                tensorboard.write_hyper_parameters(hyper_parameters(), model_dir)
        progress = Progress(steps, int(done), float(seconds), writer, adam, loss_scale)
        profiled = stack.enter_context(profile.Steps(model_dir, int(done), profile_steps if chief else 0))
        workers = strategies.Workers(distribution)
        workers.check_same(int(done), "the step of the newest checkpoint (they must share model_dir)")

        def exhausted() -> bool:
            """Returns whether the last `patience` evaluations brought no improvement. All workers return the same."""
            best = checkpoints.best() if checkpoints and evaluation.patience else None
            too_long = best is not None and int(done) - best["step"] >= evaluation.patience * evaluation.every_steps
            return bool(evaluation.patience) and bool(workers.any(int(too_long)))

        def save() -> None:
            seconds.assign(progress.seconds())
            if checkpoints:
                checkpoints.save(int(done))

        # Step, log, evaluate, save.
        stop = stack.enter_context(StopSignals())
        ended = exhausted()  # the run may have ended early before it was started again
        if not progress.finished() and not ended:
            trace(train_step, stop)
        while not progress.finished() and not ended:
            step = int(done) + 1
            micro_batches = batches_of_step(step)
            profiled.before(step)
            compared = bool(cosine_steps) and step % cosine_steps == 0
            with workers.named_if_gone():
                figures, norm = make_step(micro_batches, compared)
                updated = progress.check(step, figures, norm, numerics.not_finite)
                stopped = workers.any(stop.requested)
            done.assign(step)
            progress.count(step, micro_batches)
            if step % log_steps == 0 or step == 1 or progress.finished():
                progress.log(figures, norm)
            if compared and updated:
                progress.write_cosines(train_step.cosines)
            if dev_set and step % evaluation.every_steps == 0:
                with averaged(trained, adam) if experiment.weights.moving_average else contextlib.nullcontext():
                    found = dev_set.evaluate(step)
                value = metric(found["results"])
                if checkpoints:
                    with writing("the events for TensorBoard"):
                        periodic.report(found, model_dir)
                    seconds.assign(progress.seconds())
                    if math.isfinite(value) and checkpoints.keep_best(step, value, metric.higher_is_better):
                        logging.info("step %d is the best so far by %s: %.4f", step, metric.name, value)
                ended = exhausted()
            if step % checkpointing.every_steps == 0 or progress.finished() or stopped or ended:
                save()
            if stopped and not progress.finished():
                logging.info("Stopped and saved at step %d; the same command resumes the run.", step)
                if stop.requested != signal.SIGINT:
                    raise Preempted(f"stopped by SIGTERM and saved at step {step}; the same command resumes the run.")
                break
        if ended and not progress.finished():
            logging.info(
                "Ended at step %d of %d, because %s did not improve in the last %d evaluations. The best checkpoint is kept "
                "(--best).", int(done), steps, metric.name, evaluation.patience,
            )  # fmt: skip
    return network


@contextlib.contextmanager
def averaged(trained: Sequence[keras.Variable], adam: FusedAdam) -> Iterator[None]:
    """Replaces the weights by their moving averages in this context."""
    before = [variable.numpy() for variable in trained]
    for variable, average in zip(trained, adam.averages()):
        variable.assign(average.numpy())
    try:
        yield
    finally:
        for variable, value in zip(trained, before):
            variable.assign(value)


def check_optimizer(path: str, frozen: tf.Variable, averages: dict) -> None:
    """Checks that a checkpoint contains the optimizer state that the resumed run needs.

    Args:
      path: the checkpoint.
      frozen: the paths of the frozen weights, as JSON.
      averages: the moving averages of the weights; empty if the run keeps none.

    Raises:
      RunError: the frozen parts have changed, so that moments would be missing, or moving averages have been switched on
        or off.
    """
    had = any(name.startswith(f"{MOVING_AVERAGES}/") for name, _ in tf.train.list_variables(path))
    if had != bool(averages):
        raise RunError(
            f"{path}: was written {'with' if had else 'without'} moving averages of the weights. Restore the value of "
            "Optimizer.ema, or start a new run from it with --init_from."
        )
    saved, now = json.loads(saved_text(path, "frozen") or "[]"), json.loads(frozen.numpy().decode())
    if saved != now:
        count = len(set(saved) ^ set(now))
        raise RunError(
            f"{path}: {count} weights were frozen and are not now, or the other way round. The frozen parts cannot change "
            "during a run; start a new run from it with --init_from, or restore Optimizer.rates."
        )


def restore_run(path: str, state: dict, iterators: dict, layout: tf.Variable) -> None:
    """Restores the state of a run, and the state of its data if the sizes of the batches are unchanged.

    A batch size is usually changed because memory ran out, which must not end the run. The data then begins a new pass,
    and everything else is restored. If a checkpoint has no loss scale, because the run had another precision, the scale
    keeps its initial value.

    Raises:
      RunError: the checkpoint does not fit.
    """
    if not tf.train.load_checkpoint(path).has_tensor(key_of("loss_scale/scale")):
        state = {name: part for name, part in state.items() if name != "loss_scale"}
    saved, now = saved_text(path, "layout"), layout.numpy().decode()
    if saved in (None, now):  # None: an older checkpoint, written without the sizes
        restore(tf.train.Checkpoint(**state, iterators=iterators), path)
        logging.info("Continuing from %s", path)
        return
    restore(tf.train.Checkpoint(**state), path)
    before, after = json.loads(saved), json.loads(now)
    differing = [name for name in after if before.get(name) != after[name]]
    changed = [f"{name} was {before.get(name)} and is {after[name]}" for name in differing]
    logging.info("Continuing from %s; %s, so every problem's data begins a new pass.", path, ", ".join(changed))


def trace(train_step: TrainStep, stop: "StopSignals") -> None:
    """Traces the graphs of a step one by one and reports each, because the first step would otherwise be silent for minutes.

    With several replicas or with static shapes, the graphs depend on the batches, so only their number is reported.

    Raises:
      KeyboardInterrupt, Preempted: a signal arrived. Nothing is saved, because there has been no step yet.
    """
    functions = list(dict.fromkeys(train_step.functions.values()))
    if tf.config.functions_run_eagerly():
        return
    if any(function.input_signature is None for function in functions):
        logging.info("The first steps take longer: they trace %d graphs or more.", len(functions) + 1)
        return
    for number, function in enumerate(functions, start=1):
        logging.info("Tracing graph %d of %d, which happens once", number, len(functions) + 1)
        function.get_concrete_function()
        if stop.requested == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.requested:
            raise Preempted("stopped by SIGTERM before the first step; start the same command again.")
    logging.info("Tracing graph %d of %d with the first step", len(functions) + 1, len(functions) + 1)


class StopSignals:
    """Turns the first Ctrl-C or SIGTERM into a request to stop between two steps. A second one exits immediately.

    Only between two steps do the weights, the data and the random state belong to the same step. Only the main thread
    receives signals.
    """

    def __init__(self):
        self.requested, self._before = 0, {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number, _):
        self.requested = number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        logging.info("%s: stopping after this step; send it again to exit immediately", signal.Signals(number).name)


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

    def count(self, step: int, micro_batches: Sequence[dict]) -> None:
        self.step = step
        if step == self._first + 1:  # not typical for later steps, because it included tracing
            self._since = time.monotonic()
            return
        self._steps_since += 1
        self._examples += sum(int(part["targets"].shape[0]) for batch in micro_batches for part in batch.values())

    def log(self, figures: dict, norm: tf.Tensor) -> None:
        """Prints one line of progress and, if there is a writer, writes the metrics for TensorBoard."""
        now = time.monotonic()
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
