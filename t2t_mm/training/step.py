"""One training step: a batch of each of its problems, and one update (paper, 3, in synchronous form)."""

import concurrent.futures
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from t2t_mm.layers.randomness import Draws, of_replica
from t2t_mm.losses import has_contrast, problem_loss
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.traces import trace_once
from t2t_mm.training.loss_scale import LossScale
from t2t_mm.training.strategy import problems_at_once


class TrainStep:
    """A callable that takes a batch of each problem in the step, makes one Adam update and returns losses and metrics.

    The gradients of the weighted losses of the problems in the step (all or some of the problems) are summed, averaged over
    the replicas and clipped to `clip_norm`, either together or, with `clip_each`, for each problem separately. Each replica
    processes its share of every global batch. If any loss or gradient is not finite, nothing is updated.

    Args:
      strategy: the tf.distribute strategy.
      model: a built model.
      optimizer: with several replicas, it must not sum the gradients over the replicas (see `optimizer.OfWholeBatch`).
      problems: all problems of the run.
      weights: problem name -> weight of its loss.
      clip_norm, clip_each: see `settings.Optimizer`.
      label_smoothing, balance_weight, contrast_weight: see `settings.Objective`.
      signatures: problem name -> element spec of its batches.
      static_shapes: whether each kind of problem is traced for each batch shape separately, instead of once for all.
      jit_compile: whether to compile with XLA, with one replica. On a TPU, XLA is always used.
      seed: the seed of all random numbers of a step, together with the number of the update.
      at_once: number of problems whose gradients are computed at the same time, with one replica. Because the gradient of a
        problem is a chain of small operations, one of two cores would otherwise wait half of the time. Default:
        `strategy.problems_at_once`.
      accumulate: number of micro-batches of an update. If it is more than 1, the step takes a list of this many dicts of
        batches, and averages their gradients and metrics.
      loss_scale: the scale of the losses, if the model computes in float16. The gradients of each batch are divided by it
        before anything else is done with them, and every step is counted in it.

    Attributes:
      functions: problem name -> its compiled gradient function, for counting traces and for measurements.
      update: the compiled function of one update.
      cosines: (problem, problem) -> cosine between their gradients, of the last step that measured them.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: MultiModel,
        optimizer: keras.optimizers.Optimizer,
        problems: Sequence[Problem],
        weights: dict[str, float],
        clip_norm: float,
        label_smoothing: float,
        balance_weight: float,
        signatures: dict,
        static_shapes: bool = False,
        jit_compile: bool = False,
        seed: int = 0,
        at_once: int | None = None,
        accumulate: int = 1,
        clip_each: bool = False,
        loss_scale: LossScale | None = None,
        contrast_weight: float = 0.0,
    ):
        trace_once()
        self._strategy, self._model, self._optimizer = strategy, model, optimizer
        self._problems = {problem.name: problem for problem in problems}
        self._numbers = {problem.name: number for number, problem in enumerate(problems)}
        self._weights, self._clip_norm, self._seed = weights, clip_norm, seed
        self._accumulate, self._clip_each, self._loss_scale = accumulate, clip_each, loss_scale
        # Taken once: everything below refers to a weight by its place in this list.
        self._variables, self._replicas = model.trainable_variables, strategy.num_replicas_in_sync
        # With one replica and no micro-batches, one call computes the whole gradient of a problem. It can clip the gradient
        # while the other problems are computed. Clipping after all of them would take a tenth of the step.
        at_source = clip_each and self._replicas == 1 and accumulate == 1
        self._clip_summed = clip_each and not at_source
        self.functions = _gradient_functions(
            strategy, model, problems, (label_smoothing, balance_weight, contrast_weight), signatures, static_shapes,
            jit_compile, clip_norm if at_source else None, loss_scale is not None,
        )  # fmt: skip
        # Threads of Python are enough, because TensorFlow computes outside Python's lock.
        at_once = problems_at_once() if at_once is None else at_once
        # Several replicas must exchange their gradients in the same order.
        parallel = at_once > 1 and self._replicas == 1
        self._workers = concurrent.futures.ThreadPoolExecutor(at_once) if parallel else None
        self._traced: set[str] = set()
        # None instead of False leaves the decision to the device, because a TPU always compiles.
        self.update = tf.function(self._update, jit_compile=jit_compile or None, autograph=False)
        self._add = tf.function(self._added, jit_compile=jit_compile or None, autograph=False)
        self._compare = tf.function(_cosines, autograph=False)
        self.cosines: dict[tuple[str, str], float] = {}

    def __call__(self, batches: Any, cosines: bool = False) -> tuple[dict[str, dict], tf.Tensor]:
        """Makes one update.

        Args:
          batches: problem name -> batch, or with micro-batches a list of such dicts.
          cosines: whether to measure the cosines between the gradients of the problems, with one replica.

        Returns:
          A dict of problem name -> {"loss", "accuracy", …, "finite"}, where "finite" is 1 if the loss and the gradients of
          the problem are finite; and the global norm of the gradient.
        """
        if self._accumulate == 1:
            found, figures = self._gradients(batches)
        else:
            sums: dict[str, Any] = {}
            parts = []
            for micro, part in enumerate(batches):
                more, shown = self._gradients(part, micro)
                for name, of_problem in zip(part, more):
                    sums[name] = self._add([sums[name], of_problem]) if name in sums else of_problem
                parts.append(shown)
            # In a fixed order, because each other one would be traced anew.
            names = [name for name in self._numbers if name in sums]
            means = _means(parts)
            found, figures = [sums[name] for name in names], {name: means[name] for name in names}
        if cosines:
            pairs = itertools.combinations(figures, 2)
            self.cosines = dict(zip(pairs, self._compare(found).numpy().tolist()))
        finite = tf.stack([values["finite"] for values in figures.values()])
        norm = self.update(found, finite)
        # The norm has to be looked at, too: finite gradients of the problems can still have an infinite sum.
        if self._loss_scale is not None:
            self._loss_scale.count(math.isfinite(float(norm)) and bool(tf.reduce_all(tf.equal(finite, 1.0))))
        return figures, norm

    def traces(self) -> int:
        """Returns how often a function of the step has been traced so far."""
        functions = {*self.functions.values(), self.update, self._add}  # problems of one kind share theirs
        return sum(function.experimental_get_tracing_count() for function in functions)

    def arguments(self, name: str, batch: Any, micro: int = 0) -> tuple:
        """Returns the arguments of a problem's gradient function for a micro-batch of the next update."""
        # The numbers of a step follow from the number of the update, so a resumed run draws what the unbroken one would have
        # drawn, and a checkpoint needs no state for it.
        update = int(self._optimizer.iterations.numpy())
        # Different for each pair of problem and micro-batch of the whole run.
        draw = (update * self._accumulate + micro) * len(self._problems) + self._numbers[name]
        command = self._model.command_id(self._problems[name].command)
        scale = () if self._loss_scale is None else (self._loss_scale.scale.read_value(),)
        # Tensors, because each other value of a Python number would be traced anew.
        return batch, tf.constant(command), tf.constant(self._weights[name]), tf.constant([self._seed, draw]), *scale

    def _gradients(self, batches, micro=0):
        # All arguments are computed before the first call, so that all problems see the same number of the update.
        calls = {
            name: functools.partial(self.functions[name], *self.arguments(name, batch, micro))
            for name, batch in batches.items()
        }
        chains = _chains([self._problems[name] for name in calls])
        in_order = lambda chain: {name: calls[name]() for name in chain}  # noqa: E731
        # Two threads cannot trace faster than one, so the first calls of the functions run one after the other.
        parallel = self._workers is not None and self._traced.issuperset(calls)
        # `map` gives the results in the order of the chains, whichever is done first.
        results = self._workers.map(in_order, chains) if parallel else map(in_order, chains)
        results = {name: result for chain in results for name, result in chain.items()}
        self._traced.update(calls)
        return [results[name][0] for name in batches], {name: results[name][1] for name in batches}

    def _update(self, found, finite):
        """Makes one update with the gradients of the problems if all are finite, and returns their global norm."""
        totals, norms = self._strategy.run(self._total, args=(found,))
        # The norms of the replicas are equal; this makes one number of them.
        norm = self._strategy.reduce(tf.distribute.ReduceOp.MEAN, norms, axis=None) if self._replicas > 1 else norms
        # Decided in the graph and before the update: Adam would keep a NaN in its moments for ever.
        all_finite = tf.logical_and(tf.math.is_finite(norm), tf.reduce_all(tf.equal(finite, 1.0)))

        def applied():
            self._strategy.run(self._apply, args=(totals,))
            return True

        tf.cond(all_finite, applied, lambda: False)
        return norm

    def _added(self, found):
        return self._strategy.run(_summed, args=(found,))

    def _total(self, found):
        if self._clip_summed:
            found = [self._clipped(of_problem) for of_problem in found]
        totals = _summed(found)
        # A step may leave out problems, and with them variables. Zeros keep the list complete, for which the optimizer was
        # built.
        totals = [totals[i] if i in totals else tf.zeros_like(v.value) for i, v in enumerate(self._variables)]
        # The parts have already been clipped and averaged, so their sum is used as it is.
        if self._clip_each:
            return totals, tf.linalg.global_norm(totals)
        return tf.clip_by_global_norm(self._averaged(totals), self._clip_norm)

    def _clipped(self, of_problem):
        # Clipped after averaging: the norm that counts is that of the whole batch and not that of the share of one replica.
        gradients = self._averaged([tf.identity(gradient) for gradient in of_problem.values()])
        return dict(zip(of_problem, tf.clip_by_global_norm(gradients, self._clip_norm)[0]))

    def _averaged(self, gradients):
        """Returns the means of tensors over the micro-batches and the replicas."""
        # The loss of each micro-batch is a mean of its own, so their gradients are averaged, too, and not summed.
        if self._accumulate > 1:
            gradients = [gradient / self._accumulate for gradient in gradients]
        if self._replicas > 1:
            context = tf.distribute.get_replica_context()
            # The mean, because the loss of a replica is already divided by the mean number of tokens (see `losses`).
            gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        return gradients

    def _apply(self, totals):
        self._optimizer.apply_gradients(zip(totals, self._variables))


