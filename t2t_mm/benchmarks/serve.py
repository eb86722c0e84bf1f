"""How much the local server answers how fast, with and without batching; and a soak of good requests among bad ones.

Requests and server share the machine: the figures compare settings, they are not those of TensorFlow Serving.
"""

import asyncio
import base64
import io
import os
import wave
from collections.abc import Sequence

import numpy as np
from absl import logging

from t2t_mm.data import media
from t2t_mm.data.example import Example, Report
from t2t_mm.experiment import RunError
from t2t_mm.problems.problem import Problem
from t2t_mm.serving import load
from t2t_mm.serving.batching import BatchSettings
from t2t_mm.serving.service import Limits

_RATE = 16000  # Hz of the WAV files sent


def run(
    export_dir: str,
    problems: Sequence[Problem],
    split: str = "test",
    examples: int = 32,
    concurrencies: Sequence[int] = (1, 8, 32),
    seconds: float = 5.0,
    max_batch_size: int = 16,
    soak_seconds: float = 180.0,
    soak_workers: int = 4,
    soak_timeout_seconds: float = 10.0,
    max_requests: int = 100_000,
) -> dict:
    """Case (problem, concurrency, batching; soak) -> {figure: value}.

    Args:
      export_dir: the export's versions. problems: whose corpora give the inputs; each needs its signature.
      examples: different inputs of each problem. seconds: for each figure.
      soak_seconds: 0 leaves the soak out. soak_workers: good requests under way at once in it.
      soak_timeout_seconds: the server's limit for a request in the soak; a slow one is held so long.
      max_requests: of each measurement and of the soak.

    Raises:
      RunError: no export there, or a corpus without an example.
      CorpusError: a corpus is missing or unreadable.
    """
    if not os.path.isdir(export_dir):
        raise RunError(f"No export {export_dir}; write one with bin/export.py, and set serve.run.export_dir.")
    bodies = {problem.name: _bodies(problem, split, examples) for problem in problems}
    try:
        return {
            **_measured(export_dir, bodies, concurrencies, seconds, max_batch_size, max_requests),
            **_soaked(
                export_dir, bodies, max_batch_size, soak_seconds, soak_workers, soak_timeout_seconds, max_requests
            ),
        }
    except load.LoadError as error:
        raise RunError(str(error)) from error


def _measured(export_dir, bodies: dict, concurrencies, seconds, max_batch_size, max_requests) -> dict:
    measured = {}
    for enabled in (False, True):
        batching = BatchSettings(enabled=enabled, max_batch_size=max_batch_size)
        with load.serving(export_dir, batching, Limits(timeout_seconds=300.0)) as (url, _):
            for name, requests in bodies.items():
                for concurrency in concurrencies:
                    case = f"{name}, concurrency {concurrency}, {'batches' if enabled else 'one by one'}"
                    found = asyncio.run(load.measure(url, requests, concurrency, seconds, max_requests))
                    measured[case] = found
                    logging.info("%s: %s", case, found)
    return measured


def _soaked(export_dir, bodies: dict, max_batch_size, seconds, workers, timeout_seconds, max_requests) -> dict:
    if not seconds:
        return {}
    longest = max(len(body) for requests in bodies.values() for body in requests)
    limits = Limits(max_body_bytes=2 * longest, timeout_seconds=timeout_seconds)
    every = [body for turn in zip(*bodies.values()) for body in turn]
    with load.serving(export_dir, BatchSettings(max_batch_size=max_batch_size), limits) as (url, process):
        found = asyncio.run(load.soak(url, process, every, limits, workers, seconds, max_requests))
    return {f"soak of {seconds:.0f} s": found}


def _bodies(problem: Problem, split: str, count: int) -> list[bytes]:
    """`count` requests, from the problem's own corpus, repeated where it has fewer examples."""
    found = problem.source.examples(split, Report(problem.name))
    if not found:
        raise RunError(f"{problem.name}: split {split} holds no example to send.")
    bodies = [load.request_body(problem.name, _instance(problem, one)) for one in found[:count]]
    return [bodies[index % len(bodies)] for index in range(count)]


def _instance(problem: Problem, one: Example):
    if problem.inputs == "language":
        return one.inputs
    if problem.inputs == "audio":
        data = _wav(media.load_audio(one.inputs, _RATE))
    else:
        with open(one.inputs, "rb") as file:
            data = file.read()
    return {"b64": base64.b64encode(data).decode("ascii")}


def _wav(samples: np.ndarray) -> bytes:  # float [samples] -> WAV of 16 bits
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, _RATE, len(samples), "NONE", ""))
        file.writeframes(np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
    return data.getvalue()
