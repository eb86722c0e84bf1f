"""Tests several inputs as one sequence: no gaps, separate timing signals, and no influence of padding or other examples."""

import numpy as np
import pytest

from t2t_mm.layers.timing import timing_signal
from t2t_mm.modalities.joining import PART, joined, packed


def some(rng, lengths, longest, depth=6):
    """Sequences [B, longest, depth] of these lengths, and their padding."""
    x = rng.normal(size=(len(lengths), longest, depth)).astype("float32")
    return x, np.arange(longest)[None] >= np.array(lengths)[:, None]


def test_padding_is_moved_to_the_end_and_the_order_stays():
    x = np.arange(12, dtype="float32").reshape(2, 6, 1)
    padding = np.array([[0, 1, 0, 0, 1, 0], [1, 1, 0, 1, 1, 0]], bool)
    moved, kept = map(np.asarray, packed(x, padding))
    np.testing.assert_array_equal(kept, [[0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1]])
    np.testing.assert_array_equal(moved[..., 0][~kept], [0, 2, 3, 5, 8, 11])


def test_a_part_has_its_own_timing_wherever_it_begins():
    rng = np.random.default_rng(0)
    (a, a_padding), (b, b_padding) = some(rng, (2, 5), 5), some(rng, (3, 1), 4)
    x, padding = map(np.asarray, joined([a, b], [a_padding, b_padding]))
    assert x.shape == (2, 9, 6) and padding.sum(axis=1).tolist() == [4, 3]
    first, second = (np.asarray(timing_signal(5, 6, start)) for start in (0, PART))
    np.testing.assert_allclose(x[0, :5], np.concatenate([a[0, :2] + first[:2], b[0, :3] + second[:3]]), atol=1e-5)
    np.testing.assert_allclose(x[1, :6], np.concatenate([a[1] + first, b[1, :1] + second[:1]]), atol=1e-5)


def test_two_parts_of_one_modality_are_told_apart():
    a, b = (some(np.random.default_rng(seed), (3,), 3)[0] for seed in (0, 1))
    none = np.zeros((1, 3), bool)
    one, other = (np.asarray(joined(parts, [none, none])[0]) for parts in ([a, b], [b, a]))
    assert np.abs(one - other[:, [3, 4, 5, 0, 1, 2]]).max() > 0.1


def test_only_the_last_part_may_reach_the_positions_of_a_further_one():
    long, short, longer = (np.zeros((1, length, 2), "float32") for length in (PART, 3, PART + 1))
    masks = {id(x): np.zeros(x.shape[:2], bool) for x in (long, short, longer)}
    for parts in ((long, short), (short, longer)):
        x, _ = joined(parts, [masks[id(part)] for part in parts])
        assert x.shape[1] == sum(part.shape[1] for part in parts)
    with pytest.raises(ValueError, match="Input 2 of 3 has 1001 positions; only the last one may have more than 1000"):
        joined((short, longer, short), [masks[id(part)] for part in (short, longer, short)])


@pytest.mark.parametrize("more", [0, 7])
def test_further_padding_changes_nothing(more):
    rng = np.random.default_rng(0)
    parts = [some(rng, (2, 4), 4), some(rng, (3, 2), 3)]
    wider = [(np.pad(x, [[0, 0], [0, more], [0, 0]], constant_values=9), np.pad(p, [[0, 0], [0, more]], constant_values=True))
             for x, p in parts]  # fmt: skip
    (x, padding), (y, other) = (map(np.asarray, joined(*zip(*some))) for some in (parts, wider))
    np.testing.assert_array_equal(np.where(padding[..., None], 0, x), np.where(other[..., None], 0, y)[:, : x.shape[1]])
