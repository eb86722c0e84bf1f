"""Search against brute force, over a made-up decoder whose probabilities are a table."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.data.tokenizer import END_ID, PADDING_ID
from t2t_mm.decoding import beam_search, length_penalty

SYMBOLS, LENGTH = 5, 4


class TableDecoder:
    """p(next | previous token, position, example); the state counts the steps, one row a hypothesis."""

    def __init__(self, seed):
        self.table = np.random.default_rng(seed).normal(size=(2, LENGTH, SYMBOLS, SYMBOLS)).astype("float32") * 2

    def initial_state(self, encoded, source_padding, max_length):
        return {"example": tf.cast(encoded[:, 0, 0], tf.int32), "previous": tf.zeros(tf.shape(encoded)[:1], tf.int32)}

    def command(self, name, batch):
        return tf.one_hot(tf.fill([batch], 0), SYMBOLS)

    def language_in(self, ids):
        return tf.one_hot(ids, SYMBOLS)

    def step(self, x, position, state):
        token = tf.argmax(x, -1, output_type=tf.int32)
        rows = tf.gather(tf.constant(self.table), state["example"])
        logits = tf.gather(tf.gather(rows, position, axis=1), token, batch_dims=1)
        return tf.ensure_shape(logits, [None, SYMBOLS]), dict(state, previous=token)

    def best(self, example, alpha):
        """The best ended or full-length sequence of all, by trying each."""
        scored = []
        for length in range(1, LENGTH + 1):
            for ids in itertools.product(range(1, SYMBOLS), repeat=length):
                if END_ID in ids[:-1] or (length < LENGTH and ids[-1] != END_ID):
                    continue
                previous, total = 0, 0.0
                for position, token in enumerate(ids):
                    row = self.table[example, position, previous].astype("float64")
                    total += row[token] - np.log(np.exp(row).sum())
                    previous = token
                scored.append((total / float(length_penalty(length, alpha)), ids))
        return max(scored)


ENCODED = tf.reshape(tf.constant([0.0, 1.0]), [2, 1, 1])
NOT_PADDED = tf.zeros([2, 1], tf.bool)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_wide_beam_finds_what_brute_force_finds(seed, alpha):
    decoder = TableDecoder(seed)
    ids, scores = beam_search(decoder, ENCODED, NOT_PADDED, "", LENGTH, beam_size=200, alpha=alpha)
    for example in range(2):
        score, best = decoder.best(example, alpha)
        found = ids[example].numpy()
        assert tuple(found[: len(best)]) == best and not found[len(best) :].any()
        assert abs(float(scores[example]) - score) < 1e-4


def test_greedy_takes_the_likeliest_token_each_time():
    decoder = TableDecoder(0)
    ids, _ = beam_search(decoder, ENCODED, NOT_PADDED, "", LENGTH)
    for example in range(2):
        previous, expected = 0, []
        for position in range(LENGTH):
            row = decoder.table[example, position, previous].copy()
            row[PADDING_ID] = -np.inf
            previous = int(row.argmax())
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