def _summed(found: Sequence[dict]) -> dict:
    """Returns a dict of variable index -> sum of its gradients. The given dicts do not contain unused variables."""
    parts: dict[int, list] = {}
    for of_problem in found:
        for index, gradient in of_problem.items():
            parts.setdefault(index, []).append(gradient)
    # The arguments of a graph are not placed on a device, but tensors to exchange must be. So even a single gradient is
    # passed through an operation.
    return {index: tf.add_n(some) if len(some) > 1 else tf.identity(some[0]) for index, some in parts.items()}


def _cosines(found: Sequence[dict]) -> tf.Tensor:
    """Returns the cosine between the gradients of every pair of problems on the variables that both use: [pairs].

    The pairs are in the order of `itertools.combinations`. A pair without common variables has the cosine 0.
    """
    users: dict[int, tuple[int, ...]] = {}
    for number, of_problem in enumerate(found):
        for index in of_problem:
            users[index] = (*users.get(index, ()), number)
    # Variables with the same users form one vector, because an operation for each variable and pair would be too many.
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, who in users.items():
        # Most variables of the body have all problems as users, so there are few groups.
        groups.setdefault(who, []).append(index)
    vectors = {
        (who, number): tf.concat([tf.reshape(found[number][index], [-1]) for index in indices], axis=0)
        for who, indices in groups.items()
        for number in who
    }
    cosines = []
    for a, b in itertools.combinations(range(len(found)), 2):
        common = [who for who in groups if a in who and b in who]
        # The norms are those on the common variables, as the two gradients are compared only where both exist.
        dot, left, right = (
            tf.add_n([tf.tensordot(vectors[who, x], vectors[who, y], 1) for who in common]) if common else tf.zeros([])
            for x, y in ((a, b), (a, a), (b, b))
        )
        cosines.append(tf.math.divide_no_nan(dot, tf.sqrt(left * right)))
    return tf.stack(cosines) if cosines else tf.zeros([0])


