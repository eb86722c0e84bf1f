import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2t_mm.common.errors import RunError
from t2t_mm.jax_training.batches import Pools, Sampler, batch_size, best_bounds, in_order, shared_bounds
from t2t_mm.jax_training.packed import (  # fmt: skip
    PackedExamples,
    PackedRun,
    Slot,
    load_result,
    load_runs,
    load_weights,
    rounded,
    save_runs,
    save_trained,
)


def slot(arrays="all", **changed):
    one = Slot("translation", "language", True, "text", "To-German", 1.0, {"train": arrays, "dev": arrays}, 60, None)
    return dataclasses.replace(one, **changed)


def run(seed=0, contrast=0.0, **changed):
    model, objective = {"commands": ["To-German"]}, {"contrast_weight": contrast}
    return PackedRun(f"seed_{seed}", seed, model, (slot(**changed),), 3, (1e-3,) * 3, (), {}, objective, {})


def examples(lengths, target_lengths, start=0):
    """The inputs of example n are n + 1, its targets n + 101."""
    numbers = start + np.arange(len(lengths))
    return PackedExamples(
        np.repeat(numbers + 1, lengths), np.array(lengths), np.repeat(numbers + 101, target_lengths), np.array(target_lengths)
    )


def waste(lengths, bounds):
    return sum(min(bound for bound in bounds if bound >= length) for length in lengths)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 3))
def test_the_best_bounds_waste_least(lengths, count):
    bounds = best_bounds(np.array(lengths), count)
    assert len(bounds) <= count and bounds[-1] >= max(lengths) and all(bound % 4 == 0 for bound in bounds)
    last = bounds[-1]
    some = [[last], *([a, last] for a in range(4, last, 4))]
    some += [[a, b, last] for a in range(4, last, 4) for b in range(a + 4, last, 4)]
    assert waste(lengths, bounds) == min(waste(lengths, other) for other in some if len(other) <= count)


def test_a_batch_has_as_many_examples_as_those_of_many_buckets():
    # Bounds of 8 and 12: seven examples of length 8 fit into 60 positions, five of length 12.
    assert batch_size(slot(), np.full(70, 8)) == 7
    assert batch_size(slot(), np.full(70, 12)) == 5
    # Ten batches of seven and fourteen batches of five are 24 batches of 140 examples.
    assert batch_size(slot(), np.array([8] * 70 + [12] * 70)) == round(140 / 24)
    assert batch_size(slot(budget=None, most=20), np.full(70, 64)) == 20
    assert batch_size(slot(budget=8000, most=3), np.full(70, 12)) == 3


def test_lanes_share_a_pool_and_take_their_own_rows(tmp_path):
    examples([3, 9, 4], [2, 5, 8]).save(tmp_path, "all")
    examples([5], [4], start=50).save(tmp_path, "other")
    pools = Pools(tmp_path, [run(0), run(1, arrays="other"), run(2)], 0, "train")
    assert [some.tolist() for some in pools.lengths] == [[3, 9, 8], [5], [3, 9, 8]]  # the longer of input and target
    short, long = pools.buckets([8, 12], 2, pools.longest_target)
    of_lane = [[(short.pool["inputs"][row, 0], place) for row, place in zip(*pair)] for pair in zip(short.rows, short.places)]
    assert of_lane == [[(1, 0), (3, 2)], [(51, 0)], [(1, 0), (3, 2)]]
    np.testing.assert_array_equal(short.pool["targets"][1], [103] * 8)
    np.testing.assert_array_equal(long.pool["inputs"], [[2] * 9 + [0] * 3])
    assert [len(rows) for rows in long.rows] == [1, 0, 1]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunError, match="arrays/all.npz is missing"):
        Pools(str(tmp_path), [run(0)], 0, "train")


def test_every_example_is_measured_once(tmp_path):
    examples([3, 9, 4, 7, 2], [2, 5, 8, 1, 1]).save(tmp_path, "all")
    examples([5], [4]).save(tmp_path, "other")
    (bucket,) = Pools(tmp_path, [run(0), run(1, arrays="other")], 0, "dev").buckets([12], 2, 8)
    batches = list(in_order(bucket))
    assert all(rows.shape == places.shape == (2, 2) for rows, places in batches)
    first, second = (np.concatenate([places[lane] for _, places in batches]) for lane in (0, 1))
    assert sorted(first[first >= 0].tolist()) == [0, 1, 2, 3, 4] and second[second >= 0].tolist() == [0]


def test_a_lane_goes_through_all_its_examples_before_it_repeats_one(tmp_path):
    examples([3] * 6, [2] * 6).save(tmp_path, "all")
    buckets = Pools(tmp_path, [run(0), run(1)], 0, "train").buckets([4], 2, 2)
    sampler = Sampler(buckets, [0, 1], 0)
    drawn = np.concatenate([sampler(step)[1] for step in range(1, 7)], axis=1)
    for of_lane in drawn:
        assert sorted(of_lane[:6]) == sorted(of_lane[6:]) == list(range(6))
    assert drawn[0].tolist() != drawn[1].tolist()
    again = Sampler(buckets, [0, 1], 0)
    np.testing.assert_array_equal(drawn, np.concatenate([again(step)[1] for step in range(1, 7)], axis=1))


