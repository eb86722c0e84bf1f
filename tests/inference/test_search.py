"""Compares the search with brute force on a decoder whose probabilities are a table."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.inference import search as decoding
from t2t_mm.inference.search import IMPOSSIBLE_SCORE, beam_search, best_of_beam, keep_likely, length_penalty, sample
from t2t_mm.input.tokenizer import END_ID, PADDING_ID

SYMBOLS, LENGTH = 5, 4


class TableDecoder:
    """p(next | the two tokens before, position, example); the state holds each slot's tokens, as the layers' does."""

    def __init__(self, seed):
        shape = (2, LENGTH, SYMBOLS, SYMBOLS, SYMBOLS)
        self.table = np.random.default_rng(seed).normal(size=shape).astype("float32") * 2
        self.room = []

    def initial_state(self, encoded, source_padding, positions, width):
        example = tf.cast(encoded[:, 0, 0], tf.int32)
        return {"example": example, "tokens": tf.zeros([tf.shape(encoded)[0], width, positions], tf.int32)}

    def extend(self, state, positions):
        self.room.append(positions)
        return dict(state, tokens=tf.pad(state["tokens"], [[0, 0], [0, 0], [0, positions]]))

    def command(self, name, batch):
        return tf.one_hot(tf.fill([batch], 0), SYMBOLS)

    def language_in(self, ids, command):
        return tf.one_hot(ids, SYMBOLS)

    def step(self, x, position, state, ancestors, write):
        batch, width = tf.shape(state["tokens"])[0], state["tokens"].shape[1]
        token = tf.reshape(tf.argmax(x, -1, output_type=tf.int32), [batch, width])
        own = tf.broadcast_to(tf.range(width), [batch, width])
        slots = own if ancestors is None else ancestors[:, :, tf.maximum(position - 1, 0)]
        here = tf.range(tf.shape(state["tokens"])[2]) == position
        tokens = tf.where(here, token[..., None], state["tokens"])
        before = tf.gather(tokens[:, :, tf.maximum(position - 1, 0)], slots, batch_dims=1)
        before *= tf.cast(position > 0, tf.int32)
        rows = tf.gather(tf.constant(self.table), state["example"])[:, position]  # [B, V, V, V]
        logits = tf.gather(tf.gather(rows, before, batch_dims=1), token, batch_dims=2)
        return tf.ensure_shape(tf.reshape(logits, [-1, SYMBOLS]), [None, SYMBOLS]), dict(state, tokens=tokens)

    def ranked(self, example, alpha):
        """All ended or full-length sequences, the best first, by trying each."""
        scored = []
        for length in range(1, LENGTH + 1):
            for ids in itertools.product(range(1, SYMBOLS), repeat=length):
                if END_ID in ids[:-1] or (length < LENGTH and ids[-1] != END_ID):
                    continue
                before, previous, total = 0, 0, 0.0
                for position, token in enumerate(ids):
                    row = self.table[example, position, before, previous].astype("float64")
                    total += row[token] - np.log(np.exp(row).sum())
                    before, previous = previous, token
                scored.append((total / float(length_penalty(length, alpha)), ids))
        return sorted(scored, reverse=True)


ENCODED = tf.reshape(tf.constant([0.0, 1.0]), [2, 1, 1])
NOT_PADDED = tf.zeros([2, 1], tf.bool)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_wide_beam_finds_what_brute_force_finds(seed, alpha):
    decoder = TableDecoder(seed)
    ids, scores = beam_search(decoder, ENCODED, NOT_PADDED, "", LENGTH, beam_size=200, alpha=alpha)
    for example in range(2):
        score, best = decoder.ranked(example, alpha)[0]
        found = ids[example].numpy()
        assert tuple(found[: len(best)]) == best and not found[len(best) :].any()
        assert abs(float(scores[example]) - score) < 1e-4


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_the_best_of_a_wide_beam_are_the_best_of_all_in_order(alpha):
    decoder = TableDecoder(4)
    ids, scores = best_of_beam(decoder, ENCODED, NOT_PADDED, "", LENGTH, 200, 7, alpha)
    assert ids.shape == (2, 7, LENGTH)
    for example in range(2):
        ranked = decoder.ranked(example, alpha)[:7]
        np.testing.assert_allclose(scores[example], [score for score, _ in ranked], atol=1e-4)
        expected = [[*best, *[PADDING_ID] * (LENGTH - len(best))] for _, best in ranked]
        np.testing.assert_array_equal(ids[example], expected)


class NotThree:
    """A constraint that takes token 3 out."""

    allows_three = False

    def initial(self, width):
        return ()

    def allowed(self, state, position):
        return (tf.range(SYMBOLS) == 3) == self.allows_three

    def merged(self, log_p):
        return log_p

    def advance(self, state, token):
        return ()


class OnlyThree(NotThree):
    """A constraint that takes all others out."""

    allows_three = True


@pytest.mark.parametrize("how", ["beam", "greedy", "sampled", "constrained"])
def test_log_probabilities_of_tokens_are_those_of_the_table(how):
    """Also where a constraint takes tokens out: they are the model's own, not those among what is left."""
    decoder, constraint = TableDecoder(4), NotThree() if how == "constrained" else None
    given = decoder, ENCODED, NOT_PADDED, "", LENGTH
    search = functools.partial(best_of_beam, *given, *((1, 1) if how == "greedy" else (6, 5)), 0.6, constraint=constraint)
    if how == "sampled":
        search = functools.partial(sample, *given, temperature=3.0, seed=2)
    ids, scores, log_probs = search(log_probs=True)
    for with_them, without in zip((ids, scores), search(), strict=True):
        np.testing.assert_array_equal(with_them, without)
    assert log_probs.shape == ids.shape
    count = 1 if how == "sampled" else ids.shape[1]
    for example, own, found in zip(
        np.repeat(range(2), count), np.reshape(ids, [-1, LENGTH]), np.reshape(log_probs, [-1, LENGTH]), strict=True
    ):
        before, previous, expected = 0, 0, []
        for position, token in enumerate(own):
            row = decoder.table[example, position, before, previous].astype("float64")
            expected.append(0.0 if token == PADDING_ID else row[token] - np.log(np.exp(row).sum()))
            before, previous = previous, token
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert how != "constrained" or not (ids.numpy() == 3).any()


