"""Measures the time, arithmetic and memory of training steps, compared with the peak of the machine."""

import dataclasses
import functools
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from t2t_mm.corpora.example import Report
from t2t_mm.corpora.source import NoExamples
from t2t_mm.experiment import Experiment
from t2t_mm.input.pipeline import load_examples, make_batches
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.lab import inspection
from t2t_mm.lab.benchmarks.timing import both_passes, matmul_peak, seconds, wait
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.training.settings import Objective, Optimizer
from t2t_mm.training.step import TrainStep
from t2t_mm.training.strategy import problems_at_once


@dataclasses.dataclass(frozen=True)
class Translation:
    """A batch of artificial sentence pairs for comparison with other code: `tokens` in and out, without padding."""

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
    """Measures training steps of each problem and of all problems jointly, on their own corpora, and of `translation`.

    FLOPs are computed from the shapes of the layers as in `t2t_mm.lab.inspection` (three times the forward pass), including
    padding, because it is multiplied, too. "share_of_peak" is relative to large matrix products on all cores of this machine,
    and "share_of_shape_peak" to products with the most frequent shape in the body, positions times D times D. As in training,
    a problem only has its share of the cores (`strategy.divide_cores`), also if it is the only one in the step.

    Args:
      sized: constructor of the model for `translation`, at each of `depths`.
      steps: number of timed steps; the results are medians.
    """
    peaks = {dtype: matmul_peak(dtype) for dtype in ("float32", "bfloat16")}
    found = {"machine": {f"{dtype}_matmul_gflops": peak / 1e9 for dtype, peak in peaks.items()}}
    found |= _experiment(experiment, steps, peaks["float32"])
    for depth in depths:
        for batch_size in translation.batch_sizes:
            name = f"translation, d = {depth}, batch {batch_size}"
            found[name] = _translation(sized, translation, depth, batch_size, steps, peaks["float32"])
    found["process"] = {"peak_memory_mib": _peak_memory_mib()}
    return found


def _peak_memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def open_streams(problems: Sequence[Problem], experiment: Experiment) -> tuple[dict, dict]:
    """Returns dicts of problem name -> its training batches, and problem name -> the report of its examples.

    Args:
      problems: the problems of `experiment`, or problems that read their prepared records.
    """
    tokenizer, streams, reports = Tokenizer(experiment.vocabulary), {}, {}
    for problem in problems:
        report = reports[problem.name] = Report(problem.name)
        streams[problem.name] = make_batches(
            problem, load_examples(problem, "train", report), tokenizer, experiment.audio, experiment.batches, report,
            training=True,
        )  # fmt: skip
    return streams, reports


def train_step(network: MultiModel, problems: Sequence[Problem], signatures: dict, **compilation: Any) -> TrainStep:
    """Returns a step like that of `loop.train`, with its optimizer, on one device. For `compilation`, see `TrainStep`."""
    settings, objective = Optimizer(), Objective()
    optimizer = settings.adam(1e-3)
    optimizer.build(network.trainable_variables)
    return TrainStep(
        tf.distribute.get_strategy(), network, optimizer, problems, {problem.name: 1.0 for problem in problems},
        settings.clip_norm, objective.label_smoothing, objective.balance_weight, signatures, **compilation,
    )  # fmt: skip


def _experiment(experiment: Experiment, steps: int, peak: float) -> dict[str, dict[str, float]]:
    start = time.perf_counter()
    keras.utils.set_random_seed(0)
    (streams, _), names = open_streams(experiment.problems, experiment), [p.name for p in experiment.problems]
    network = experiment.build_model(experiment.describe())
    step = train_step(network, experiment.problems, {name: stream.element_spec for name, stream in streams.items()})
    iterators = {name: iter(stream) for name, stream in streams.items()}
    wait(step({name: next(iterator) for name, iterator in iterators.items()}))
    first = time.perf_counter() - start
    found, joint_flops, batch = {}, 0.0, {}
    for problem in experiment.problems:
        batches = [next(iterators[problem.name]) for _ in range(steps + 1)]
        flops = [_flops(network, problem, experiment.batches, one) for one in batches]
        times = _times([lambda one=one, name=problem.name: step({name: one}) for one in batches])
        found[problem.name] = {
            "milliseconds": 1e3 * float(np.median(times)),
            "target_tokens_per_second": sum(_target_tokens(one) for one in batches[1:]) / sum(times),
            "gflop": float(np.mean(flops[1:])) / 1e9,
            "share_of_peak": sum(flops[1:]) / sum(times) / peak,
        }
        joint_flops += float(np.mean(flops[1:]))
        batch[problem.name] = batches[-1]
    waits, times = [], []
    for _ in range(steps):
        begin = time.perf_counter()
        new = {name: next(iterators[name]) for name in names}
        ready = time.perf_counter()
        wait(step(new))
        waits.append(ready - begin)
        times.append(time.perf_counter() - begin)
    joint = float(np.median(times))
    found["joint step"] = {
        "milliseconds": 1e3 * joint,
        "gflop": joint_flops / 1e9,
        "share_of_peak": joint_flops / joint / peak,
        "first_step_seconds": first,
        "peak_memory_mib": _peak_memory_mib(),
    }
    # The parts are those of one joint batch, each run by itself for all problems; "whole" is the step on the same batch.
    whole, parts = _parts_of_step(network, step, experiment, batch)
    shares = {f"{part}_share": part_seconds / whole for part, part_seconds in parts.items()}
    found["joint step by part"] = shares | {"input_wait_share": float(np.median(waits)) / joint}
    found["body"] = _body(network, experiment, batch, parts, peak)
    return found


