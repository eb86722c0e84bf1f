"""One joint training step: a batch of every problem in it, one update (paper, 3, in its synchronous form)."""

from collections.abc import Sequence

import tensorflow as tf

from t2t_mm.problems.problem import Problem
from t2t_mm.training.losses import problem_loss


def make_train_step(
    strategy: tf.distribute.Strategy,
    model,
    optimizer,
    problems: Sequence[Problem],
    weights: dict[str, float],
    clip_norm: float,
    label_smoothing: float,
    balance_weight: float,
    signature=None,
):
    """A compiled function: problem name -> batch (per replica) in, figures out, after one Adam update.

    The gradients of the problems' weighted losses are summed, averaged over the replicas and clipped together to
    `clip_norm`. Each replica takes an equal share of every global batch.

    Args:
      weights: problem name -> weight of its loss.
      signature: shapes of the batches (a dict of element specs) for one trace only; None retraces as needed.

    Returns: the function; its result is a dict problem -> {"loss", "accuracy", …} of scalars, and "gradient_norm".
    """
    replicas = strategy.num_replicas_in_sync
    variables = model.trainable_variables

    def replica_step(batches):
        totals, figures = None, {}
        for problem in problems:
            with tf.GradientTape() as tape:
                loss, figures[problem.name] = problem_loss(
                    model, problem, batches[problem.name], label_smoothing, balance_weight
                )
                loss = loss * weights[problem.name]
            values = [v.value for v in variables]
            gradients = [
                tf.zeros_like(value) if gradient is None else tf.convert_to_tensor(gradient)
                for gradient, value in zip(tape.gradient(loss, values), values)
            ]
            totals = gradients if totals is None else [a + b for a, b in zip(totals, gradients)]
        context = tf.distribute.get_replica_context()
        totals = context.all_reduce(tf.distribute.ReduceOp.MEAN, totals)
        totals, norm = tf.clip_by_global_norm(totals, clip_norm)
        # Keras's optimizer sums gradients over the replicas once more; these are averaged already, because the
        # norm to clip by is that of the whole batch's gradient.
        optimizer.apply_gradients([(gradient / replicas, v) for gradient, v in zip(totals, variables)])
        return figures, norm

    def step(batches):
        figures, norm = strategy.run(replica_step, args=(batches,))
        mean = lambda value: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)  # noqa: E731
        return tf.nest.map_structure(mean, figures), mean(norm)

    if signature is not None:
        return tf.function(step, input_signature=[signature])
    return tf.function(step, reduce_retracing=True)


def split_batch(strategy: tf.distribute.Strategy, batches):
    """A dict of global batches -> the same with every tensor cut into the replicas' equal shares."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return batches

    def share(context):
        index = context.replica_id_in_sync_group

        def cut(x):
            size = x.shape[0] // replicas
            return x[index * size : (index + 1) * size]

        return tf.nest.map_structure(cut, batches)

    return strategy.experimental_distribute_values_from_function(share)
