"""The joint training: what it checks, prepares and restores, then the loop of steps that logs, evaluates and saves.

The parts are modules of their own: `plan` (the settings and their checks), `data` (the batches of a step), `trainee` (model,
optimizer and step), `state` (what a checkpoint contains), `progress` (what is reported) and `stopping` (Ctrl-C and SIGTERM).
"""

import contextlib
import dataclasses
import math
import os
import signal
from collections.abc import Callable, Iterable

import keras
import tensorflow as tf
from absl import logging

from t2t_mm.common.config import differences
from t2t_mm.common.errors import RunError
from t2t_mm.common.writing import writing
from t2t_mm.evaluation import periodic
from t2t_mm.experiment import Experiment
from t2t_mm.model import MultiModel
from t2t_mm.run.checkpoints import Checkpoints, checkpoints_folder, newest_valid, only_trainer
from t2t_mm.run.folder import MisfitError, check_folder, has_begun, prepare_folder, seed_of
from t2t_mm.run.transfer import joined_description, transfer
from t2t_mm.training import dry_run, profile
from t2t_mm.training import strategy as strategies
from t2t_mm.training.data import TrainingData
from t2t_mm.training.mixing import BySize
from t2t_mm.training.plan import TrainingPlan
from t2t_mm.training.progress import Progress, open_events
from t2t_mm.training.schedule import InverseSquareRoot
from t2t_mm.training.settings import (  # fmt: skip
    Checkpointing,
    Configuration,
    Evaluation,
    Numerics,
    Objective,
    Observation,
    Optimizer,
)
from t2t_mm.training.state import RunState
from t2t_mm.training.step import TrainStep
from t2t_mm.training.stopping import Preempted, StopSignals
from t2t_mm.training.trainee import Trainee, build_trainee


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
    observation: Observation = Observation(),
    mixing: str | dict[str, float] | BySize = "joint",
    strategy: Callable = strategies.one,
    seed: int = 0,
    max_bad_examples: int = 100,
    init_from: str | None = None,
    only_try: bool = False,
    configuration: Configuration = Configuration(),
) -> MultiModel:
    """Trains one model on all problems of `experiment` until `steps`, and returns it.

    Training resumes from the newest valid checkpoint in `model_dir`, with the same losses as an uninterrupted run. On Ctrl-C
    or SIGTERM, the run finishes the current step, saves and exits. If there are several workers, they share `model_dir`; all
    of them read it, and only the first one (the "chief") writes to it. A start that is refused writes nothing.

    Args:
      experiment: the problems, the vocabulary, the model and the batches.
      model_dir: the folder of the run.
      steps: total number of steps, including those before a resume.
      schedule: constructor of the learning rate schedule.
      optimizer, objective, evaluation, checkpointing, numerics, observation, configuration: groups of settings, see
        `t2t_mm.training.settings`.
      mixing: which problems a step takes, see `problems_of_step`. `BySize` computes the rates from the numbers of examples.
      strategy: constructor of the tf.distribute strategy, one of those in `t2t_mm.training.strategy`.
      seed: the seed of the data order, the initial weights and all random numbers. A resumed run keeps its first seed.
      max_bad_examples: maximum number of unusable examples of a problem, which are left out. With more, the run ends.
      init_from: the folder of another run. A new run starts from the weights of its newest valid checkpoint, as far as they
        fit (see `t2t_mm.run.transfer`), with a new optimizer state and the commands, inputs and label sets of both runs.
      only_try: whether to end after a dry run (`t2t_mm.training.dry_run`), which writes nothing.

    Raises:
      RunError: a setting is invalid or does not fit; a loss or gradient is not finite; `model_dir` belongs to another run, is
        in use or not writable; a checkpoint cannot be written; or another worker is gone.
      CorpusError: a corpus is missing or has too many unusable examples.
      Preempted: SIGTERM arrived.
      KeyboardInterrupt: Ctrl-C arrived before the first step.
    """
    seed = seed_of(model_dir, seed)
    if not 0 <= seed < 2**31:
        raise RunError(f"loop.train.seed is {seed!r}; it must be from 0 to {2**31 - 1}.")
    keras.utils.set_random_seed(seed)
    plan = TrainingPlan(
        experiment=experiment, model_dir=model_dir, steps=steps, schedule=schedule, optimizer=optimizer, objective=objective,
        evaluation=evaluation, checkpointing=checkpointing, numerics=numerics, observation=observation, mixing=mixing,
        max_bad_examples=max_bad_examples, init_from=init_from, distribution=strategy(), seed=seed,
    )  # fmt: skip
    _log(plan.describe())
    # Only the lock is written before all checks have passed. If the folder is new, a refused start removes it again.
    with only_trainer(model_dir) if plan.chief and not only_try else contextlib.nullcontext():
        try:
            run = prepare(plan, described=only_try)
        except MisfitError as error:
            raise MisfitError(error.path, error.reason, differing_settings(model_dir, configuration)) from error
        if only_try:
            configuration.text()  # for the errors that it raises
            _log(dry_run.describe_cost(run.try_step, run.trainee.train_step.traces, steps, at_least=len(plan.names)))
        elif (done := int(run.state.done)) >= steps:
            logging.info(
                "Nothing to do: %s was trained for %d steps already, and `steps` is %d. Increase `steps` to go on.",
                model_dir, done, steps,
            )  # fmt: skip
        else:
            Loop(run, configuration).run()
    return run.trainee.network