def _times(calls) -> list[float]:
    """Returns the seconds of each call except the first, which may include tracing."""
    found = []
    for call in calls:
        start = time.perf_counter()
        wait(call())
        found.append(time.perf_counter() - start)
    return found[1:]


def _target_tokens(batch) -> int:
    return batch["targets"].shape[0] * (batch["targets"].shape[1] if batch["targets"].shape.rank > 1 else 1)


def _cost(network, problem, batches, batch) -> dict[str, float]:
    """Returns a dict of part -> FLOPs of one training step on a batch (three forward passes)."""
    texts = [batch[name] for name in ("inputs", "targets") if batch[name].dtype == tf.int32 and batch[name].shape.rank == 2]
    lengths = [text.shape[1] for text in texts]
    tokens = sum(lengths) / len(lengths) if lengths else 1
    frames = batch["inputs"].shape[1]
    cost = inspection.example_cost(network, problem, batches, inspection.Lengths(tokens, frames))
    return {part: 3.0 * flops * batch["targets"].shape[0] for part, flops in cost.flops.items()}


def _flops(network, problem, batches, batch) -> float:
    return sum(_cost(network, problem, batches, batch).values())


def _parts_of_step(network, step, experiment, batch) -> tuple[float, dict[str, float]]:
    """Returns the seconds of a joint step on one batch, and of its parts, each run by itself for all problems.

    As in the step, as many problems are computed at the same time as share the cores.
    """
    calls: dict[str, list[Callable]] = {}
    passes = _Passes(network)
    for problem in experiment.problems:
        for part, call in passes.of(problem, batch[problem.name]).items():
            call()  # traced here, because two threads cannot trace faster than one
            calls.setdefault(part, []).append(call)
    with ThreadPoolExecutor(problems_at_once()) as pool:

        def together(of_problems):
            for _ in pool.map(lambda call: call(), of_problems):
                pass  # the gradients of a problem are freed before those of all others are there

        timed = [functools.partial(together, of_problems) for of_problems in calls.values()]
        update = _update(network, step, experiment, batch)
        whole, optimizer, *parts = seconds(lambda: step(batch), update, *timed, repeats=3)
    return whole, {"optimizer": optimizer, **dict(zip(calls, parts))}


def _update(network, step, experiment, batch):
    """Returns the optimizer's part of a joint step: summing the gradients of the problems, clipping and Adam."""
    gradients = []
    for problem in experiment.problems:
        gradients.append(step.functions[problem.name](*step.arguments(problem.name, batch[problem.name]))[0])
    finite = tf.ones([len(gradients)])
    return lambda: step.update(gradients, finite)


def _mixed(mixture, x, padding):
    return mixture(x, padding, training=True)[0]


