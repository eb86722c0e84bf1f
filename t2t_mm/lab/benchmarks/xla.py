"""Compares steps compiled by XLA with uncompiled ones: whether all compile, how often, and how much results differ."""

import os
import time

import keras
import numpy as np
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import bucket_shapes
from t2t_mm.lab.benchmarks.timing import wait
from t2t_mm.lab.benchmarks.train import open_streams, train_step
from t2t_mm.losses import problem_loss

# With optimizations, XLA had not finished compiling the mini size after 18 minutes on two cores. Without them it takes
# one or two minutes per shape and computes the same function.
_QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def run(experiment: Experiment) -> dict[str, dict[str, float]]:
    """Runs the training and evaluation steps on one batch of each problem, compiled and uncompiled, from equal weights.

    The experiment must not draw random numbers: from the same seed, XLA and TensorFlow draw different normal numbers.
    The gates of the mixtures are set to random weights, since those of an untrained model choose the same experts for
    all tokens. All differences are relative: that of the training loss, of all gradients together (norm of the
    difference over the norm), of the evaluation loss, and of all weights after an update with the same gradients;
    `weight_change` is how far that update moves the weights. Problems of one kind share a compiled function, which has
    one program per batch shape: `compiled_shapes` counts those that were compiled, `kinds_and_buckets` those that a
      long run would need.

    Raises:
      RunError: the batches do not have static shapes.
    """
    if not experiment.batches.static_shapes:
        raise RunError("XLA compiles every new shape separately: set buckets.BatchSettings.static_shapes = True.")
    os.environ.setdefault("XLA_FLAGS", _QUICK)
    problems, (streams, _) = experiment.problems, open_streams(experiment.problems, experiment)
    batches = {name: next(iter(stream)) for name, stream in streams.items()}
    signatures = {name: stream.element_spec for name, stream in streams.items()}
    networks, steps = [], []
    for compiled in (False, True):
        keras.utils.set_random_seed(0)
        networks.append(experiment.build_model(experiment.describe()))
        _open_gates(networks[-1])
        steps.append(train_step(networks[-1], problems, signatures, static_shapes=True, jit_compile=compiled))
    evaluations = [_evaluations(networks[0], problems, compiled) for compiled in (False, True)]
    found, gradients, finite = {}, [], []
    for problem in problems:
        arguments = steps[0].arguments(problem.name, batches[problem.name])
        seconds, results = zip(*(_timed(step.functions[problem.name], *arguments) for step in steps))
        (expected, figures), (given, figures_given) = results
        gradients.append(expected)
        finite.append(figures["finite"])
        evaluated, (loss, loss_given) = zip(*(_timed(call[problem.name], *arguments[:2]) for call in evaluations))
        found[problem.name] = {
            "first_call_seconds": seconds[0],
            "compiled_first_call_seconds": seconds[1],
            "loss": float(figures["loss"]),
            "loss_difference": _difference([figures["loss"]], [figures_given["loss"]]),
            "gradient_difference": _difference(list(expected.values()), [given[index] for index in expected]),
            "compiled_evaluation_first_call_seconds": evaluated[1],
            "evaluation_loss_difference": _difference([loss], [loss_given]),
        }
    before = [tf.identity(variable.value) for variable in networks[0].trainable_variables]
    seconds = tuple(_timed(step.update, gradients, tf.stack(finite))[0] for step in steps)
    after, after_compiled = ([v.value for v in network.trainable_variables] for network in networks)
    found["update"] = {
        "compiled_first_call_seconds": seconds[1],
        "weight_change": _difference(before, after),
        "weight_difference": _difference(after, after_compiled),
    }
    functions = steps[1].functions
    kinds = {id(functions[problem.name]): problem for problem in problems}.values()
    found["compilations"] = {
        "compiled_shapes": sum(functions[problem.name].experimental_get_tracing_count() for problem in kinds),
        "shapes_met": len({(id(functions[name]), _shapes(batch)) for name, batch in batches.items()}),
        "kinds_and_buckets": sum(len(bucket_shapes(problem, experiment.batches)) for problem in kinds),
    }
    return found


def _open_gates(network) -> None:
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if variable.path.endswith("/gate"):
            variable.assign(rng.normal(size=variable.shape))


def _evaluations(network, problems, compiled: bool) -> dict:
    """Returns problem name -> function of batch and command that computes the evaluation loss."""

    def of(problem):
        return tf.function(
            lambda batch, command: problem_loss(network, problem, batch, 0.0, 0.0, False, command)[1]["loss"],
            jit_compile=compiled or None, autograph=False,
        )  # fmt: skip

    return {problem.name: of(problem) for problem in problems}


def _timed(call, *arguments):  # -> seconds, result
    start = time.perf_counter()
    result = call(*arguments)
    wait(result)
    return time.perf_counter() - start, result


def _shapes(batch: dict) -> tuple:
    return tuple(tuple(tensor.shape) for _, tensor in sorted(batch.items()))


def _difference(expected, given) -> float:
    """Returns the norm of the difference of two lists of tensors, divided by the norm of the first list."""
    off, size = (
        np.sqrt(sum(float(tf.reduce_sum(tf.square(tf.cast(x, tf.float64)))) for x in tensors))
        for tensors in ([tf.subtract(e, g) for e, g in zip(expected, given)], expected)
    )
    return float(off / size)
