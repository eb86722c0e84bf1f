"""Trains packed runs with JAX, those of one group in lanes. Needs no TensorFlow."""

import concurrent.futures
import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t2t_mm.common.errors import RunError
from t2t_mm.evaluation.measured import Measured
from t2t_mm.jax_training.batches import Bucket, Pools, Sampler, best_bounds, in_order, shared_bounds
from t2t_mm.jax_training.lanes import Lanes, cosines
from t2t_mm.jax_training.packed import (  # fmt: skip
    PackedRun,
    Slot,
    load_result,
    load_weights,
    rounded,
    save_trained,
    without_random_states,
)
from t2t_mm.jax_training.peak import matmul_flops
from t2t_mm.layers import shifts
from t2t_mm.layers.randomness import is_random_state

LOG_STEPS = 20
_MEASURED = 64  # examples of a batch of an evaluation, in each lane


def groups(runs: Sequence[PackedRun]) -> list[list[PackedRun]]:
    """Returns the runs in groups that can be trained in lanes, each after those that its runs start from."""
    found: dict[tuple[int, str], list[PackedRun]] = {}
    depths: dict[str, int] = {}
    for run in runs:  # those that others start from come before them
        depths[run.name] = depth = depths.get(str(run.init_from), -1) + 1
        found.setdefault((depth, run.group), []).append(run)
    return [found[key] for key in sorted(found, key=lambda key: key[0])]


def train_groups(
    folder: str, output: str, runs: Sequence[PackedRun], say: Callable[[str], None] = print, buckets: int = 1,
    dtype: str = "float32",
) -> None:  # fmt: skip
    """Trains the runs that have no results in `output` yet, one group after the other.

    Args:
      folder: the folder of the packed runs.
      output: the folder for the trained weights and results.
      say: prints one line.
      buckets, dtype: see `LaneTraining`.

    Raises:
      RunError: a run starts from one that has not been trained, the results of a run are of other settings or data, or no
        evaluation of a run was finite.
    """
    left = []
    for run in runs:
        result = load_result(output, run.name)
        if result is None:
            left.append(run)
        elif result.get("run") != run.digest:
            raise RunError(
                f"{os.path.join(output, run.name)}: holds results of other settings or data than those that are packed for "
                "this run. Move it away, or use another folder for the trained runs (--trained)."
            )
    every = groups(left)
    for number, group in enumerate(every, start=1):
        say(f"[{number}/{len(every)}] {len(group)} lanes: {', '.join(run.name for run in group)}")
        LaneTraining(folder, output, group, say, buckets, dtype).train()