@pytest.mark.parametrize("alpha", [0.0, 9.0])
def test_hypotheses_that_are_impossible_remain_so_whatever_the_penalty(alpha):
    """The penalty of four tokens, (9 / 6)^9 = 38, would bring them above what separates them from outputs."""
    _, scores = best_of_beam(TableDecoder(0), ENCODED, NOT_PADDED, "", LENGTH, 8, 8, alpha, constraint=OnlyThree())
    possible = scores.numpy() > IMPOSSIBLE_SCORE
    assert possible.sum(axis=1).tolist() == [1, 1] and possible[:, 0].all()


def test_no_more_answers_than_hypotheses():
    for best in (0, 3):
        with pytest.raises(ValueError, match=f"best is {best}; it must be between 1 and the 2 hypotheses"):
            best_of_beam(TableDecoder(0), ENCODED, NOT_PADDED, "", LENGTH, 2, best)


def test_greedy_takes_the_likeliest_token_each_time():
    decoder = TableDecoder(0)
    ids, _ = beam_search(decoder, ENCODED, NOT_PADDED, "", LENGTH)
    for example in range(2):
        before, previous, expected = 0, 0, []
        for position in range(LENGTH):
            row = decoder.table[example, position, before, previous].copy()
            row[PADDING_ID] = -np.inf
            before, previous = previous, int(row.argmax())
            expected.append(previous)
            if previous == END_ID:
                break
        expected += [PADDING_ID] * (LENGTH - len(expected))
        np.testing.assert_array_equal(ids[example].numpy(), expected)