def differing_settings(model_dir: str, configuration: Configuration) -> list[str]:
    """Returns a sentence for each of the first settings in which a configuration differs from that of the run in a folder."""
    path = os.path.join(model_dir, "config.gin")
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        found = differences(file.read(), configuration.text())
    return found[:_SHOWN] + ([f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])


_SHOWN = 5  # settings in a message


def _log(lines: Iterable[str]) -> None:
    for line in lines:
        logging.info("%s", line)


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A run that can begin or go on: everything that its steps need, in the state of its newest checkpoint.

    Attributes:
      plan: its settings.
      description: the description of its model, see `Experiment.describe`.
      data: the batches of its steps.
      trainee: its model, with what trains it.
      dev_set: the dev sets, if they are evaluated during training.
      state: what its checkpoints contain.
    """

    plan: TrainingPlan
    description: dict
    data: TrainingData
    trainee: Trainee
    dev_set: periodic.DevSet | None
    state: RunState

    def try_step(self, step: int) -> None:
        """Makes a step and waits for its result. Nothing is saved."""
        self.trainee.make_step(self.data.batches_of(step))[1].numpy()


def prepare(plan: TrainingPlan, described: bool = False) -> Prepared:
    """Reads the data, builds the model, and restores the newest checkpoint. Writes nothing.

    Args:
      plan: the settings of the run.
      described: whether to log the description of a dry run for each training set, instead of only its size.

    Raises:
      RunError: the folder belongs to another run, a setting does not fit the model, or no checkpoint fits.
      CorpusError: a corpus is missing or has too many unusable examples.
    """
    experiment, evaluation, metric = plan.experiment, plan.evaluation, plan.metric
    begun = has_begun(plan.model_dir)
    # A run that has begun has taken over everything, so the folder that it started from need not exist any more.
    start = plan.model_dir if begun else plan.init_from
    description = joined_description(experiment, start) if plan.init_from and start else experiment.describe()
    check_folder(plan.model_dir, description)  # before the data is read, which may take long
    data = TrainingData(plan, described)
    trainee = build_trainee(plan, description, data.signatures)
    dev_set = None
    if evaluation.every_steps:
        dev_set = periodic.DevSet(
            experiment, trainee.network, evaluation.examples, evaluation.samples, plan.max_bad_examples, metric
        )
    state = RunState(trainee, data.iterators, data.layout)
    if newest := newest_valid(checkpoints_folder(plan.model_dir)):
        if plan.init_from:
            logging.info("%s goes on from its own checkpoint; init_from only concerns the start of a run.", plan.model_dir)
        state.restore(newest)
    elif plan.init_from:  # only a new run: a resumed one already contains what it has taken over
        _log(transfer(trainee.network, description, experiment, plan.init_from).lines())
    return Prepared(plan, description, data, trainee, dev_set, state)


class Loop:
    """The steps of a run, with what happens between them: logging, evaluating, saving and ending.

    Making it begins to write to the folder of the run, so all checks must have passed before.

    Args:
      run: the run, which goes on after the step `run.state.done`.
      configuration: what the folder records about the configuration.

    Raises:
      RunError: the folder cannot be written to, or the workers do not agree on the step.
    """

    def __init__(self, run: Prepared, configuration: Configuration):
        self._run, self._plan, self._state = run, run.plan, run.state
        plan, done = run.plan, int(run.state.done)
        self._checkpoints: Checkpoints | None = None
        writer = None
        if plan.chief:
            text = configuration.text()  # may raise an error, so before anything is written
            with writing(plan.model_dir):
                prepare_folder(plan.model_dir, plan.experiment, run.description, text, plan.seed, done)
            keep, keep_best = plan.checkpointing.keep, plan.checkpointing.keep_best
            measured = {"examples": plan.evaluation.examples, "moving_average": plan.experiment.weights.moving_average}
            self._checkpoints = Checkpoints(run.state.checkpoint(), plan.model_dir, keep, plan.metric.name, keep_best, measured)
            writer = open_events(plan.model_dir, done, text, configuration.hyper_parameters())
        seconds, adam, loss_scale = float(run.state.seconds), run.trainee.adam, run.trainee.loss_scale
        self._progress = Progress(plan.steps, done, seconds, writer, adam, loss_scale)
        self._workers = strategies.Workers(plan.distribution)
        self._workers.check_same(done, "the step of the newest checkpoint (they must share model_dir)")

    def run(self) -> None:
        """Makes all steps that are left.

        Raises:
          RunError: a loss or gradient is not finite, a file cannot be written, or another worker is gone.
          Preempted: SIGTERM arrived.
          KeyboardInterrupt: Ctrl-C arrived before the first step.
        """
        plan, state, progress = self._plan, self._state, self._progress
        profiled = profile.Steps(plan.model_dir, int(state.done), plan.observation.profile_steps if plan.chief else 0)
        with profiled, StopSignals() as stop:
            ended = self._exhausted()  # the run may have ended early before it was started again
            if not progress.finished() and not ended:
                trace(self._run.trainee.train_step, stop)
            while not progress.finished() and not ended:
                step = int(state.done) + 1
                stopped, saved = self._step(step, stop, profiled), False
                if self._run.dev_set and step % plan.evaluation.every_steps == 0:
                    if stopped:  # before the evaluation, because the process may be killed if it takes too long
                        self._save(step)
                        saved = True
                    self._evaluate(step)
                    ended = self._exhausted()
                    stopped = stopped or self._workers.any(stop.requested)
                due = step % plan.checkpointing.every_steps == 0 or progress.finished() or stopped or ended
                if due and not saved:
                    self._save(step)
                if stopped and not progress.finished():
                    logging.info("Stopped and saved at step %d; the same command resumes the run.", step)
                    if stop.requested != signal.SIGINT:  # after Ctrl-C, whoever sent it knows that the run is not complete
                        raise Preempted(f"stopped by SIGTERM and saved at step {step}; the same command resumes the run.")
                    break
            if ended and not progress.finished():
                logging.info(
                    "Ended at step %d of %d, because %s did not improve in the last %d evaluations. The best checkpoint is "
                    "kept (--best).", int(state.done), plan.steps, plan.metric.name, plan.evaluation.patience,
                )  # fmt: skip
            if progress.finished():
                logging.info(
                    "Training is complete: step %d is saved in %s. Evaluate it with bin/evaluate.py --model_dir=%s.",
                    int(state.done), plan.model_dir, plan.model_dir,
                )  # fmt: skip

    def _step(self, step: int, stop: StopSignals, profiled: profile.Steps) -> bool:
        """Makes one step and reports it. Returns whether the run is to stop after it; all workers return the same."""
        observation = self._plan.observation
        micro_batches = self._run.data.batches_of(step)
        profiled.before(step)
        compared = bool(observation.cosine_steps) and step % observation.cosine_steps == 0
        with self._workers.named_if_gone():
            figures, norm = self._run.trainee.make_step(micro_batches, compared)
            updated = self._progress.check(step, figures, norm, self._plan.numerics.not_finite)
            stopped = self._workers.any(stop.requested)
        self._state.done.assign(step)
        self._progress.count(step, micro_batches, figures)
        if step % observation.log_steps == 0 or step == 1 or self._progress.finished():
            self._progress.log(norm)
        if compared and updated:  # the cosines of gradients that are not finite mean nothing
            self._progress.write_cosines(self._run.trainee.train_step.cosines)
        return stopped

    def _evaluate(self, step: int) -> None:
        """Evaluates the dev sets, and keeps the checkpoint of the step if it is one of the best."""
        plan, dev_set, metric = self._plan, self._run.dev_set, self._plan.metric
        assert dev_set is not None  # see `run`
        with self._run.trainee.averaged() if plan.experiment.weights.moving_average else contextlib.nullcontext():
            found = dev_set.evaluate(step)
        value = metric(found["results"])
        if self._checkpoints is None:
            return
        periodic.report(found, plan.model_dir)
        self._state.seconds.assign(self._progress.seconds())
        # NaN, if no problem has an example, is never the best value.
        if math.isfinite(value) and self._checkpoints.keep_best(step, value, metric.higher_is_better):
            logging.info("step %d is the best so far by %s: %.4f", step, metric.name, value)

    def _exhausted(self) -> bool:
        """Returns whether the last `patience` evaluations brought no improvement. All workers return the same."""
        patience, every_steps = self._plan.evaluation.patience, self._plan.evaluation.every_steps
        if not patience:
            return False
        best = self._checkpoints.best() if self._checkpoints else None
        too_long = best is not None and int(self._state.done) - best["step"] >= patience * every_steps
        return self._workers.any(int(too_long))

    def _save(self, step: int) -> None:
        """Writes the checkpoint of the step, if this process is the chief."""
        self._state.seconds.assign(self._progress.seconds())
        if self._checkpoints:
            self._checkpoints.save(step)


def trace(train_step: TrainStep, stop: StopSignals) -> None:
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
    stop.tracing = True  # until the first step begins, which is finished and saved
    for number, function in enumerate(functions, start=1):
        logging.info("Tracing graph %d of %d, which happens once", number, len(functions) + 1)
        function.get_concrete_function()
        if stop.requested == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.requested:
            raise Preempted("stopped by SIGTERM before the first step; start the same command again.")
    stop.tracing = False
    logging.info("Tracing graph %d of %d with the first step", len(functions) + 1, len(functions) + 1)
