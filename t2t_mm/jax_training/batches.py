"""The batches of runs in lanes: fixed shapes by length, and which examples each lane takes in each step."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from t2t_mm.input.buckets import bounds_up_to
from t2t_mm.jax_training.packed import PackedExamples, PackedRun, Slot

_STEP = 4  # bounds and numbers of rows are multiples of it, so that there are few candidates, and few functions to compile


def best_bounds(lengths: np.ndarray, count: int) -> list[int]:
    """Returns at most `count` bounds for sequences of these lengths, with which padding is the least.

    The last bound is the greatest length, rounded up to a multiple of four.
    """
    candidates, numbers = np.unique(-(-np.maximum(lengths, 1) // _STEP) * _STEP, return_counts=True)
    total = np.cumsum(numbers)
    # cost[k][j]: positions with k + 1 bounds, the last of which is candidate j (exact, by dynamic programming).
    cost = [(total * candidates).astype(float)]
    before: list[np.ndarray] = []
    for _ in range(min(count, len(candidates)) - 1):
        whole = cost[-1][:, None] + (total[None, :] - total[:, None]) * candidates[None, :]
        whole[np.tril_indices(len(candidates))] = np.inf
        before.append(whole.argmin(axis=0))
        cost.append(whole.min(axis=0))
    place, bounds = len(candidates) - 1, [int(candidates[-1])]
    for previous in reversed(before):
        place = int(previous[place])
        bounds.append(int(candidates[place]))
    return sorted(set(bounds))


def shared_bounds(bounds: Sequence[int], lengths: Sequence[np.ndarray]) -> list[int]:
    """Returns the bounds without those below which some lane has no example, because all lanes take the same bucket in a step.

    Args:
      bounds: ascending bounds.
      lengths: the lengths of the examples of each lane.
    """
    found: list[int] = []
    for bound in bounds:
        lower = found[-1] if found else 0
        if all(np.any((some > lower) & (some <= bound)) for some in lengths):
            found.append(bound)
    # What is longer than the last of them belongs to it, too.
    return [*found[:-1], bounds[-1]]


@dataclasses.dataclass
class Bucket:
    """Examples of similar length, of all lanes of one slot.

    Attributes:
      pool: name -> array [N, …] of "inputs", "lengths", "targets" and "target_lengths"; the lanes share its rows.
      rows: for each lane, the rows of its examples.
      places: for each lane, the places of these examples in their split.
      sizes: for each lane, the number of examples that it takes in a training step.
      size: number of rows of a batch. Those that a lane does not need are computed, but do not count.
    """

    pool: dict[str, np.ndarray]
    rows: list[np.ndarray]
    places: list[np.ndarray]
    sizes: list[int]
    size: int

    def shape(self, lane: int) -> dict[str, int]:
        """Returns the numbers of examples and rows of a batch of a lane, and the padded lengths of inputs and targets."""
        inputs, targets = self.pool["inputs"], self.pool["targets"]
        return {
            "examples": self.sizes[lane], "rows": self.size, "input_length": inputs.shape[1],
            "target_length": (*targets.shape, 1)[1],
        }  # fmt: skip


class Pools:
    """The examples of one split in one slot, for all lanes.

    Args:
      folder: the folder of the packed runs.
      runs: the runs, one in each lane.
      place: the place of the slot.
      split: "train", "dev" or "test".

    Attributes:
      lengths: for each lane, the lengths of its examples, in positions of the longer of input and target text.
    """

    def __init__(self, folder: str, runs: Sequence[PackedRun], place: int, split: str):
        slots = [run.slots[place] for run in runs]
        names = list(dict.fromkeys(slot.arrays[split] for slot in slots))
        self._slot, self._arrays = slots[0], {name: PackedExamples.load(folder, name) for name in names}
        self._of_lane = [slot.arrays[split] for slot in slots]
        self._lengths = {name: self._measured(found) for name, found in self._arrays.items()}
        self.lengths = [self._lengths[name] for name in self._of_lane]
        self.longest_target = max(int(found.target_lengths.max()) for found in self._arrays.values())

    def _measured(self, found: PackedExamples) -> np.ndarray:
        with_target = self._slot.modality == "language" and self._slot.targets != "class"
        return np.maximum(found.lengths, found.target_lengths) if with_target else found.lengths

    def buckets(self, bounds: Sequence[int], size: int | None, longest_target: int) -> list[Bucket]:
        """Returns the examples in buckets of these bounds.

        Args:
          size: number of examples in a batch. Default: that of training, from the budget of the slot.
          longest_target: maximum number of tokens of a target; those of texts about images and audio are padded to it.
        """
        found = []
        for lower, bound in zip([0, *bounds], bounds):
            rows: dict[str, np.ndarray] = {}
            for name, measured in self._lengths.items():
                rows[name] = np.flatnonzero((measured > lower) & (measured <= bound))
            starts = dict(zip(rows, np.cumsum([0, *(len(some) for some in rows.values())])))
            sizes, most = ([size] * len(self.lengths), size) if size else self._sizes(lower, bound)
            found.append(
                Bucket(
                    self._pool(rows, bound, longest_target),
                    [np.arange(len(rows[name])) + starts[name] for name in self._of_lane],
                    [rows[name] for name in self._of_lane],
                    sizes,
                    most,
                )
            )
        return found

    def _sizes(self, lower: int, bound: int) -> tuple[list[int], int]:
        """Returns the number of examples of each lane in a training batch of a bucket, and the number of its rows."""
        sizes = [batch_size(self._slot, some[(some > lower) & (some <= bound)]) for some in self.lengths]
        if self._slot.budget is None or self._slot.targets == "class":
            # A filling would count: images have no padding, and the class net's batch normalisation sees every row.
            most = round(np.mean(sizes))
            return [most] * len(sizes), most
        return sizes, -(-max(sizes) // _STEP) * _STEP

    def _pool(self, rows: dict[str, np.ndarray], bound: int, longest_target: int) -> dict[str, np.ndarray]:
        slot, parts = self._slot, [(self._arrays[name], some) for name, some in rows.items()]
        if slot.targets == "class":
            targets = [found.targets[some] for found, some in parts]
        else:
            of_text = bound if slot.modality == "language" else -(-longest_target // _STEP) * _STEP
            targets = [found.padded_targets(some, of_text) for found, some in parts]
        return {
            "inputs": np.concatenate([found.padded_inputs(some, bound) for found, some in parts]),
            "lengths": np.concatenate([found.lengths[some] for found, some in parts]).astype(np.int32),
            "targets": np.concatenate(targets).astype(np.int32),
            "target_lengths": np.concatenate([found.target_lengths[some] for found, some in parts]).astype(np.int32),
        }


def batch_size(slot: Slot, lengths: np.ndarray) -> int:
    """Returns the number of examples of a training batch with sequences of these lengths.

    It is the mean size of the batches that `t2t_mm.input.buckets` makes of them in many buckets. So a step sees as many
    examples as one of bin/train.py, although its sequences have more padding.
    """
    if slot.budget is None or not len(lengths):
        return slot.most or 1
    bounds = np.array(bounds_up_to(int(lengths.max())))
    sizes = np.maximum(slot.budget // bounds[np.searchsorted(bounds, lengths)], 1)
    # The number of batches is the sum of 1/size over all examples.
    size = round(len(lengths) / float(np.sum(1.0 / sizes)))
    return max(size if slot.most is None else min(size, slot.most), 1)


class Sampler:
    """Which bucket of a slot each step takes, and which rows of it each lane.

    All lanes take the same bucket in a step, in proportion to its number of batches. Within a bucket, each lane goes through
    its own examples in a random order of its seed, again and again. Every lane must have examples in every bucket.

    Args:
      buckets: the buckets of the slot.
      seeds: the seed of each lane.
      place: the place of the slot.
    """

    def __init__(self, buckets: Sequence[Bucket], seeds: Sequence[int], place: int):
        batches = np.array([np.mean([len(rows) / n for rows, n in zip(one.rows, one.sizes)]) for one in buckets])
        self._rates, self._place, self._buckets = batches / batches.sum(), place, buckets
        self._streams = [
            [_endless(rows, [seed, place, number]) for rows, seed in zip(bucket.rows, seeds)]
            for number, bucket in enumerate(buckets)
        ]

    def __call__(self, step: int) -> tuple[int, np.ndarray]:
        """Returns the number of the bucket, and the rows [lanes, size] of its pool. Call it once for each step, in order.

        A row that only fills the batch is −1.
        """
        number = int(np.random.default_rng([self._place, step]).choice(len(self._buckets), p=self._rates))
        bucket = self._buckets[number]
        rows = np.full((len(bucket.rows), bucket.size), -1, np.int32)
        for lane, (stream, size) in enumerate(zip(self._streams[number], bucket.sizes)):
            rows[lane, :size] = [next(stream) for _ in range(size)]
        return number, rows


def _endless(rows: np.ndarray, seed: Sequence[int]) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.permutation(rows).tolist()


def in_order(bucket: Bucket) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields all examples of a bucket once: the rows [lanes, size] of its pool, and their places in the split.

    A row that only fills the batch has the place −1.
    """
    most = max(len(rows) for rows in bucket.rows)
    for start in range(0, most, bucket.size):
        shape = len(bucket.rows), bucket.size
        rows, places = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
        for lane, (own, where) in enumerate(zip(bucket.rows, bucket.places)):
            part = slice(start, start + bucket.size)
            rows[lane, : len(own[part])], places[lane, : len(own[part])] = own[part], where[part]
        yield rows, places