def test_a_wider_beam_is_never_worse_and_compiles_as_it_runs():
    decoder = TableDecoder(3)
    search = tf.function(lambda width: beam_search(decoder, ENCODED, NOT_PADDED, "", LENGTH, width, 0.0)[1])
    narrow, wide = search(1).numpy(), search(50).numpy()
    assert (wide >= narrow - 1e-5).all()


def test_room_grows_with_the_answer_and_changes_nothing(monkeypatch):
    whole = beam_search(TableDecoder(1), ENCODED, NOT_PADDED, "", LENGTH, 3)
    monkeypatch.setattr(decoding, "_ROOM", 1)
    decoder = TableDecoder(1)
    for one, other in zip(whole, beam_search(decoder, ENCODED, NOT_PADDED, "", LENGTH, 3)):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert set(decoder.room) == {1} and len(decoder.room) > 1


def test_the_search_stops_when_all_have_ended():
    decoder = TableDecoder(0)
    decoder.table[..., END_ID] += 20
    ids, _ = beam_search(decoder, ENCODED, NOT_PADDED, "", 40 * LENGTH)  # beyond LENGTH, the table would fail
    assert (ids[:, 0] == END_ID).numpy().all() and not ids[:, 1:].numpy().any()


def test_samples_follow_the_distribution():
    decoder, many = TableDecoder(2), 4000
    ids, scores = sample(decoder, tf.zeros([many, 1, 1]), tf.zeros([many, 1], tf.bool), "", LENGTH, seed=3)
    row = np.exp(decoder.table[0, 0, 0, 0].astype("float64"))
    row[PADDING_ID] = 0
    drawn = np.bincount(ids[:, 0].numpy(), minlength=SYMBOLS) / many
    np.testing.assert_allclose(drawn, row / row.sum(), atol=0.03)
    ended = ids.numpy() == END_ID
    after = np.cumsum(ended, axis=1) - ended > 0
    assert not ids.numpy()[after].any() and ids.numpy()[~after].all() and (scores.numpy() < 0).all()


def test_a_seed_draws_the_same_whatever_the_neighbours():
    draw = lambda count, seed: sample(  # noqa: E731
        TableDecoder(2), tf.zeros([count, 1, 1]), tf.zeros([count, 1], tf.bool), "", LENGTH, seed=seed
    )[0].numpy()
    np.testing.assert_array_equal(draw(3, 5), draw(40, 5)[:3])
    assert (draw(40, 5) != draw(40, 6)).any()


def test_sampling_cold_or_of_one_token_is_greedy():
    greedy, _ = beam_search(TableDecoder(0), ENCODED, NOT_PADDED, "", LENGTH)
    for settings in ({"temperature": 1e-3}, {"top_k": 1}, {"top_p": 1e-6}):
        drawn, _ = sample(TableDecoder(0), ENCODED, NOT_PADDED, "", LENGTH, **settings)
        np.testing.assert_array_equal(drawn.numpy(), greedy.numpy())
    with pytest.raises(ValueError, match="temperature 0"):
        sample(TableDecoder(0), ENCODED, NOT_PADDED, "", LENGTH, temperature=0)


@pytest.mark.parametrize(
    "settings,kept",
    [((0, 1.0), [0, 1, 2, 3]), ((2, 1.0), [1, 2]), ((0, 0.75), [1, 2]), ((0, 0.4), [1]), ((3, 0.83), [1, 2])],
)
def test_only_likely_tokens_are_kept(settings, kept):
    probabilities = np.array([[0.05, 0.5, 0.3, 0.15]], "float32")
    logits = keep_likely(tf.math.log(probabilities), *settings).numpy()
    assert np.flatnonzero(logits[0] > -1e8).tolist() == kept
    np.testing.assert_allclose(np.exp(logits[0, kept]), probabilities[0, kept], rtol=1e-5)
