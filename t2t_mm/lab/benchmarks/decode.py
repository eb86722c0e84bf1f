"""Measures the tokens per second of greedy and beam search by output length, against re-running the full pass."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import tensorflow as tf

from t2t_mm.incremental import IncrementalDecoder
from t2t_mm.inference import search as decoding
from t2t_mm.model import MultiModel

_COMMAND = "To-Benchmark"


def run(
    model: Callable[..., MultiModel] = MultiModel,
    vocabulary_size: int = 8000,
    source_length: int = 32,
    lengths: Sequence[int] = (8, 32, 128, 256, 512),
    batches: Sequence[int] = (1, 32),
    beams: Sequence[int] = (1, 4),
    naive_lengths: Sequence[int] = (8, 32, 128),
    at_once: int = os.cpu_count() or 1,
    repeats: int = 3,
) -> dict[str, dict[str, float]]:
    """Measures decoding speed for each batch size, method and output length, and returns case -> figures.

    Only the tokens of the answers count, not those of the beam's other hypotheses. The end token is excluded, so that
    every answer has the full length. For every new token, the naive loop repeats the teacher-forced pass over all
    tokens so far; it is only run at `naive_lengths`. In the case "N at once", `at_once` batches are searched greedily at
    the same time, as in `predictor.predict`.
    """
    keras.utils.set_random_seed(0)
    network = model(vocabulary_size=vocabulary_size, commands=(_COMMAND,), inputs=("language",), num_classes={})
    network.build()
    found: dict[str, dict[str, float]] = {}
    for batch in batches:
        ids = tf.random.uniform([batch, source_length], 3, vocabulary_size, tf.int32)
        encoded, padding, _, _ = network.encode("language", ids, tf.zeros_like(ids, tf.bool), _COMMAND)
        figures: dict[tuple[int | str, int], float] = {}
        for beam in beams:
            for length in lengths:
                figures[beam, length] = _seconds(_search(network, length, beam), encoded, padding, repeats)
        for length in lengths:
            figures["at once", length] = _seconds_of_several(_search(network, length, 1), encoded, padding, repeats, at_once)
        for length in naive_lengths:
            figures["naive", length] = _seconds(_naive(network, length), encoded, padding, 1)
        found |= _report(figures, batch, at_once)
    return found


def _search(network, length: int, beam: int):
    @tf.function(autograph=False)
    def search(encoded, padding):
        decoder = IncrementalDecoder(network)
        return decoding.beam_search(decoder, encoded, padding, _COMMAND, length, beam, never_end=True)[0]

    return search


def _naive(network, length: int):
    @tf.function(reduce_retracing=True)
    def last_logits(encoded, padding, targets):
        logits, _ = network.decode_text(encoded, padding, _COMMAND, targets, tf.zeros_like(targets, tf.bool))
        return logits[:, -1]

    def search(encoded, padding):
        targets = tf.zeros([encoded.shape[0], 1], tf.int32)
        for _ in range(length):
            token = tf.argmax(last_logits(encoded, padding, targets), axis=-1, output_type=tf.int32)
            targets = tf.concat([targets[:, :-1], token[:, None], token[:, None]], axis=1)
        return targets

    return search


def _seconds(function, encoded, padding, repeats: int) -> float:
    """Returns the time of the fastest of `repeats` runs, after one run that traces."""
    function(encoded, padding)
    best = float("inf")
    for _ in range(repeats):
        start = time.monotonic()
        function(encoded, padding).numpy()
        best = min(best, time.monotonic() - start)
    return best


def _seconds_of_several(function, encoded, padding, repeats: int, at_once: int) -> float:
    """Returns the time per batch if `at_once` batches run at the same time."""
    with ThreadPoolExecutor(at_once) as pool:

        def of_all(*batch):
            return list(pool.map(lambda _: function(*batch), range(at_once)))[0]

        return _seconds(of_all, encoded, padding, repeats) / at_once


def _report(figures: dict, batch: int, at_once: int) -> dict[str, dict[str, float]]:
    names = {"naive": "naive loop", 1: "greedy", "at once": f"greedy, {at_once} at once"}
    found: dict = {}
    for (kind, length), seconds in figures.items():
        case = found.setdefault(f"batch {batch}, {names.get(kind, f'beam {kind}')}", {})
        case[f"tokens/s at {length}"] = batch * length / seconds
        if (kind, length // 2) in figures:
            case[f"time of {length} over {length // 2}"] = seconds / figures[kind, length // 2]
        if kind != "naive" and ("naive", length) in figures:
            case[f"times the naive loop at {length}"] = figures["naive", length] / seconds
        if kind not in (1, "at once", "naive") and (1, length) in figures:
            case[f"time over greedy at {length}"] = seconds / figures[1, length]
    return found
