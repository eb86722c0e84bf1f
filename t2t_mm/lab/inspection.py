"""Estimates what a model costs from the shapes of its layers: parameters, memory, FLOPs, memory traffic and days.

Only matrix products and convolutions are counted; norms, activations and softmax add a few percent. A weight that is
used at p output positions costs `2 · size · p` operations in the forward pass (for a mixture of experts, only the
chosen experts count); attention costs `4 · T · (T + S) · D`; a training step costs three forward passes. Activation
memory is an estimate: every layer with weights keeps its input and its output, and attention keeps two weight maps per
head.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from t2t_mm.common.errors import RunError
from t2t_mm.input.buckets import BatchSettings, Measure, bucket_shapes
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.run.shapes import without_values

FLOAT = 4  # bytes of a float32


@dataclasses.dataclass(frozen=True)
class Hardware:
    """One accelerator chip.

    Attributes:
      peak: dense bfloat16 operations per second.
      memory: bytes of on-chip memory.
      bandwidth: bytes per second to and from that memory.
    """

    peak: float
    memory: float
    bandwidth: float


# Figures from the manufacturers' data sheets.
HARDWARE = {
    "nvidia-a100-80g": Hardware(312e12, 80e9, 2.0e12),
    "nvidia-h100-sxm": Hardware(989e12, 80e9, 3.35e12),
    "tpu-v4": Hardware(275e12, 32e9, 1.2e12),
    "tpu-v5e": Hardware(197e12, 16e9, 0.82e12),
    "tpu-v5p": Hardware(459e12, 95e9, 2.77e12),
}


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Lengths of a typical example.

    Attributes:
      tokens: tokens of a text, including its end token.
      frames: feature frames of an audio clip.
    """

    tokens: int = 32
    frames: int = 800


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of the forward pass of one example.

    Attributes:
      flops: operations of each part of the model.
      activations: number of floats kept for the backward pass.
    """

    flops: dict[str, float]
    activations: float


def build_without_weights(
    model: Callable[..., MultiModel],
    vocabulary_size: int,
    commands: Sequence[str],
    num_classes: dict[str, int],
    bins: int,
) -> MultiModel:
    """Builds a model whose variables have shapes but no values, so that it takes no memory.

    Args:
      model: MultiModel, or a configured constructor of it.
    """

    def build():
        built = model(vocabulary_size=vocabulary_size, commands=tuple(commands), num_classes=num_classes, frequency_bins=bins)
        built.build()
        return built

    return without_values(build)


def parameters(model: MultiModel) -> dict[str, int]:
    """Counts the parameters of each part of the model."""
    return {name: part.count_params() for name, part in model.parts().items()}


def _size(weight) -> int:
    return math.prod(weight.shape)


def _layer(layer, positions: float) -> tuple[float, float]:
    """Returns (operations, floats kept) for all weights of a layer and its sublayers, each used at every position."""
    flops = kept = 0.0
    for weight in layer.trainable_variables:
        if weight.name in ("depthwise", "pointwise", "kernel"):
            inputs = weight.shape[-2] if len(weight.shape) > 1 and weight.name != "depthwise" else _channels(weight)
            outputs = _channels(weight) if weight.name == "depthwise" else weight.shape[-1]
            flops += 2.0 * _size(weight) * positions
            kept += (inputs + outputs) * positions
        elif weight.name == "gamma":
            kept += weight.shape[0] * positions
    return flops, kept


def _channels(depthwise) -> int:  # [k, D] or [rows, columns, D, 1]
    return depthwise.shape[1] if len(depthwise.shape) == 2 else depthwise.shape[2]


def _mixture(part, tokens: float) -> tuple[float, float]:
    if part.mixture is None:
        return 0.0, 0.0
    layer = part.mixture.mixture
    depth, experts, chosen, hidden = layer.gate.shape[0], layer.num_experts, layer.chosen, layer.hidden
    # Two products each: the gate and its noise on all experts, then both layers of the chosen experts.
    flops = tokens * (4.0 * depth * experts + chosen * 4.0 * depth * hidden)
    return flops, tokens * (2 * depth + 4 * experts + chosen * 2 * (depth + hidden))


def _attention(block, source: float, target: float) -> tuple[float, float]:
    """Returns (operations, floats kept) of one attention block (paper, 2.2) over a target stream."""
    flops = kept = 0.0
    for layer in block.convs:
        more = _layer(layer, target)
        flops, kept = flops + more[0], kept + more[1]
    if not block.attend:
        return flops, kept
    if block.attend == "mean":  # both maps of a single vector
        for layer in (block.memory_value, block.source_output):
            more = _layer(layer, 1.0)
            flops, kept = flops + more[0], kept + more[1]
        return flops, kept + target * block.memory_value.kernel.shape[0]
    for name in ("self_query", "self_key", "self_value", "self_output", "source_query", "source_output"):
        more = _layer(getattr(block, name), target)
        flops, kept = flops + more[0], kept + more[1]
    for name in ("memory_key", "memory_value"):
        more = _layer(getattr(block, name), source)
        flops, kept = flops + more[0], kept + more[1]
    depth = block.self_query.kernel.shape[0]
    pairs = target * (target + source)
    return flops + 4.0 * pairs * depth, kept + 2.0 * block.heads * pairs


def _image(net, side: int) -> tuple[tuple[float, float], tuple[int, int]]:
    rows = math.ceil(side / 2)
    parts = [_layer(net.h1, rows * rows), _layer(net.h2, rows * rows)]
    for block in net.blocks:
        half = math.ceil(rows / 2)
        parts += [_layer(block.step1, rows * rows), _layer(block.step2, rows * rows), _layer(block.shortcut, half * half)]
        rows = half
    return _summed(parts), (rows, rows)


def _audio(net, frames: int, bins: int) -> tuple[tuple[float, float], tuple[int, int]]:
    parts, rows = [], frames
    for block in net.blocks:
        half = math.ceil(rows / 2)
        parts += [_layer(block.step1, rows * bins), _layer(block.step2, rows * bins), _layer(block.shortcut, half * bins)]
        rows = half
    columns = 1 if net.frequencies == "channels" else bins
    parts.append(_layer(net.to_depth, rows * columns))
    return _summed(parts), (rows, columns)


def _categorical(net, labels: str, grid: tuple[int, int]) -> tuple[float, float]:
    rows, columns = grid
    half = math.ceil(rows / 2) * math.ceil(columns / 2)
    whole = [_layer(layer, rows * columns) for layer in (net.h1, net.h2)]
    return _summed([*whole, *(_layer(layer, half) for layer in (net.skip, net.h4, net.h5)), _layer(net.heads[labels], 1)])


def _summed(parts) -> tuple[float, float]:
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def example_cost(model: MultiModel, problem: Problem, batches: BatchSettings | None, lengths: Lengths = Lengths()) -> Cost:
    """Returns the cost of the forward pass of one example of a problem, with the given lengths.

    Args:
      batches: only needed for the size of images.
    """
    found, grids = {}, []
    for modality in problem.modalities:
        grid = (lengths.tokens, 1)
        if modality.name == "image":
            assert batches is not None, "the size of images is needed"
            found["image_in"], grid = _image(model.image_in, batches.image_size)
        elif modality.name == "audio":
            found["audio_in"], grid = _audio(model.audio_in, lengths.frames, model.frequency_bins)
        elif modality.name != "language":
            raise RunError(f"{problem.name}: the cost of the net of the modality {modality.name} is unknown.")
        grids.append(grid)
    source = sum(rows * columns for rows, columns in grids)
    grid = grids[0] if len(grids) == 1 else (source, 1)
    target = source if problem.targets == "class" else lengths.tokens
    found["encoder"] = _summed([*(_layer(block, source) for block in model.encoder.blocks), _mixture(model.encoder, source)])
    if problem.targets == "class" and model.classes_from == "encoder":
        found["mixer"] = found["decoder"] = (0.0, 0.0)
    else:
        mixer = _attention(model.mixer.attention, source, target)
        found["mixer"] = _summed([mixer, *(_layer(block, target) for block in model.mixer.blocks)])
        decoder = [_attention(block, source, target) for block in model.decoder.blocks]
        found["decoder"] = _summed([*decoder, _mixture(model.decoder, target)])
    if problem.targets == "class":
        found["categorical_out"] = _categorical(model.categorical_out, problem.name, grid)
    else:
        flops, kept = _layer(model.language_out, target)
        # The log-softmax and its gradient are both kept.
        found["language_out"] = flops, kept + 2 * target * model.vocabulary_size
    return Cost({name: part[0] for name, part in found.items()}, _summed(found.values())[1])


def batch_size(problem: Problem, batches: BatchSettings, lengths: Lengths) -> int:
    """Returns the batch size of the bucket that holds a typical example."""
    of_input = {"language": lengths.tokens, "audio": lengths.frames}
    typical = [of_input.get(modality.name, 0) for modality in problem.modalities]
    length = max(Measure(problem, batches).lengths(typical, 0), default=0)
    shapes = bucket_shapes(problem, batches)
    return next((size for bound, size in shapes if bound >= length), shapes[-1][1])


def report(
    model: MultiModel, problems: Sequence[Problem], batches: BatchSettings, lengths: Lengths, hardware: str,
    replicas: int, steps: int, share: float,
) -> str:  # fmt: skip
    """Returns the complete estimate as text, including the arithmetic.

    Args:
      hardware: a key of HARDWARE.
      replicas: number of chips, each with a full copy of the model.
      steps: joint steps of the whole training.
      share: fraction of the chip's peak that training reaches, measured or assumed.
    """
    chip, counts = HARDWARE[hardware], parameters(model)
    total = sum(counts.values())
    lines = ["Parameters", *(f"  {name:16} {count:>15,}" for name, count in counts.items()), f"  {'all':16} {total:>15,}"]
    lines += ["", f"Forward pass of one example: texts of {lengths.tokens} tokens, audio of {lengths.frames} frames, "
              f"images of {batches.image_size} x {batches.image_size} pixels"]  # fmt: skip
    step = largest = 0.0
    for problem in problems:
        cost, size = example_cost(model, problem, batches, lengths), batch_size(problem, batches, lengths)
        forward, kept = sum(cost.flops.values()), cost.activations * size * FLOAT
        step, largest = step + 3 * forward * size, max(largest, kept)
        parts = ", ".join(f"{name} {flops / 1e9:.3g}" for name, flops in cost.flops.items())
        lines.append(f"  {problem.name:14} {forward / 1e9:8.3g} GFLOP ({parts}); batch {size}: activations {kept / 1e9:.3g} GB")
    lines.append(f"One joint step on one replica, 3 x forward x batch, all problems: {step / 1e12:.4g} TFLOP")
    weights = FLOAT * total
    need = 4 * weights + largest
    lines += [
        "", "Memory of one replica (all weights are replicated, including the experts)",
        f"  weights 4 B x {total:,} = {weights / 1e9:.3g} GB; Adam's two moments {2 * weights / 1e9:.3g} GB; summed "
        f"gradients {weights / 1e9:.3g} GB; largest activations {largest / 1e9:.3g} GB; total {need / 1e9:.3g} GB",
        f"  before they are summed, the gradients of {len(problems)} problems take up to another {len(problems)} x "
        f"{weights / 1e9:.3g} = {len(problems) * weights / 1e9:.3g} GB",
        f"  {hardware} has {chip.memory / 1e9:.3g} GB: the total {'fits' if need < chip.memory else 'does not fit'}",
        "", "Memory traffic of one step on each replica",
        f"  Adam reads 4 and writes 3 floats per weight: {7 * weights / 1e9:.3g} GB, which takes "
        f"{7 * weights / chip.bandwidth * 1e3:.3g} ms at {chip.bandwidth / 1e12:.3g} TB/s",
    ]  # fmt: skip
    if replicas > 1:
        ring = 2 * (replicas - 1) / replicas * weights
        lines.append(f"  ring all-reduce 2 (R - 1)/R x {weights / 1e9:.3g} GB, R = {replicas}: {ring / 1e9:.3g} GB")
    seconds = step / (chip.peak * share) + 7 * weights / chip.bandwidth
    lines += [
        "", f"Days on {replicas} x {hardware}, each replica with the batches above",
        f"  one step: {step / 1e12:.4g} TFLOP / ({chip.peak / 1e12:.4g} TFLOP/s x {share:.0%}) + Adam = {seconds:.3g} "
        "s, without the communication between replicas",
        f"  {steps:,} steps x {seconds:.3g} s / 86,400 = {steps * seconds / 86400:.3g} days",
    ]  # fmt: skip
    return "\n".join(lines)
