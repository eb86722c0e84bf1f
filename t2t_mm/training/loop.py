"""The joint training loop, read downwards: data, model, optimizer, restore; then step, log, save."""

import dataclasses
import math
import os
import time
from collections.abc import Sequence

import keras
import tensorflow as tf
from absl import logging

from t2t_mm.data.example import Report
from t2t_mm.data.features import AudioFeatures
from t2t_mm.data.pipeline import BatchSettings, load_examples, make_batches, next_batch
from t2t_mm.data.tokenizer import Tokenizer
from t2t_mm.model import MultiModel
from t2t_mm.problems.problem import Problem
from t2t_mm.training.schedule import InverseSquareRoot
from t2t_mm.training.step import make_train_step, split_batch


class TrainingError(Exception):
    """Training cannot go on; the message says where it stopped and what to do."""


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


def build_model(model, problems: Sequence[Problem], tokenizer: Tokenizer, audio: AudioFeatures) -> MultiModel:
    """The model with the modality nets, commands and label sets that `problems` need, every weight made.

    model: MultiModel or a configured constructor of it.
    """
    built = model(
        vocabulary_size=tokenizer.size,
        commands=tuple(sorted({problem.command for problem in problems})),
        inputs=tuple(sorted({problem.inputs for problem in problems})),
        num_classes={p.name: len(p.source.class_names()) for p in problems if p.targets == "class"},
        frequency_bins=audio.bins,
    )
    built.build()
    return built


def train(
    problems: Sequence[Problem],
    vocabulary: str,
    model_dir: str,
    steps: int,
    model=MultiModel,
    schedule=InverseSquareRoot,
    optimizer: OptimizerSettings = OptimizerSettings(),
    batches: BatchSettings = BatchSettings(),
    audio: AudioFeatures = AudioFeatures(),
    loss_weights: dict[str, float] | None = None,
    strategy: tf.distribute.Strategy | None = None,
    seed: int = 0,
    log_steps: int = 20,
    save_steps: int = 500,
    max_bad_examples: int = 100,
    before_first_step=lambda: None,
) -> MultiModel:
    """Trains one model on all `problems`, one batch of each in every step, until `steps`.

    Goes on from the newest checkpoint of `model_dir`; data order, random state and optimizer are part of it, so that
    the losses are those of a run that was never stopped. `before_first_step` is called once all is built and
    restored.

    Raises:
      TrainingError: a loss is not finite, or the batches cannot be shared out over the replicas.
      CorpusError: a corpus is missing or has too many unusable examples.
    """
    keras.utils.set_random_seed(seed)
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if batches.images < replicas:
        raise TrainingError(
            f"batches.images is {batches.images}, less than the {replicas} replicas; each needs an example. Raise it."
        )
    names = [problem.name for problem in problems]
    if len(set(names)) < len(names):
        raise TrainingError(f"A problem is named twice in {', '.join(names)}.")

    # Data.
    tokenizer = Tokenizer(vocabulary)
    streams, reports = {}, {}
    for problem in problems:
        report = reports[problem.name] = Report(problem.name, max_bad_examples)
        examples = load_examples(problem, "train", report)
        logging.info("%s: %d training examples", problem.name, len(examples))
        streams[problem.name] = make_batches(
            problem, examples, tokenizer, audio, batches, report, training=True, seed=seed, replicas=replicas
        )
    iterators = {name: iter(stream) for name, stream in streams.items()}

    # Model and optimizer.
    with strategy.scope():
        network = build_model(model, problems, tokenizer, audio)
        adam = keras.optimizers.Adam(
            schedule(), beta_1=optimizer.beta_1, beta_2=optimizer.beta_2, epsilon=optimizer.epsilon
        )
        adam.build(network.trainable_variables)
        done = tf.Variable(0, dtype=tf.int64, trainable=False)
    logging.info(
        "%d problems, %d parameters, %d replica(s)", len(problems), network.count_params(), replicas
    )
    train_step = make_train_step(
        strategy, network, adam, problems, {name: (loss_weights or {}).get(name, 1.0) for name in names},
        optimizer.clip_norm, optimizer.label_smoothing, optimizer.balance_weight,
        {name: stream.element_spec for name, stream in streams.items()},
    )  # fmt: skip

    # Restore.
    held = {id(weight) for weight in network.weights}
    random_states = [v.value for v in network.variables if id(v) not in held]  # Keras does not track these for TF
    checkpoint = tf.train.Checkpoint(
        model=network, optimizer=adam, done=done, iterators=iterators, random_states=random_states
    )
    manager = tf.train.CheckpointManager(checkpoint, os.path.join(model_dir, "checkpoints"), max_to_keep=2)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        logging.info("Going on from %s", manager.latest_checkpoint)
    writer = tf.summary.create_file_writer(os.path.join(model_dir, "events"))
    start, first = time.monotonic(), int(done)

    before_first_step()

    # Step, log, save.
    try:
        for step in range(first + 1, steps + 1):
            batch = {name: next_batch(iterator, reports[name]) for name, iterator in iterators.items()}
            figures, norm = train_step(split_batch(strategy, batch))
            done.assign(step)
            if step % log_steps == 0 or step in (1, steps):
                _log(step, steps, figures, norm, adam, writer, (time.monotonic() - start) / (step - first))
            if step % save_steps == 0 or step == steps:
                manager.save()
    except KeyboardInterrupt:
        manager.save()
        logging.info("Stopped and saved at step %d; the same command goes on from here.", int(done))
    return network


def _log(step, steps, figures, norm, adam, writer, seconds_per_step) -> None:
    """One line on the screen and the scalars for TensorBoard; stops the run on a loss that is not finite."""
    figures = {name: {key: float(value) for key, value in values.items()} for name, values in figures.items()}
    for name, values in figures.items():
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"{name}: loss is {values['loss']} at step {step}. The last checkpoint is from before; lower the "
                "schedule's peak learning rate or clip_norm and start the same command again."
            )
    losses = "  ".join(f"{name} {values['loss']:.3f}" for name, values in figures.items())
    left = (steps - step) * seconds_per_step / 60
    logging.info("step %d/%d  %s  | %.2f s/step, %.0f min left", step, steps, losses, seconds_per_step, left)
    with writer.as_default(step=step):
        for name, values in figures.items():
            for key, value in values.items():
                tf.summary.scalar(f"{name}/{key}", value)
        tf.summary.scalar("gradient_norm", norm)
        tf.summary.scalar("learning_rate", adam.learning_rate)
    writer.flush()
