"""Time, arithmetic and memory of training steps, beside this machine's own peak."""

import dataclasses
import resource
import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from t2t_mm import inspection
from t2t_mm.benchmarks.timing import matmul_peak, seconds
from t2t_mm.data.example import Report
from t2t_mm.data.pipeline import load_examples, make_batches
from t2t_mm.data.tokenizer import Tokenizer
from t2t_mm.experiment import Experiment
from t2t_mm.model import MultiModel
from t2t_mm.problems.problem import Problem
from t2t_mm.training.losses import problem_loss
from t2t_mm.training.optimizer import FusedAdam
from t2t_mm.training.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Translation:
    """A batch of made-up sentence pairs, for comparing with other code: `tokens` in and out, none of them padding."""

    tokens: int = 32
    batch_sizes: Sequence[int] = (16, 32)
    vocabulary_size: int = 8192


def run(
    experiment: Experiment,
    translation: Translation = Translation(),
    depths: Sequence[int] = (128, 512),
    sized: type[MultiModel] = MultiModel,
    steps: int = 5,
) -> dict[str, dict[str, float]]:
    """Training steps of the experiment's problems one by one and jointly, on their own corpora; then `translation`.

    FLOPs are counted from the layers' shapes as `t2t_mm.inspection` says (forward, times three), padding included: it is
    multiplied too. Shares of the peak are shares of what a large product of matrices reaches on this machine.

    Args:
      sized: constructor of the model that `translation` is measured with, at each of `depths`.
      steps: how many are timed; the figures are medians.
    """
    peaks = {dtype: matmul_peak(dtype) for dtype in ("float32", "bfloat16")}
    found = {"machine": {f"{dtype}_matmul_gflops": peak / 1e9 for dtype, peak in peaks.items()}}
    found |= _experiment(experiment, steps, peaks["float32"])
    for depth in depths:
        for batch_size in translation.batch_sizes:
            name = f"translation, d = {depth}, batch {batch_size}"
            found[name] = _translation(sized, translation, depth, batch_size, steps, peaks["float32"])
    found["process"] = {"peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    return found


def _experiment(experiment: Experiment, steps: int, peak: float) -> dict[str, dict[str, float]]:
    start = time.perf_counter()
    keras.utils.set_random_seed(0)
    tokenizer, names = Tokenizer(experiment.vocabulary), [problem.name for problem in experiment.problems]
    streams = {}
    for problem in experiment.problems:
        report = Report(problem.name)
        streams[problem.name] = make_batches(
            problem, load_examples(problem, "train", report), tokenizer, experiment.audio, experiment.batches, report,
            training=True,
        )  # fmt: skip
    network = experiment.build_model(experiment.describe())
    step = _train_step(network, experiment.problems, {name: stream.element_spec for name, stream in streams.items()})
    iterators = {name: iter(stream) for name, stream in streams.items()}
    _wait(step({name: next(iterator) for name, iterator in iterators.items()}))
    first = time.perf_counter() - start
    found, joint_flops, gradient_seconds = {}, [], []
    for problem in experiment.problems:
        batches = [next(iterators[problem.name]) for _ in range(steps + 1)]
        flops = [_flops(network, problem, experiment.batches, batch) for batch in batches]
        times = _times([lambda batch=batch: step({problem.name: batch}) for batch in batches])
        command = tf.constant(network.command_id(problem.command))
        gradient = step.functions[problem.name]
        alone = _times([lambda batch=batch: gradient(batch, command, tf.constant(1.0)) for batch in batches])
        counted = [_target_tokens(batch) for batch in batches]
        found[problem.name] = {
            "milliseconds": 1e3 * float(np.median(times)),
            "target_tokens_per_second": sum(counted[1:]) / sum(times),
            "gflop": float(np.mean(flops[1:])) / 1e9,
            "share_of_peak": sum(flops[1:]) / sum(times) / peak,
        }
        joint_flops.append(np.mean(flops[1:]))
        gradient_seconds.append(np.median(alone))
    waits, times = [], []
    for _ in range(steps):
        begin = time.perf_counter()
        batch = {name: next(iterators[name]) for name in names}
        ready = time.perf_counter()
        _wait(step(batch))
        waits.append(ready - begin)
        times.append(time.perf_counter() - begin)
    joint = float(np.median(times))
    found["joint step"] = {
        "milliseconds": 1e3 * joint,
        "gflop": sum(joint_flops) / 1e9,
        "share_of_peak": sum(joint_flops) / joint / peak,
        "input_wait_share": float(np.median(waits)) / joint,
        "optimizer_share": max(joint - float(np.median(waits)) - sum(gradient_seconds), 0.0) / joint,
        "first_step_seconds": first,
    }
    return found


def _train_step(network, problems, signatures):
    optimizer = FusedAdam(1e-3)
    optimizer.build(network.trainable_variables)
    weights = {problem.name: 1.0 for problem in problems}
    one = tf.distribute.get_strategy()
    return make_train_step(one, network, optimizer, problems, weights, 2.0, 0.1, 0.01, signatures)


def _wait(result) -> None:
    for figures in result[0].values():
        figures = figures if isinstance(figures, dict) else {"": figures}
        for value in figures.values():
            np.asarray(value)


def _times(calls) -> list[float]:
    """Seconds of each call but the first, which may have to trace."""
    found = []
    for call in calls:
        start = time.perf_counter()
        _wait(call())
        found.append(time.perf_counter() - start)
    return found[1:]


def _target_tokens(batch) -> int:
    return batch["targets"].shape[0] * (batch["targets"].shape[1] if batch["targets"].shape.rank > 1 else 1)


def _flops(network, problem, batches, batch) -> float:
    """Of one training step on a batch, three forward passes."""
    texts = [batch[name] for name in ("inputs", "targets") if batch[name].dtype == tf.int32 and batch[name].shape.rank == 2]
    lengths = [text.shape[1] for text in texts]
    tokens = sum(lengths) / len(lengths) if lengths else 1
    frames = batch["inputs"].shape[1]
    cost = inspection.example_cost(network, problem, batches, inspection.Lengths(tokens, frames))
    return 3.0 * sum(cost.flops.values()) * batch["targets"].shape[0]


def _translation(
    sized, translation: Translation, depth: int, batch_size: int, steps: int, peak: float
) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    problem = Problem("translation", None, inputs="language", targets="text", command="To-German")
    network = sized(
        vocabulary_size=translation.vocabulary_size, commands=("To-German",), inputs=("language",), depth=depth
    )
    network.build()
    shape = (batch_size, translation.tokens)
    ids = [tf.random.uniform(shape, 3, translation.vocabulary_size, tf.int32) for _ in range(2)]
    nothing = tf.zeros(shape, tf.bool)
    batch = {"inputs": ids[0], "input_padding": nothing, "targets": ids[1], "target_padding": nothing}
    signature = {key: tf.TensorSpec([None, None], value.dtype) for key, value in batch.items()}
    start = time.perf_counter()
    step = _train_step(network, [problem], {"translation": signature})
    _wait(step({"translation": batch}))
    first = time.perf_counter() - start
    times = _times([lambda: step({"translation": batch})] * (steps + 1))
    flops = _flops(network, problem, None, batch)
    return {
        "target_tokens_per_second": batch_size * translation.tokens / float(np.median(times)),
        "gflop": flops / 1e9,
        "share_of_peak": flops / float(np.median(times)) / peak,
        "first_step_seconds": first,
    } | {f"{part}_share": value for part, value in _parts(network, problem, batch, float(np.median(times))).items()}


def _parts(network, problem, batch, whole: float) -> dict[str, float]:
    """Share of a training step that forward and backward passes of each part take, each run alone."""
    encoded, padding, _, _ = network.encode("language", batch["inputs"], batch["input_padding"])
    x = tf.random.normal(encoded.shape)
    calls = {
        "encoder": (network.encoder, lambda: network.encoder(x, padding, training=True)[0]),
        "mixer": (network.mixer, lambda: network.mixer(encoded, padding, x, padding, training=True)),
        "decoder": (network.decoder, lambda: network.decoder(encoded, padding, x, padding, training=True)[0]),
        "language_out": (network.language_out, lambda: network.language_out(x)),
    }
    for name in ("encoder", "decoder"):
        if mixture := getattr(network, name).mixture:
            calls[f"{name}_mixture"] = mixture, lambda mixture=mixture: mixture(x, padding, training=True)[0]
    found = seconds(*(_both_passes(layer, call) for layer, call in calls.values()), repeats=3)
    loss = _both_passes(network, lambda: problem_loss(network, problem, batch, 0.1, 0.01)[0])
    shares = {name: part / whole for name, part in zip(calls, found)}
    return shares | {"all_gradients": seconds(loss, repeats=3)[0] / whole}


def _both_passes(layer, call):
    weights = [weight.value for weight in layer.trainable_variables]

    @tf.function(autograph=False)
    def passes():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call())
        gradients = [gradient for gradient in tape.gradient(loss, weights) if gradient is not None]
        return tf.linalg.global_norm(gradients)

    return passes