class LaneTraining:
    """Runs of one group, with their data and the state of their training.

    Args:
      folder, output, say: as in `train_groups`.
      runs: the runs.
      buckets: number of different lengths to which training batches of one kind are padded. More of them save work on
        padding, and each takes a minute to compile.
      dtype: "bfloat16" rounds the matrices of the trained weights to it before they are measured and written, which halves
        their size; "float32" keeps all digits.
    """

    def __init__(
        self, folder: str, output: str, runs: Sequence[PackedRun], say: Callable[[str], None] = print, buckets: int = 1,
        dtype: str = "float32",
    ):  # fmt: skip
        self._dtype = dtype
        self._folder, self._output, self._runs, self._say = folder, output, runs, say
        self._started = time.monotonic()
        self._lanes = lanes = Lanes(runs)
        self._slots, self._first = runs[0].slots, runs[0]
        self._trained, self._others = lanes.trained, lanes.others
        if runs[0].init_from:
            self._start_from(runs)
        self._seeds = np.array([run.seed for run in runs], np.int32)
        self._commands = [
            np.array([run.model["commands"].index(run.slots[place].command) for run in runs], np.int32)
            for place in range(len(self._slots))
        ]
        self._pools = {
            (place, split): Pools(folder, runs, place, split)
            for place in range(len(self._slots))
            for split in self._slots[place].arrays
        }
        self._train_buckets = self._bucketed(["train"], buckets)["train"]
        self._samplers = [Sampler(some, [run.seed for run in runs], place) for place, some in enumerate(self._train_buckets)]
        # Together, so that both splits have the same shapes and share compiled functions.
        self._measured_buckets = self._bucketed(["dev", "test"], 1, _MEASURED)
        self._compiled: dict = {}

    def _start_from(self, runs: Sequence[PackedRun]) -> None:
        """Replaces the initial weights by those of the runs that these start from.

        Raises:
          RunError: a run has not been trained, or its model has other weights.
        """
        values = []
        states = [is_random_state(variable) for variable in self._lanes.network.variables]
        for lane, run in enumerate(runs):
            theirs = without_random_states(load_weights(self._output, str(run.init_from)))
            own = self._lanes.joined(self._trained, self._others, lane)
            if [value.shape for value in theirs] != [value.shape for value, state in zip(own, states) if not state]:
                raise RunError(f"{run.name}: the weights of {run.init_from} have other shapes; its model is another one.")
            rest = iter(theirs)
            values.append([value if state else jnp.asarray(next(rest)) for value, state in zip(own, states)])
        self._trained, self._others = self._lanes.split(values)

    def _bucketed(self, splits: Sequence[str], count: int, size: int | None = None) -> dict[str, list[list[Bucket]]]:
        """Returns for each split the buckets of each slot, none where its corpus lacks the split.

        Slots of one kind have the same shapes, and share functions.
        """
        found: dict[str, list[list[Bucket]]] = {split: [[] for _ in self._slots] for split in splits}
        for kind in dict.fromkeys(slot.kind for slot in self._slots):
            same = [(split, place) for place, split in self._pools if split in splits and self._slots[place].kind == kind]
            lengths = [some for split, place in same for some in self._pools[place, split].lengths]
            bounds = shared_bounds(best_bounds(np.concatenate(lengths), count), lengths)
            longest = max(self._pools[place, split].longest_target for split, place in same)
            for split, place in same:
                found[split][place] = self._pools[place, split].buckets(bounds, size, longest)
            for of_bound in zip(*(found[split][place] for split, place in same)):
                most = max(len(bucket.pool["lengths"]) for bucket in of_bound)
                for bucket in of_bound:
                    for name, array in bucket.pool.items():
                        # They are on the device, because every step takes other rows of them.
                        filled = np.concatenate([array, np.zeros((most - len(array), *array.shape[1:]), array.dtype)])
                        bucket.pool[name] = jax.device_put(filled)
        return found

    def _compile(self) -> None:
        """Compiles the functions of all shapes at the same time; the compiler works outside Python's lock."""
        lanes = len(self._runs)
        lowered: dict[tuple, Any] = {}
        rows = lambda bucket: np.zeros((lanes, bucket.size), np.int32)  # noqa: E731
        weights, commands = (self._trained, self._others), np.zeros(lanes, np.int32)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for slot, buckets in zip(self._slots, self._train_buckets):
                for bucket in buckets:
                    key = "gradient", *self._key(slot, bucket)
                    if key not in lowered:
                        call = jax.jit(self._lanes.gradient(slot))
                        traced = call.lower(*weights, bucket.pool, rows(bucket), commands, np.zeros((lanes, 2), np.int32))
                        lowered[key] = pool.submit(traced.compile)
            for some in self._measured_buckets.values():
                for slot, buckets in zip(self._slots, some):
                    for bucket in buckets:
                        key = "measurement", *self._key(slot, bucket)
                        if key not in lowered:
                            call = jax.jit(self._lanes.measurement(slot))
                            traced = call.lower(*weights, bucket.pool, rows(bucket), rows(bucket), commands)
                            lowered[key] = pool.submit(traced.compile)
            self._compiled = {key: future.result() for key, future in lowered.items()}

    def train(self) -> None:
        """Trains all lanes, and writes the best weights and the results of each."""
        first, lanes = self._first, len(self._runs)
        self._compile()
        self._say(f"compiled {len(self._compiled)} functions in {time.monotonic() - self._started:.0f} s")
        firsts = [jnp.zeros_like(value) for value in self._trained]
        seconds = [jnp.zeros_like(value) for value in self._trained]
        best = _Best(self._runs, first.evaluation)
        curves: dict[str, dict] = {split: {slot.problem: [] for slot in first.slots} for split in ("train", "dev")}
        angles, begun, every = [], time.monotonic(), first.evaluation["every_steps"]
        evaluating = 0.0  # seconds
        skipped = jnp.zeros(lanes, "int32")
        step = 0
        for step in range(1, first.steps + 1):
            gradients, nats = self._gradients(step)
            if first.cosine_steps and step % first.cosine_steps == 0:
                angles.append(np.asarray(cosines(gradients)))
            self._trained, firsts, seconds, norm = self._lanes.update(
                self._trained, firsts, seconds, gradients, first.rates[step - 1], float(step)
            )
            skipped = skipped + ~jnp.isfinite(norm)
            if step % LOG_STEPS == 0 or step == 1:
                losses = {slot.problem: np.asarray(one) for slot, one in zip(first.slots, nats)}
                for problem, loss in losses.items():
                    curves["train"][problem].append([step, loss.tolist()])
                took = (time.monotonic() - begun) / step
                shown = "  ".join(f"{problem} {loss.mean():.3f}" for problem, loss in losses.items())
                self._say(
                    f"step {step}/{first.steps}  {shown}  | {1e3 * took:.0f} ms/step, {(first.steps - step) * took:.0f} s left"
                )
            if every and (step % every == 0 or step == first.steps):
                jax.block_until_ready(self._trained)
                evaluation_begun = time.monotonic()
                found = self._measure("dev")
                evaluating += time.monotonic() - evaluation_begun
                for place, slot in enumerate(first.slots):
                    curves["dev"][slot.problem].append([step, [one[place].figures()["log_perplexity"] for one in found]])
                ended = best.count(step, found, self._trained, self._others)
                if ended:
                    break
        if not every:
            best.take(first.steps, self._trained, self._others)
        jax.block_until_ready(best.trained)
        took = time.monotonic() - begun
        self._write(best, step, curves, angles, took, (took - evaluating) / step, np.asarray(skipped))

    def _key(self, slot: Slot, bucket: Bucket) -> tuple:
        shapes = ((name, array.shape[1:], len(array)) for name, array in sorted(bucket.pool.items()))
        return self._first.kind(slot), bucket.size, *shapes

    def _gradients(self, step: int) -> tuple[list, list[jax.Array]]:
        """Returns the gradients of each slot for its batch of a step, and its loss in each lane."""
        gradients, nats = [], []
        for place, slot in enumerate(self._slots):
            number, rows = self._samplers[place](step)
            bucket = self._train_buckets[place][number]
            # Different for each pair of slot and step of the whole run, as in `training.step`.
            seeds = np.stack([self._seeds, np.full_like(self._seeds, step * len(self._slots) + place)], axis=1)
            found, self._others, one = self._compiled["gradient", *self._key(slot, bucket)](
                self._trained, self._others, bucket.pool, rows, self._commands[place], seeds
            )
            gradients.append(found)
            nats.append(one)
        return gradients, nats

    def _measure(self, split: str, weights: tuple | None = None) -> list[dict[int, Measured]]:
        """Returns for each lane what was measured on a split, by the places of the slots that have it."""
        trained, others = weights or (self._trained, self._others)
        found: list[dict[int, Measured]] = [{} for _ in self._runs]
        for place, (slot, buckets) in enumerate(zip(self._slots, self._measured_buckets[split])):
            parts = []
            for bucket in buckets:
                call = self._compiled["measurement", *self._key(slot, bucket)]
                for rows, places in in_order(bucket):
                    parts.append((places, call(trained, others, bucket.pool, rows, places, self._commands[place])))
            if parts:
                for lane, merged in enumerate(_merged(parts, len(self._runs))):
                    found[lane][place] = merged
        return found

    def _write(
        self, best: "_Best", step: int, curves: dict, angles: list, seconds: float, update: float, skipped: np.ndarray
    ) -> None:  # fmt: skip
        if self._dtype == "bfloat16":
            # A vector has two axes with the lanes; like `run.pack`, it is not rounded.
            best.trained = [jnp.asarray(rounded(np.asarray(v))) if v.ndim > 2 else v for v in best.trained]
        measured = {split: self._measure(split, (best.trained, best.others)) for split in self._measured_buckets}
        names = [slot.problem for slot in self._slots]
        parameters = {name: part.count_params() for name, part in self._lanes.network.parts().items()}
        device = jax.devices()[0].device_kind
        failed = []
        for lane, run in enumerate(self._runs):
            if skipped[lane]:
                self._say(f"{run.name}: {skipped[lane]} of {step} updates were skipped, because a gradient was not finite.")
            if not best.steps[lane]:
                failed.append(run.name)
                continue
            problems = [slot.problem for slot in run.slots]
            pairs = itertools.combinations(range(len(names)), 2) if angles else ()
            result = {
                "step": int(best.steps[lane]), "ended": step, "seed": run.seed, "device": device, "lanes": len(self._runs),
                # Of the lanes together: the time that this run alone would take is not known.
                "training_seconds": seconds / len(self._runs), "group_seconds": seconds,
                "update_seconds": update, "matmul_flops": matmul_flops() if shifts.preferred() else None,
                "batches": {slot.problem: some[0].shape(lane) for slot, some in zip(run.slots, self._train_buckets)},
                "skipped_updates": int(skipped[lane]), "parameters": parameters, "run": run.digest,
                "configuration": run.configuration,
                "splits": {
                    split: {problems[place]: _record(one) for place, one in of_lanes[lane].items()}
                    for split, of_lanes in measured.items()
                },
                "curves": {
                    split: {own: [[step, values[lane]] for step, values in by[name]] for own, name in zip(problems, names)}
                    for split, by in curves.items()
                },
                "cosines": {
                    # Without those of skipped updates, which are not finite.
                    f"{problems[a]}/{problems[b]}": float(np.nanmean([found[lane, a, b] for found in angles])) for a, b in pairs
                },
            }  # fmt: skip
            weights = [np.asarray(value) for value in self._lanes.joined(best.trained, best.others, lane)]
            save_trained(self._output, run.name, weights, result)
        if failed:
            raise RunError(f"{', '.join(failed)}: no evaluation was finite. Use a lower learning rate.")


