"""What a training step minimises, in keras.ops."""

from collections.abc import Callable

from keras import ops

from t2t_mm.layers.moe import squared_variation
from t2t_mm.layers.tensors import Tensor
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy with the target's probability 1 − s and s spread over all classes, and −ln p without smoothing.

    logits [..., V] float32, targets [...] ids -> smoothed, plain; both [...], nats.
    """
    log_p = ops.log_softmax(logits, axis=-1)
    plain = -ops.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (1.0 - label_smoothing) * plain - label_smoothing * ops.mean(log_p, axis=-1), plain


def forward(
    model: MultiModel, problem: Problem, batch: dict, command: str | int | Tensor, training: bool
) -> tuple[Tensor, dict]:
    """Teacher-forced logits of a batch: [B, T, V] or [B, classes], and the balance vectors of each mixture by name."""
    padding = None if problem.inputs == "image" else batch["input_padding"]
    encoded, padding, grid, encoder = model.encode(problem.inputs, batch["inputs"], padding, training=training)
    if problem.targets == "class":
        logits, decoder = model.decode_classes(encoded, padding, grid, command, problem.name, training=training)
    else:
        logits, decoder = model.decode_text(
            encoded, padding, command, batch["targets"], batch["target_padding"], training=training
        )
    return logits, {name: part for name, part in (("encoder", encoder), ("decoder", decoder)) if part}


def token_weights(problem: Problem, batch: dict) -> Tensor:
    """1 for each target that counts, 0 for padding: [B, T], or [B] for classes."""
    if problem.targets == "class":
        return ops.cast(batch["index"] >= 0, "float32")  # rows that only fill the batch have index −1
    return ops.cast(ops.logical_not(batch["target_padding"]), "float32")


def problem_loss(
    model: MultiModel,
    problem: Problem,
    batch: dict,
    label_smoothing: float,
    balance_weight: float,
    training: bool = True,
    command: str | int | Tensor | None = None,
    mean: Callable = lambda x: x,
) -> tuple[Tensor, dict]:
    """Loss of one problem's batch and its figures.

    Args:
      command: the command token's name or id; None is the problem's own.
      mean: the mean of a tensor over all replicas. Means of what is returned are then exact for the whole batch,
        however its tokens are spread over them.

    Returns: the loss to minimise (smoothed, per token, with the balancing losses) and a dict: "loss" (plain nats per
    token), "accuracy", "importance_loss", "load_loss", and the vectors [E] "encoder/importance" and so on.
    """
    command = problem.command if command is None else command
    logits, balances = forward(model, problem, batch, command, training)
    smoothed, plain = cross_entropy(logits, batch["targets"], label_smoothing)
    right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), batch["targets"]), "float32")
    weights = token_weights(problem, batch)
    count = mean(ops.sum(weights))
    figures = {"loss": ops.sum(plain * weights) / count, "accuracy": ops.sum(right * weights) / count}
    total = ops.sum(smoothed * weights) / count
    for name in ("importance", "load"):
        figures[f"{name}_loss"] = ops.zeros(())
        for part, balance in balances.items():
            figures[f"{part}/{name}"] = vector = mean(balance[name])
            figures[f"{name}_loss"] += squared_variation(vector)
        total = total + balance_weight * figures[f"{name}_loss"]
    return total, figures
