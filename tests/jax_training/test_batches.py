import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2t_mm.common.errors import RunError
from t2t_mm.jax_training.batches import Pools, Sampler, batch_size, best_bounds, in_order
from t2t_mm.jax_training.packed import PackedExamples, PackedRun, Slot, load_weights, rounded, save_trained


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
    assert sorted(pools.lengths.tolist()) == [3, 5, 8, 9]  # the longer of input and target
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
    # A lane without long examples makes all lanes take short ones.
    buckets = Pools(tmp_path, [run(0), run(1, arrays="short")], 0, "train").buckets([4, 12], 5, 2)
    sampler = Sampler(buckets, [0, 1], 0)
    assert {sampler(step)[0] for step in range(100)} == {0}


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
