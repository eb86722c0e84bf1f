"""Measures the local server: throughput and latency with and without batching, a soak test, and a change of version.

The load generator and the server share the machine, so that the figures compare settings with each other; they do not
predict the performance of TensorFlow Serving.
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
from google.protobuf import text_format
from tensorflow.core.protobuf import config_pb2

from t2t_mm.common.environment import VARIABLES
from t2t_mm.common.errors import RunError
from t2t_mm.corpora import sounds
from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.split import examples_of
from t2t_mm.lab import c_api as by_c_api
from t2t_mm.lab import load
from t2t_mm.problem import Problem
from t2t_mm.serving.batching import BatchingSettings
from t2t_mm.serving.service import Limits

_RATE = 16000  # sample rate of the WAV files sent, in Hz


def run(
    export_dir: str,
    problems: Sequence[Problem],
    split: str = "test",
    examples: int = 32,
    concurrencies: Sequence[int] = (1, 8, 32),
    seconds: float = 5.0,
    max_batch_size: int = 16,
    timeout_seconds: float = 10.0,
    soak_seconds: float = 180.0,
    soak_workers: int = 4,
    switch_seconds: float = 10.0,
    c_api: bool = True,
    session_config: str = "",
    max_requests: int = 100_000,
) -> dict[str, dict]:
    """Runs all measurements and returns case -> {figure: value}.

    There is one case for each problem, concurrency and batching mode, one for the soak test and one for the change of
    version. The newest version is copied to a temporary folder, so that a second one can be published next to it.

    Args:
      export_dir: folder of the export's versions.
      problems: problems whose corpora provide the inputs; the export needs a signature for each of them.
      examples: number of different inputs per problem.
      concurrencies: numbers of concurrent requests.
      seconds: duration of each measurement.
      timeout_seconds: the server's time limit for a request. In the soak test, slow requests are held open that long.
      soak_seconds: duration of the soak test; 0 skips it.
      soak_workers: number of concurrent valid requests in the soak test and during the change of version.
      switch_seconds: duration of the load before a new version is published, and after it has taken over; 0 skips the
        change of version.
      c_api: whether to measure the first answer of each signature by TensorFlow's C API, without Python's TensorFlow.
      session_config: file for TensorFlow Serving's --tensorflow_session_config_file; it is measured with that and
        the environment of docs/serving.md, too.
      max_requests: maximum number of requests of each measurement and of the soak test.

    Raises:
      RunError: there is no export, or a corpus has no examples.
      CorpusError: a corpus is missing or unreadable.
    """
    versions = [int(name) for name in os.listdir(export_dir) if name.isdecimal()] if os.path.isdir(export_dir) else []
    if not versions:
        raise RunError(f"There is no export in {export_dir}. Write one with bin/export.py and set serve.run.export_dir.")
    bodies = {problem.name: _bodies(problem, split, examples) for problem in problems}
    every = [body for turn in zip(*bodies.values()) for body in turn]  # the problems alternate
    limits = Limits(max_body_bytes=2 * max(map(len, every)), timeout_seconds=timeout_seconds)
    found: dict[str, dict] = {}
    if c_api:
        found |= _first_answers(os.path.join(export_dir, str(max(versions))), session_config)
    with tempfile.TemporaryDirectory() as folder:

        def publish(version):  # renamed when complete, so that the server never sees an incomplete version
            aside = os.path.join(folder, f"writing-{version}")
            shutil.copytree(os.path.join(export_dir, str(max(versions))), aside)
            os.rename(aside, os.path.join(folder, str(version)))

        publish(1)
        try:
            with load.serving(folder, BatchingSettings(False, max_batch_size), limits) as (url, _):
                found |= _measured(url, bodies, "one by one", concurrencies, seconds, max_requests)
            with load.serving(folder, BatchingSettings(True, max_batch_size), limits) as (url, process):
                found |= _measured(url, bodies, "batches", concurrencies, seconds, max_requests)
                if switch_seconds:
                    switch = load.switch(url, every, soak_workers, switch_seconds, 2, lambda: publish(2))
                    found["switch to a new version"] = asyncio.run(switch)
                if soak_seconds:
                    for kind, figures in asyncio.run(load.costs(url, process, limits)).items():
                        found[f"one request alone: {kind}"] = figures
                    soak = load.soak(url, process, every, limits, soak_workers, soak_seconds, max_requests, lambda: publish(3))
                    found[f"soak of {soak_seconds:.0f} s"] = asyncio.run(soak)
        except load.LoadError as error:
            raise RunError(str(error)) from error
    return found


def _first_answers(folder: str, session_config: str) -> dict:
    """Returns the cost of loading a version and of the first answer to each warm-up request.

    It is measured with TensorFlow's defaults, and with the settings that docs/serving.md gives to TensorFlow Serving.
    """
    requests = by_c_api.warm_up_plan(folder)
    configs: dict[str, tuple[bytes, dict[str, str]]] = {"TensorFlow's defaults": (b"", {})}
    if session_config:
        with open(session_config, encoding="utf-8") as file:
            config = text_format.Parse(file.read(), config_pb2.ConfigProto())
        configs[f"{os.path.basename(session_config)} and environment"] = config.SerializeToString(), VARIABLES
    found = {}
    for name, (config, environment) in configs.items():
        try:
            measured = by_c_api.measure(folder, 2 * requests, config, environment)
        except by_c_api.CApiError as error:
            raise RunError(str(error)) from error
        steps = [measured["load"], *measured["answers"][: len(requests)]]
        case = f"C API, {name}"
        found[case] = {"cpu_seconds": sum(one["cpu_seconds"] for one in steps), "peak_mb": measured["peak_mb"]}
        for step in steps:
            found[f"{case}, {step['name']}"] = {key: step[key] for key in ("cpu_seconds", "seconds", "resident_mb")}
        again = measured["answers"][len(requests) :]
        found[f"{case}, all signatures once more"] = {"cpu_seconds": sum(one["cpu_seconds"] for one in again)}
    return found


def _measured(url: str, bodies: dict, kind: str, concurrencies, seconds, max_requests) -> dict:
    measured = {}
    for name, requests in bodies.items():
        for concurrency in concurrencies:
            case = f"{name}, concurrency {concurrency}, {kind}"
            measured[case] = asyncio.run(load.measure(url, requests, concurrency, seconds, max_requests))
            logging.info("%s: %s", case, measured[case])
    return measured


def _bodies(problem: Problem, split: str, count: int) -> list[bytes]:
    """Returns `count` request bodies from the problem's corpus, repeated if it has fewer examples."""
    found = examples_of(problem.source.examples(split, Report(problem.name))).first(count)
    if not len(found):
        raise RunError(f"{problem.name}: the {split} split has no examples to send.")
    bodies = [load.request_body(problem.name, _instance(problem, one)) for one in found]
    return [bodies[index % len(bodies)] for index in range(count)]


def _instance(problem: Problem, one: Example):
    data = client_bytes(problem, one)
    return one.input_line if problem.inputs == "language" else {"b64": base64.b64encode(data).decode("ascii")}


def client_bytes(problem: Problem, one: Example) -> bytes:
    """Returns an example's input as a client sends it: UTF-8 text, an image file, or a 16-bit WAV file."""
    if problem.inputs == "language":
        return one.input_line.encode()
    if problem.inputs == "audio":
        return _wav(sounds.load_audio(one.input_line, _RATE))
    with open(one.input_line, "rb") as file:
        return file.read()


def _wav(samples: np.ndarray) -> bytes:  # float [samples] -> 16-bit WAV file
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, _RATE, len(samples), "NONE", ""))
        file.writeframes(np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
    return data.getvalue()
