"""Measures the speed of the readers: corpus lists, images and audio, the Shorten decoder, and tokenization."""

import functools
import glob
import itertools
import os
import time
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf

from t2t_mm.corpora import pictures, sounds
from t2t_mm.corpora.corpus_files import missing_corpus
from t2t_mm.corpora.example import Report
from t2t_mm.corpora.shorten import decode_shorten
from t2t_mm.corpora.sphere import decode_sphere
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.problem import Problem


def run(
    problems: Sequence[Problem],
    vocabulary: str,
    compressed: str,
    image_size: int = 64,
    sample_rate: int = 16000,
    seconds: float = 5.0,
) -> dict[str, dict[str, float]]:
    """Runs each measurement for about `seconds` seconds.

    Args:
      problems: the problems whose corpora are read.
      vocabulary: path of the SentencePiece model.
      compressed: a glob pattern of SPHERE files with Shorten-compressed samples.

    Returns:
      One case per problem ("examples_per_second" of listing the corpus; for images and audio also "decoded_per_second"
      on one core), "shorten" ("megabytes_per_second" of decoded samples, and "times_real_time") and "tokenisation"
      ("pairs_per_second", in the graph).
    """
    found = {}
    for problem in problems:
        found[problem.name] = {"examples_per_second": _rate(functools.partial(_count, problem), seconds)}
        paths = [example.inputs for example in _examples(problem)]
        if problem.inputs == "image":
            read = lambda path: pictures.load_image(path, image_size)  # noqa: E731
            found[problem.name]["decoded_per_second"] = _rate_each(read, paths, seconds)
        elif problem.inputs == "audio":
            read = lambda path: sounds.load_audio(path, sample_rate)  # noqa: E731
            found[problem.name]["decoded_per_second"] = _rate_each(read, paths, seconds)
    found["shorten"] = _shorten(compressed, seconds)
    pairs = [p for p in problems if p.inputs == "language" and p.targets == "text"]
    if pairs:
        found["tokenisation"] = {"pairs_per_second": _tokenisation(pairs[0], vocabulary, seconds)}
    return found


def _examples(problem: Problem) -> list:
    return list(problem.source.examples("train", Report(problem.name)))


def _count(problem: Problem) -> int:
    return len(_examples(problem))


def _rate(work: Callable[[], int], seconds: float) -> float:
    """Returns items per second after one warm-up call; each call of `work` returns how many items it processed."""
    work()
    start, done = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        done += work()
    return done / (time.perf_counter() - start)


def _rate_each(read: Callable, values: Iterable, seconds: float) -> float:
    following = itertools.cycle(values)

    def one() -> int:
        read(next(following))
        return 1

    return _rate(one, seconds)


def _shorten(pattern: str, seconds: float) -> dict:
    paths = sorted(glob.glob(pattern))
    if not paths:
        expected = f"SPHERE files {pattern} with Shorten-compressed samples"
        raise missing_corpus(os.path.dirname(pattern), expected, "LDC93S6B")
    streams, rates = [], set()
    for path in paths:
        with open(path, "rb") as file:
            data = file.read()
        rates.add(decode_sphere(data, path)[1])
        streams.append(data[int(data[8:16]) :])  # the second line of a SPHERE header is the header's size
    samples = _rate(lambda: sum(decode_shorten(stream).size for stream in streams), seconds)
    return {"megabytes_per_second": 2 * samples / 1e6, "times_real_time": samples / max(rates)}  # 16-bit samples


def _tokenisation(problem: Problem, vocabulary: str, seconds: float) -> float:
    tokenizer, examples = Tokenizer(vocabulary), _examples(problem)
    pairs = (tf.constant([e.inputs for e in examples]), tf.constant([e.targets for e in examples]))
    data = tf.data.Dataset.from_tensor_slices(pairs).map(
        lambda source, target: (tokenizer.tokenize(source), tokenizer.tokenize(target)), num_parallel_calls=2
    )
    return _rate(lambda: sum(1 for _ in data), seconds)
