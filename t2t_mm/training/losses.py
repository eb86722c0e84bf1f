"""What a training step minimises, in keras.ops."""

from keras import ops


def cross_entropy(logits, targets, label_smoothing: float):
    """Cross-entropy with the target's probability 1 − s and s spread over all classes, and −ln p without smoothing.

    logits [..., V] float32, targets [...] ids -> smoothed, plain; both [...], nats.
    """
    log_p = ops.log_softmax(logits, axis=-1)
    plain = -ops.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return (1.0 - label_smoothing) * plain - label_smoothing * ops.mean(log_p, axis=-1), plain


def forward(model, problem, batch, training: bool):
    """Teacher-forced logits of a batch: [B, T, V] or [B, classes], and both balances (None without mixtures)."""
    padding = None if problem.inputs == "image" else batch["input_padding"]
    encoded, padding, grid, encoder = model.encode(problem.inputs, batch["inputs"], padding, training=training)
    if problem.targets == "class":
        logits, decoder = model.decode_classes(
            encoded, padding, grid, problem.command, problem.name, training=training
        )
    else:
        logits, decoder = model.decode_text(
            encoded, padding, problem.command, batch["targets"], batch["target_padding"], training=training
        )
    return logits, (encoder, decoder)


def problem_loss(model, problem, batch, label_smoothing: float, balance_weight: float, training: bool = True):
    """Loss of one problem's batch and its figures.

    Returns: the loss to minimise (smoothed, per token, with the balancing losses) and a dict of scalars:
    "loss" (plain nats per token), "accuracy", "importance_loss", "load_loss".
    """
    logits, balances = forward(model, problem, batch, training)
    smoothed, plain = cross_entropy(logits, batch["targets"], label_smoothing)
    right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), batch["targets"]), "float32")
    if problem.targets == "class":
        weights = ops.ones_like(plain)
    else:
        weights = ops.cast(ops.logical_not(batch["target_padding"]), "float32")
    count = ops.sum(weights)
    figures = {"loss": ops.sum(plain * weights) / count, "accuracy": ops.sum(right * weights) / count}
    total = ops.sum(smoothed * weights) / count
    for name in ("importance_loss", "load_loss"):
        figures[name] = sum((balance[name] for balance in balances if balance), start=ops.zeros(()))
        total = total + balance_weight * figures[name]
    return total, figures