class _Passes:
    """The forward and backward passes of the parts of a model, compiled once for inputs of any length."""

    def __init__(self, network):
        self._network, self._compiled = network, {}

    def of(self, problem, batch) -> dict:
        """Returns a dict of part -> a call with the shapes of a batch of the problem in this part."""
        network, classes = self._network, problem.targets == "class"
        padding = None if problem.inputs == "image" else batch["input_padding"]
        encoded, source_padding, grid, _ = network.encode(problem.inputs, batch["inputs"], padding, problem.command)
        target_padding = source_padding if classes else batch["target_padding"]
        source = tf.random.normal(encoded.shape)
        target = tf.random.normal([*target_padding.shape, network.depth])
        body, mask = tf.TensorSpec([None, None, network.depth]), tf.TensorSpec([None, None], tf.bool)
        nets = {"language": network.language_in, "image": network.image_in, "audio": network.audio_in}
        net = nets[problem.inputs]
        made: dict[str, tuple[Any, Callable, tuple]]
        if problem.inputs == "language":
            made = {"modality_in": (net, lambda x: net(x), (batch["inputs"],))}
        elif problem.inputs == "image":
            made = {"modality_in": (net, lambda x: net(x)[0], (batch["inputs"],))}
        else:
            made = {"modality_in": (net, lambda x, padding: net(x, padding)[0], (batch["inputs"], padding))}
        encoder, mixer, decoder = network.encoder, network.mixer, network.decoder
        causal = not classes
        run_encoder = lambda x, padding: encoder(x, padding, training=True)[0]  # noqa: E731
        run_mixer = lambda *x: mixer(*x, causal=causal, training=True)  # noqa: E731
        run_decoder = lambda *x: decoder(*x, causal=causal, training=True)[0]  # noqa: E731
        both = source, source_padding, target, target_padding
        made["encoder"] = encoder, run_encoder, (source, source_padding)
        decoded = not classes or network.classes_from == "decoder"
        if decoded:
            made["mixer"], made["decoder"] = (mixer, run_mixer, both), (decoder, run_decoder, both)
        for name, side, x, x_padding in (
            ("encoder", encoder, source, source_padding), ("decoder", decoder, target, target_padding)
        ):  # fmt: skip
            if side.mixture and (decoded or name == "encoder"):
                run = functools.partial(_mixed, side.mixture)
                made[f"{name}_mixture"] = side.mixture, run, (x, x_padding)
        if classes:
            out = network.categorical_out
            run_out = lambda x, padding: out(x, padding, grid=grid, labels=problem.name, training=True)  # noqa: E731
            made["modality_out"] = out, run_out, (target, target_padding)
        else:
            made["modality_out"] = network.language_out, lambda x: network.language_out(x), (target,)
        return {part: self._call(problem, part, causal, *one, {tf.float32: body, tf.bool: mask}) for part, one in made.items()}

    def _call(self, problem, part, causal, layer, run, arguments, specs):
        key = (part, causal, problem.inputs if part == "modality_in" else "")
        if key not in self._compiled:
            signature = None
            if part not in ("modality_in", "modality_out"):
                signature = [specs[argument.dtype] for argument in arguments]
            self._compiled[key] = both_passes(run, layer.trainable_variables, signature)
        function = self._compiled[key]
        return lambda: function(*arguments)


def _body(network, experiment, batch, parts, peak: float) -> dict[str, float]:
    """Compares encoder, mixer and decoder of a joint step with the peak, and with that of the shape of their products."""
    flops, positions = 0.0, []
    for problem in experiment.problems:
        cost = _cost(network, problem, experiment.batches, batch[problem.name])
        flops += sum(cost[part] for part in ("encoder", "mixer", "decoder"))
        positions.append(_target_tokens(batch[problem.name]))
    taken = sum(parts[part] for part in ("encoder", "mixer", "decoder"))
    rows = int(np.median(positions))
    shape_peak = matmul_peak("float32", rows, network.depth, network.depth)
    return {
        "gflop": flops / 1e9,
        "share_of_peak": flops / taken / peak,
        "share_of_shape_peak": flops / taken / shape_peak,
        f"gflops_of_a_product_{rows}x{network.depth}x{network.depth}": shape_peak / 1e9,
    }


def translation_batch(translation: Translation, batch_size: int) -> dict[str, tf.Tensor]:
    shape = (batch_size, translation.tokens)
    ids = [tf.random.uniform(shape, 3, translation.vocabulary_size, tf.int32) for _ in range(2)]
    nothing = tf.zeros(shape, tf.bool)
    return {"inputs": ids[0], "input_padding": nothing, "targets": ids[1], "target_padding": nothing}


def translation_step(
    sized: Callable[..., MultiModel], translation: Translation, depth: int
) -> tuple[MultiModel, Problem, TrainStep]:
    """Returns a model for one translation problem, the problem, and a training step."""
    keras.utils.set_random_seed(0)
    problem = Problem("translation", NoExamples(), inputs="language", targets="text", command="To-German")
    network = sized(vocabulary_size=translation.vocabulary_size, commands=("To-German",), inputs=("language",), depth=depth)
    network.build()
    signature = {name: tf.TensorSpec([None, None], x.dtype) for name, x in translation_batch(translation, 1).items()}
    return network, problem, train_step(network, [problem], {"translation": signature})


def _translation(sized, translation: Translation, depth: int, batch_size: int, steps: int, peak: float) -> dict[str, float]:
    start = time.perf_counter()
    batch = translation_batch(translation, batch_size)
    network, problem, step = translation_step(sized, translation, depth)
    wait(step({"translation": batch}))
    first = time.perf_counter() - start
    experiment = Experiment([problem], "")
    whole, parts = _parts_of_step(network, step, experiment, {"translation": batch})
    times = _times([lambda: step({"translation": batch})] * (steps + 1))
    flops = _flops(network, problem, None, batch)
    body = _body(network, experiment, {"translation": batch}, parts, peak)
    return {
        "target_tokens_per_second": batch_size * translation.tokens / float(np.median(times)),
        "gflop": flops / 1e9,
        "share_of_peak": flops / float(np.median(times)) / peak,
        "first_step_seconds": first,
        "body_share_of_peak": body["share_of_peak"],
        "body_share_of_shape_peak": body["share_of_shape_peak"],
    } | {f"{part}_share": value / whole for part, value in parts.items()}
