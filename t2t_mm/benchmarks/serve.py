"""How much the local server answers how fast, batched or not; good requests among bad ones, and as versions change.

Requests and server share the machine: the figures compare settings, they are not those of TensorFlow Serving.
"""

import asyncio
import base64
import io
import os
import shutil
import tempfile
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
    switch_seconds: float = 10.0,
    max_requests: int = 100_000,
) -> dict:
    """Case (problem, concurrency, batching; soak; switch of versions) -> {figure: value}.

    Args:
      export_dir: the export's versions. problems: whose corpora give the inputs; each needs its signature.
      examples: different inputs of each problem. seconds: for each figure.
      soak_seconds: 0 leaves the soak out. soak_workers: good requests under way at once in it.
      soak_timeout_seconds: the server's limit for a request in the soak; a slow one is held so long.
      switch_seconds: of load before a new version comes, and after it has taken over; 0 leaves the switch out.
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
            **_switched(export_dir, bodies, max_batch_size, switch_seconds, soak_workers),
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
    every = _mixed(bodies)
    longest = max(map(len, every))
    limits = Limits(max_body_bytes=2 * longest, timeout_seconds=timeout_seconds)
    with load.serving(export_dir, BatchSettings(max_batch_size=max_batch_size), limits) as (url, process):
        found = asyncio.run(load.soak(url, process, every, limits, workers, seconds, max_requests))
    return {f"soak of {seconds:.0f} s": found}


def _switched(export_dir, bodies: dict, max_batch_size, seconds, workers) -> dict:
    """A server of a copy of the newest version, beside which a second copy comes as the next one."""
    if not seconds:
        return {}
    versions = [int(name) for name in os.listdir(export_dir) if name.isdecimal()]
    if not versions:
        raise RunError(f"{export_dir} holds no version: a folder named by an integer, as bin/export.py writes it.")
    with tempfile.TemporaryDirectory() as folder:

        def publish(version):
            aside = os.path.join(folder, f"writing-{version}")
            shutil.copytree(os.path.join(export_dir, str(max(versions))), aside)
            os.rename(aside, os.path.join(folder, str(version)))

        publish(1)
        with load.serving(folder, BatchSettings(max_batch_size=max_batch_size), Limits()) as (url, _):
            found = load.switch(url, _mixed(bodies), workers, seconds, 2, lambda: publish(2))
            return {"switch to a new version": asyncio.run(found)}


def _mixed(bodies: dict) -> list[bytes]:
    """One of each problem, then the next of each."""
    return [body for turn in zip(*bodies.values()) for body in turn]


def _bodies(problem: Problem, split: str, count: int) -> list[bytes]:
    """`count` requests, from the problem's own corpus, repeated where it has fewer examples."""
    found = problem.source.examples(split, Report(problem.name))
    if not found:
        raise RunError(f"{problem.name}: split {split} holds no example to send.")
    bodies = [load.request_body(problem.name, _instance(problem, one)) for one in found[:count]]
    return [bodies[index % len(bodies)] for index in range(count)]


def _instance(problem: Problem, one: Example):
    data = client_bytes(problem, one)
    return one.inputs if problem.inputs == "language" else {"b64": base64.b64encode(data).decode("ascii")}


def client_bytes(problem: Problem, one: Example) -> bytes:
    """An example's input as a client sends it: UTF-8 text, the picture's file, a WAV of 16 bits."""
    if problem.inputs == "language":
        return one.inputs.encode()
    if problem.inputs == "audio":
        return _wav(media.load_audio(one.inputs, _RATE))
    with open(one.inputs, "rb") as file:
        return file.read()


def _wav(samples: np.ndarray) -> bytes:  # float [samples] -> WAV of 16 bits
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, _RATE, len(samples), "NONE", ""))
        file.writeframes(np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
    return data.getvalue()