def _means(parts: Sequence[dict]) -> dict:
    """Returns a dict of problem -> metrics, averaged over its micro-batches. "finite" is 1 only if it is 1 in all."""
    figures: dict = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        found = [part[name] for part in parts if name in part]
        figures[name] = {key: tf.reduce_mean(tf.stack([one[key] for one in found]), axis=0) for key in found[0]}
        # Not the mean, so that it stays 0 or 1.
        figures[name]["finite"] = tf.reduce_min(tf.stack([one["finite"] for one in found]))
    return figures


def _chains(problems: Sequence[Problem]) -> list[list[str]]:
    """Groups the names of problems so that the problems of a group are computed one after the other.

    All classification problems share the moving statistics of batch norm, which must always be updated in the same order.
    """
    classes = [problem.name for problem in problems if problem.targets == "class"]
    return [chain for chain in (classes, *([p.name] for p in problems if p.targets != "class")) if chain]


def _gradient_functions(
    strategy, model, problems, objective, signatures, static_shapes, jit_compile, clip_norm, scaled
) -> dict:
    """Returns a dict of problem name -> gradient function.

    A gradient function takes a batch, the id of the command, the weight of the loss and a seed [2], and returns a dict of
    variable index -> gradient, without variables that the problem does not use, and the metrics. The gradients are clipped
    to `clip_norm`, unless it is None. If `scaled` is set, the function also takes a scale, by which the loss is multiplied
    and the gradients are divided.

    Problems with the same modalities only differ in their command, so they share one traced function: eight problems need
    four traces, and five with a contrast, which texts have and trees do not.
    """
    label_smoothing, balance_weight, contrast_weight = objective
    variables, replicas = model.trainable_variables, strategy.num_replicas_in_sync

    def mean(x):
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, x) if replicas > 1 else x

    def replica():
        return of_replica(tf.distribute.get_replica_context().replica_id_in_sync_group if replicas > 1 else None)

    def gradients_of(problem, batch, command, weight, seed, scale=None):
        # All random numbers of the pass follow from the seed, and those of the replicas differ.
        with replica(), Draws(seed), tf.GradientTape() as tape:
            loss, figures = problem_loss(
                model, problem, batch, label_smoothing, balance_weight, command=command, mean=mean,
                contrast_weight=contrast_weight,
            )  # fmt: skip
            loss = loss * weight if scale is None else loss * weight * scale
        # The tape watches TensorFlow's variables, which Keras wraps.
        found = tape.gradient(loss, [v.value for v in variables])
        # Gradients of embeddings are sparse (IndexedSlices); clipping and Adam's kernel need tensors. None means that the
        # problem does not use the variable.
        found = {i: tf.convert_to_tensor(g) for i, g in enumerate(found) if g is not None}
        # Before the norm, so that clipping does not depend on the scale.
        if scale is not None:
            found = {i: gradient / scale for i, gradient in found.items()}
        norm = tf.linalg.global_norm(list(found.values()))
        finite = tf.math.is_finite([loss, norm])
        if clip_norm is not None:
            # As `tf.clip_by_global_norm` does, with the norm that is known already.
            factor = clip_norm / tf.maximum(norm, clip_norm)
            found = {i: gradient * factor for i, gradient in found.items()}
        return found, figures | {"finite": tf.cast(tf.reduce_all(finite), tf.float32)}

    def on_replicas(problem, *arguments):
        found, figures = strategy.run(functools.partial(gradients_of, problem), args=arguments)
        reduce = lambda value: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)  # noqa: E731
        return found, {name: reduce(value) for name, value in figures.items()}

    # The function of the first problem of a kind serves all of them: what differs, the command and the weight, is an argument.
    by_kind, by_name = {}, {}
    for problem in problems:
        kind = problem.kind, has_contrast(problem.targets, contrast_weight)
        if kind not in by_kind:
            if replicas > 1:  # the shares of a batch have no signature, so tracing generalises at the second shape
                function = functools.partial(on_replicas, problem)
                by_kind[kind] = tf.function(function, reduce_retracing=not static_shapes, autograph=False)
            else:
                number = tf.TensorSpec([], tf.float32)
                others = tf.TensorSpec([], tf.int32), number, tf.TensorSpec([2], tf.int32), *([number] if scaled else [])
                by_kind[kind] = tf.function(
                    functools.partial(gradients_of, problem),
                    input_signature=None if static_shapes else [signatures[problem.name], *others],
                    jit_compile=jit_compile or None,
                    autograph=False,
                )
        by_name[problem.name] = by_kind[kind]
    return by_name


def split_batch(strategy: tf.distribute.Strategy, batches: Any) -> Any:
    """Splits every tensor of a dict of global batches into equal shares for the replicas."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return batches

    def share(context):
        index = context.replica_id_in_sync_group

        def cut(x):
            # Without a remainder: batch sizes for training are multiples of the number of replicas (see `buckets`).
            size = x.shape[0] // replicas
            return x[index * size : (index + 1) * size]

        return tf.nest.map_structure(cut, batches)

    return strategy.experimental_distribute_values_from_function(share)