class _Best:
    """The best weights of each lane, by the mean log-perplexity of its problems.

    Attributes:
      steps: the step of the best weights of each lane.
      trained, others: these weights.
    """

    def __init__(self, runs: Sequence[PackedRun], evaluation: dict):
        self.steps, self._values = np.zeros(len(runs), int), np.full(len(runs), np.inf)
        self._patience, self._worse = evaluation["patience"], np.zeros(len(runs), int)
        self.trained: list[jax.Array] = []
        self.others: list[jax.Array] = []

    def take(self, step: int, trained: list, others: list) -> None:
        """Takes the weights of all lanes."""
        self.steps[:] = step
        self.trained, self.others = trained, others

    def count(self, step: int, found: list[dict[int, Measured]], trained: list, others: list) -> bool:
        """Keeps the weights of the lanes that have improved. Returns whether the patience with all lanes has ended."""
        values = np.array([np.mean([one.figures()["log_perplexity"] for one in of_lane.values()]) for of_lane in found])
        # A lane whose patience has ended counts as ended, although it is still computed.
        going = (self._worse < self._patience) if self._patience else np.ones(len(values), bool)
        better = going & (values < self._values)
        self._worse = np.where(better, 0, self._worse + going)
        self._values, self.steps = np.where(better, values, self._values), np.where(better, step, self.steps)
        chosen = jnp.asarray(better)
        self.trained = _chosen(chosen, trained, self.trained or trained)
        self.others = _chosen(chosen, others, self.others or others)
        return bool(self._patience) and bool(np.all(self._worse >= self._patience))


@jax.jit
def _chosen(chosen, new, old):
    return [jnp.where(jnp.reshape(chosen, (-1, *[1] * (a.ndim - 1))), a, b) for a, b in zip(new, old)]


def _merged(parts: list, lanes: int) -> list[Measured]:
    """Returns what was measured in each lane, with the examples in their order."""
    parts = [
        (places, [np.asarray(one) for one in sums], {k: np.asarray(v) for k, v in gates.items()})
        for places, (sums, gates) in parts
    ]
    found = []
    for lane in range(lanes):
        places = np.concatenate([where[lane] for where, _, _ in parts])
        order = np.argsort(places)[np.sum(places < 0) :]  # the fillings of batches have the place −1
        nats, right, right5, tokens = (
            np.concatenate([sums[number][lane] for _, sums, _ in parts])[order].astype(float) for number in range(4)
        )
        experts = {name: np.sum([gates[name][lane] for _, _, gates in parts], axis=0) for name in parts[0][2]}
        found.append(Measured(places[order], nats, right, right5, tokens, experts))
    return found


def _record(one: Measured) -> dict:
    return {"figures": one.figures() | {"examples": len(one.index)}} | one.record() | {"samples": []}
