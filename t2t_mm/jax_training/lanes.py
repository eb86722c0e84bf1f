"""The computations of runs in lanes: gradients, updates and measurements, compiled with JAX for all lanes at once.

A lane is one place along the first axis of all weights. `jax.vmap` computes the lanes together, which takes hardly longer than
one of them alone: a model of the mini size consists of thousands of small kernels, which leave a GPU nearly idle.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras

from t2t_mm.jax_training.packed import PackedRun, Slot
from t2t_mm.layers import randomness
from t2t_mm.losses import measure, problem_loss
from t2t_mm.model import MultiModel

Weights = list[jax.Array]  # each [lanes, ...]


class Lanes:
    """The compiled computations of a group of runs.

    Args:
      runs: runs of the same group (see `PackedRun.group`), one in each lane.

    Attributes:
      network: the model whose code is traced. Its own weights are those of the first lane, before training.
      trained, others: initial values of the trainable weights and of all other variables, each [lanes, ...].
    """

    def __init__(self, runs: Sequence[PackedRun]):
        self._runs = runs
        models = [_built(run) for run in runs]
        self.network = models[0]
        trainable = {id(variable) for variable in self.network.trainable_variables}
        self._places = [id(variable) in trainable for variable in self.network.variables]
        self._trained_variables = [v for v, chosen in zip(self.network.variables, self._places) if chosen]
        self._other_variables = [v for v, chosen in zip(self.network.variables, self._places) if not chosen]
        self.trained, self.others = self.split([[v.value for v in model.variables] for model in models])
        optimizer = runs[0].optimizer
        self._clip_norm, self._clip_each = optimizer["clip_norm"], optimizer["clip_each"]
        self.update = jax.jit(self._update, donate_argnums=(0, 1, 2))

    def split(self, values: Sequence[Sequence[Any]]) -> tuple[Weights, Weights]:
        """Returns the values of all variables of each lane as trainable and other weights, each [lanes, ...]."""
        stacked = [jnp.stack(some) for some in zip(*values)]
        return (
            [value for value, chosen in zip(stacked, self._places) if chosen],
            [value for value, chosen in zip(stacked, self._places) if not chosen],
        )

    def joined(self, trained: Weights, others: Weights, lane: int) -> list[jax.Array]:
        """Returns the values of all variables of one lane, in the order of the model."""
        rest, left = iter(trained), iter(others)
        return [next(rest if chosen else left)[lane] for chosen in self._places]

    def gradient(self, slot: Slot) -> Callable:
        """Returns the function that computes the gradient of one slot for a batch in every lane.

        Its arguments are the trainable and the other weights, the pool of examples that all lanes share, the rows [lanes, B] of
        their batches (−1 for those that only fill them), command ids [lanes] and the seeds [lanes, 2] of random numbers. It
        returns the gradients, clipped if each problem is clipped by itself, the other weights, and the loss of each lane in
        nats per token.
        """
        objective, problem = self._runs[0].objective, slot.declaration()

        def of_lane(trained, others, pool, rows, command, seed):
            batch = _batch(slot, pool, jnp.maximum(rows, 0), rows)

            def loss(values):
                with self._scope(values, others) as scope, randomness.Draws(seed):
                    total, figures = problem_loss(
                        self.network, problem, batch, objective["label_smoothing"], objective["balance_weight"],
                        command=command, contrast_weight=objective["contrast_weight"],
                    )  # fmt: skip
                    after = [scope.get_current_value(variable) for variable in self._other_variables]
                return slot.weight * total, (after, figures["loss"])

            found, gradients = jax.value_and_grad(loss, has_aux=True)(trained)
            if self._clip_each:
                gradients = _clipped(gradients, _norm(gradients), self._clip_norm)
            return gradients, *found[1]

        return jax.vmap(of_lane, in_axes=(0, 0, None, 0, 0, 0))

    def measurement(self, slot: Slot) -> Callable:
        """Returns the function that measures a batch of one slot in every lane (see `losses.measure`).

        Its arguments are the weights, the pool, the rows and places [lanes, B] and command ids [lanes].
        """
        problem = slot.declaration()

        def of_lane(trained, others, pool, rows, places, command):
            with self._scope(trained, others):
                return measure(self.network, problem, _batch(slot, pool, rows, places), command)

        return jax.vmap(of_lane, in_axes=(0, 0, None, 0, 0, 0))

    def _scope(self, trained, others):
        mapping = [*zip(self._trained_variables, trained), *zip(self._other_variables, others)]
        return keras.StatelessScope(state_mapping=mapping)

    def _update(self, trained, firsts, seconds, gradients, rate, number):
        """Makes one Adam update of every lane with the sum of the gradients of its slots.

        Lanes whose gradient is not finite keep their weights.

        Args:
          firsts, seconds: Adam's moments.
          gradients: the gradients of each slot.
          rate: the learning rate.
          number: the number of the update, from 1.

        Returns:
          The weights, the moments, and the norm of each lane's gradient.
        """
        optimizer, factors = self._runs[0].optimizer, self._runs[0].factors
        beta_1, beta_2, decay = optimizer["beta_1"], optimizer["beta_2"], optimizer["weight_decay"]
        total = [functools.reduce(jnp.add, parts) for parts in zip(*gradients)]
        norm = jax.vmap(_norm)(total)
        if not self._clip_each:
            total = jax.vmap(lambda some, size: _clipped(some, size, self._clip_norm))(total, norm)
        finite = jnp.isfinite(norm)
        # Kingma and Ba 2015, end of section 2, as in `training.optimizer.FusedAdam`.
        corrected = rate * jnp.sqrt(1.0 - beta_2**number) / (1.0 - beta_1**number)
        found: tuple[list, list, list] = [], [], []
        for value, first, second, gradient, factor in zip(trained, firsts, seconds, total, factors):
            after_first = beta_1 * first + (1.0 - beta_1) * gradient
            after_second = beta_2 * second + (1.0 - beta_2) * jnp.square(gradient)
            after = value
            if decay and value.ndim > 2:  # with the lanes, a matrix has three axes
                after = after - value * (rate * decay * factor)
            after = after - factor * corrected * after_first / (jnp.sqrt(after_second) + optimizer["epsilon"])
            kept = jnp.reshape(finite, (-1, *[1] * (value.ndim - 1)))
            for one, (new, old) in zip(found, ((after, value), (after_first, first), (after_second, second))):
                one.append(jnp.where(kept, new, old))
        return *found, norm


@jax.jit
def cosines(gradients: Sequence[Weights]) -> jax.Array:
    """Returns the cosines between the gradients of the slots on the weights that both use: [lanes, slots, slots]."""
    dots, used = [], []
    for parts in zip(*gradients):
        flat = jnp.stack([jnp.reshape(part, (part.shape[0], -1)) for part in parts], axis=1)  # [lanes, slots, n]
        dots.append(jnp.einsum("lan,lbn->lab", flat, flat, precision="highest"))
        used.append(jnp.any(flat != 0, axis=-1))  # [lanes, slots]
    both = jnp.stack(used)[:, :, :, None] & jnp.stack(used)[:, :, None, :]
    every = jnp.stack(dots)
    squares = jnp.diagonal(every, axis1=-2, axis2=-1)[..., None]  # [weights, lanes, slots, 1]
    norms = jnp.sqrt(jnp.sum(jnp.where(both, squares, 0.0), axis=0))  # of the row's slot, on what both use
    dot = jnp.sum(every, axis=0)
    return dot / jnp.maximum(norms * jnp.swapaxes(norms, -1, -2), 1e-30)


def _norm(gradients):
    return jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in gradients))


def _clipped(gradients, norm, limit):
    factor = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-30))
    return [gradient * factor for gradient in gradients]


def _built(run: PackedRun) -> MultiModel:
    keras.utils.set_random_seed(run.seed)
    model = MultiModel.from_config(run.model)
    model.build()
    return model


def _batch(slot: Slot, pool: dict, rows: Any, places: Any) -> dict:
    """Returns a batch as `t2t_mm.input.pipeline` makes it, from rows [B] of the pool. Places of −1 only fill the batch."""
    x, y = pool["inputs"][rows], pool["targets"][rows]
    filling = places < 0
    nothing = jnp.zeros((len(rows), 0), bool)
    lengths = jnp.where(filling, 0, pool["lengths"][rows])
    target_lengths = jnp.where(filling, 0, pool["target_lengths"][rows])
    is_class = slot.targets == "class"
    return {
        "inputs": _standardised(x) if x.ndim == 4 else x.astype("int32" if x.ndim == 2 else "float32"),
        "input_padding": jnp.arange(x.shape[1]) >= lengths[:, None] if slot.padded else nothing,
        "targets": y,
        "target_padding": nothing if is_class else jnp.arange(y.shape[1]) >= target_lengths[:, None],
        "index": places,
    }


def _standardised(pixels: jax.Array) -> jax.Array:
    """Does the same as `input.features.standardise_image`, for a batch [B, H, W, 3] of uint8."""
    pixels = pixels.astype("float32")
    mean = jnp.mean(pixels, axis=(1, 2, 3), keepdims=True)
    deviation = jnp.std(pixels, axis=(1, 2, 3), keepdims=True)
    return (pixels - mean) / jnp.maximum(deviation, pixels[0].size ** -0.5)
