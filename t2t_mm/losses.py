"""The losses that a training step minimises, in keras.ops."""

from collections.abc import Callable

from keras import ops

from t2t_mm.layers.moe import squared_variation
from t2t_mm.layers.source_mean import pooled
from t2t_mm.layers.tensors import Tensor
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Computes the cross-entropy with label smoothing, and without it.

    Smoothing gives the target the probability 1 − `label_smoothing`, and spreads `label_smoothing` over all classes.

    Args:
      logits: [..., V] float32.
      targets: [...] ids.

    Returns:
      The smoothed and the plain cross-entropy (−ln p), both [...] in nats.
    """
    # Szegedy et al. 2016 (arXiv 1512.00567), section 7: the smoothing is spread over all classes, including the target.
    # `log_softmax` stays finite where the logarithm of a softmax that has underflowed would not.
    log_p = ops.log_softmax(logits, axis=-1)
    plain = -ops.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    # Both are returned, because reported losses must not depend on the smoothing: the paper's tables are in plain nats.
    return (1.0 - label_smoothing) * plain - label_smoothing * ops.mean(log_p, axis=-1), plain


def contrast(one: Tensor, other: Tensor, counts: Tensor, temperature: float = 0.1) -> Tensor:
    """Computes how well the vectors of the two sides of each example are told apart from those of the other examples.

    This is the symmetric loss of Radford et al. 2021 (arXiv 2103.00020, section 2.3): the cross-entropy of finding the other
    side of an example in the batch by its cosine, in both directions.

    Args:
      one, other: [B, D] the vectors of the two sides.
      counts: [B] 1 for each example that counts, and 0 for rows that only fill the batch.
      temperature: the divisor of the cosines; 0.1 as in Pan et al. 2021.

    Returns:
      The mean over the examples that count, in nats.
    """
    one, other = (ops.normalize(ops.cast(side, "float32"), axis=-1) for side in (one, other))
    scores = ops.matmul(one, ops.transpose(other)) / temperature
    # A filling is no candidate either. The number is finite, because a row of only fillings would be NaN with −∞.
    absent = (1.0 - counts) * -1e9
    pairs = ops.diagonal(scores)
    there = ops.logsumexp(scores + absent[None, :], axis=1) - pairs
    back = ops.logsumexp(scores + absent[:, None], axis=0) - pairs
    return 0.5 * ops.sum((there + back) * counts) / ops.maximum(ops.sum(counts), 1.0)


def forward(
    model: MultiModel, problem: Problem, batch: dict, command: str | int | Tensor, training: bool
) -> tuple[Tensor, dict, tuple[Tensor, Tensor]]:
    """Computes the teacher-forced logits of a batch.

    Returns:
      The logits, [B, T, V] or [B, classes]; the balance vectors of each mixture: "encoder" or "decoder" -> vectors; and the
      encoded input [B, S, D] with its padding [B, S].
    """
    # The batch itself always contains a mask, because tf.data has no None.
    padding = problem.padding(batch["input_padding"])
    encoded, padding, grid, encoder = model.encode(problem.modality, batch["inputs"], padding, command, training=training)
    if problem.targets == "class":
        logits, decoder = model.decode_classes(encoded, padding, grid, command, problem.name, training=training)
    else:
        logits, decoder = model.decode_text(
            encoded, padding, command, batch["targets"], batch["target_padding"], training=training
        )
    balances = {name: part for name, part in (("encoder", encoder), ("decoder", decoder)) if part}
    return logits, balances, (encoded, padding)


def has_contrast(targets: str, contrast_weight: float) -> bool:
    """Says whether the loss of problems with these targets contains the contrast, see `problem_loss`."""
    # A linearised tree is no sentence, and the model never reads one.
    return contrast_weight > 0 and targets == "text"


def token_weights(problem: Problem, batch: dict) -> Tensor:
    """Returns 1 for each target that counts and 0 for padding: [B, T], or [B] for classes."""
    if problem.targets == "class":
        return ops.cast(batch["index"] >= 0, "float32")  # rows that only fill the batch have index −1
    # The end token counts as a target; only what follows it is padding.
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
    contrast_weight: float = 0.0,
) -> tuple[Tensor, dict]:
    """Computes the loss of a batch of one problem, and the measures that describe it.

    Args:
      label_smoothing: the probability that is spread over all classes, see `cross_entropy`.
      balance_weight: the weight of the two balancing losses (Shazeer et al. 2017, section 4).
      command: the name or id of the command token. Default: the problem's own.
      mean: a function that returns the mean of a tensor over all replicas. With it, the mean of the results over the
        replicas is exact for the whole batch, no matter how its tokens are distributed over them.
      contrast_weight: the weight of the contrast between the encoded input and the encoded target, see
        `settings.Objective`. Only problems whose targets are text have one. The candidates are those of one replica.

    Returns:
      The loss to minimise (smoothed, per token, with the balancing losses and the contrast) and a dict with "loss" (plain
      nats per token), "accuracy", "importance_loss", "load_loss", "contrast_loss" if there is one, and vectors [E] such as
      "encoder/importance".
    """
    command = problem.command if command is None else command
    logits, balances, encoded = forward(model, problem, batch, command, training)
    smoothed, plain = cross_entropy(logits, batch["targets"], label_smoothing)
    # Per token and teacher-forced, as in the paper's tables 2 and 3.
    right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), batch["targets"]), "float32")
    weights = token_weights(problem, batch)
    # Every replica divides by the mean number of tokens of all replicas, not by its own. The mean of these quotients over the
    # replicas is then the mean over all tokens of the whole batch, however they are distributed.
    count = mean(ops.sum(weights))
    figures = {"loss": ops.sum(plain * weights) / count, "accuracy": ops.sum(right * weights) / count}
    # Per token and not per sentence, so that a batch of long sentences does not count more than one of short ones.
    total = ops.sum(smoothed * weights) / count
    # Shazeer et al., section 4 and appendix A: the two losses of each mixture, with a common weight as in the 2017 release.
    for name in ("importance", "load"):
        # Also without mixtures, so that all steps report the same figures.
        figures[f"{name}_loss"] = ops.zeros(())
        for part, balance in balances.items():
            # The variation is not linear, so the vectors have to be averaged before it. The mean will do instead of the sum,
            # because the coefficient of variation does not depend on the scale.
            figures[f"{part}/{name}"] = vector = mean(balance[name])
            figures[f"{name}_loss"] += squared_variation(vector)
        total = total + balance_weight * figures[f"{name}_loss"]
    if has_contrast(problem.targets, contrast_weight):
        # The target is read like any text, with the same command, so that both sides are encoded for the same answer.
        others, padding, _, _ = model.encode("language", batch["targets"], batch["target_padding"], command, training=training)
        counts = ops.cast(ops.any(weights > 0, axis=1), "float32")
        figures["contrast_loss"] = contrast(pooled(*encoded), pooled(others, padding), counts)
        total = total + contrast_weight * figures["contrast_loss"]
    return total, figures


def measure(model: MultiModel, problem: Problem, batch: dict, command: str | int | Tensor) -> tuple[list[Tensor], dict]:
    """Measures every example of a batch with teacher forcing, without dropout.

    Returns:
      The nats (the sum of −ln p over the tokens), the number of tokens whose target is the most likely one, the number of those
      whose target is among the five most likely, and the number of tokens, each [B]; and the sums of the gates of each expert
      [E] by mixture.
    """
    logits, balances, _ = forward(model, problem, batch, command, training=False)
    targets = batch["targets"]
    # Without label smoothing, which only belongs to the objective.
    _, plain = cross_entropy(logits, targets, 0.0)
    right = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), targets)
    of_target = ops.take_along_axis(logits, targets[..., None], axis=-1)
    # Counting is cheaper than finding the five largest of thousands of logits. A target equal to the fifth counts as right.
    likelier = ops.sum(ops.cast(logits > of_target, "int32"), axis=-1)
    weights = token_weights(problem, batch)
    sums = [
        ops.sum(ops.reshape(ops.cast(x, "float32") * weights, [ops.shape(weights)[0], -1]), axis=1)
        for x in (plain, right, likelier < 5, ops.ones_like(plain))
    ]
    return sums, {name: part["importance"] for name, part in balances.items()}