def test_buckets_are_drawn_by_their_number_of_batches(tmp_path):
    examples([3] * 90 + [9] * 10, [2] * 100).save(tmp_path, "all")
    examples([3] * 9, [2] * 9).save(tmp_path, "short")
    buckets = Pools(tmp_path, [run(0)], 0, "train").buckets([4, 12], 5, 2)
    sampler = Sampler(buckets, [0], 0)
    assert 0.03 < np.mean([sampler(step)[0] for step in range(400)]) < 0.2


def test_every_lane_has_examples_in_every_bucket():
    both = [np.array([3, 9, 9]), np.array([4, 30])]
    assert shared_bounds([4, 12, 32], both) == [4, 32]  # the second has none of 5 to 12, the first none above 12
    assert shared_bounds([4, 12, 32], both[:1] * 2) == [4, 32]
    assert shared_bounds([8, 12], [np.array([10, 12]), np.array([3, 10])]) == [12]


@given(st.lists(st.lists(st.integers(1, 40), min_size=1), min_size=1, max_size=3), st.sets(st.integers(1, 40), max_size=4))
def test_shared_bounds_leave_no_example_out(lengths, bounds):
    bounds = sorted({*bounds, 40})
    found = shared_bounds(bounds, [np.array(some) for some in lengths])
    assert set(found) <= set(bounds) and found[-1] == 40
    for lower, bound in zip([0, *found], found):
        assert all(any(lower < length <= bound for length in some) for some in lengths)


def test_a_lane_takes_as_many_examples_as_if_it_were_alone(tmp_path):
    examples([8] * 30, [8] * 30).save(tmp_path, "all")
    examples([12] * 30, [12] * 30).save(tmp_path, "long")
    runs = [run(0), run(1, arrays="long")]
    (bucket,) = Pools(tmp_path, runs, 0, "train").buckets([12], None, 12)
    assert bucket.sizes == [7, 5] and bucket.size == 8  # 60 positions; few sizes of batches share compiled functions
    _, rows = Sampler([bucket], [0, 1], 0)(1)
    assert [np.sum(of_lane >= 0) for of_lane in rows] == bucket.sizes
    assert bucket.shape(1) == {"examples": 5, "rows": 8, "input_length": 12, "target_length": 12}
    # Nothing must fill a batch of classes, because batch normalisation counts every row.
    (bucket,) = Pools(tmp_path, [dataclasses.replace(one, slots=(slot(arrays, targets="class"),)) for one, arrays in
                                 zip(runs, ("all", "long"))], 0, "train").buckets([12], None, 12)  # fmt: skip
    assert bucket.sizes == [6, 6] and bucket.size == 6


def test_a_damaged_file_is_named(tmp_path):
    examples([3] * 60, [2] * 60).save(tmp_path, "all")
    save_trained(tmp_path, "seed_0", [np.arange(600, dtype=np.float32) / 3], {"step": 1})
    for path, load in (
        (tmp_path / "arrays" / "all.npz", lambda: Pools(str(tmp_path), [run(0)], 0, "train")),
        (tmp_path / "seed_0" / "weights.npz", lambda: load_weights(str(tmp_path), "seed_0")),
        (tmp_path / "seed_0" / "result.json", lambda: load_result(str(tmp_path), "seed_0")),
    ):
        load()
        whole = path.read_bytes()
        for part in (whole[: len(whole) // 2], b""):
            path.write_bytes(part)
            with pytest.raises(RunError, match=f"{path.name}: is incomplete or damaged"):
                load()


def test_runs_that_another_version_packed_are_named(tmp_path):
    save_runs(tmp_path, [run(0)])
    assert load_runs(tmp_path)[0].digest == run(0).digest
    (packed,) = json.loads((tmp_path / "runs.json").read_text())
    for changed in ({"more": 1, **packed}, {name: value for name, value in packed.items() if name != "slots"}):
        (tmp_path / "runs.json").write_text(json.dumps([changed]))
        with pytest.raises(RunError, match="runs.json: was written by another version of this package .*Pack the runs again"):
            load_runs(tmp_path)


@pytest.mark.parametrize("short", [True, False])
def test_weights_are_read_as_they_were_written(tmp_path, short):
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    weights = [rounded(values) if short else values, np.arange(3, dtype=np.float32) / 3, np.array([1, 2], np.uint32)]
    save_trained(tmp_path, "joint/seed_0", weights, {"step": 1})
    found = load_weights(tmp_path, "joint/seed_0")
    for value, other in zip(weights, found):
        assert value.dtype == other.dtype
        np.testing.assert_array_equal(value, other)
    names = np.load(tmp_path / "joint/seed_0/weights.npz").files
    assert ("short_0" in names) == short


def test_runs_that_differ_only_in_numbers_share_a_group():
    assert run(0).group == run(1).group == run(2, command="To-French", problem="other", arrays="few").group
    assert run(0).group != run(1, budget=61).group
    assert run(0).group != run(1, weight=0.5).group
    assert run(0).group != run(1, targets="class").group
    # Trees have no contrast, so that they need another function only if there is one.
    assert run(0).group == run(1, targets="tree").group
    assert run(0, contrast=1.0).group != run(1, contrast=1.0, targets="tree").group
