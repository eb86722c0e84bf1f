"""Answers the warm-up requests of an export by the C API of several releases of TensorFlow, and compares the answers.

TensorFlow Serving runs this API, so the result shows which of its releases can serve the export.
"""

import glob
import importlib.metadata
import os

from google.protobuf import text_format
from tensorflow.core.protobuf import config_pb2

from t2t_mm.common.environment import VARIABLES
from t2t_mm.common.errors import RunError
from t2t_mm.lab import c_api


def run(export_dir: str, environments: tuple[str, ...] = (), session_config: str = "") -> dict[str, dict]:
    """Returns release of TensorFlow -> {figure: value}, beginning with the release that is installed here.

    Args:
      export_dir: folder of the export's versions, of which the newest one is used.
      environments: folders of virtual environments with other releases of TensorFlow (`bin/setup_env.sh --tensorflow=X.Y`).
      session_config: file for TensorFlow Serving's --tensorflow_session_config_file.

    Raises:
      RunError: there is no export or no environment, or a release cannot load the export or reports an error.
    """
    versions = [int(name) for name in os.listdir(export_dir) if name.isdecimal()] if os.path.isdir(export_dir) else []
    if not versions:
        raise RunError(f"There is no export in {export_dir}. Write one with bin/export.py and set releases.run.export_dir.")
    folder = os.path.join(export_dir, str(max(versions)))
    requests = c_api.warm_up_plan(folder)
    config = b""
    if session_config:
        with open(session_config, encoding="utf-8") as file:
            config = text_format.Parse(file.read(), config_pb2.ConfigProto()).SerializeToString()
    found: dict[str, dict] = {}
    expected: list = []
    for installed in (c_api.packages(), *map(_packages_of, environments)):
        release = _release(installed)
        try:
            measured = c_api.measure(folder, requests, config, VARIABLES, installed)
        except c_api.CApiError as error:
            raise RunError(f"TensorFlow {release}: {error}") from error
        for answer in measured["answers"]:
            if answer["error"]:
                raise RunError(f"TensorFlow {release}, {answer['name']}: {answer['error'][:500]}")
        texts = [answer["strings"] for answer in measured["answers"]]
        expected = expected or texts
        found[f"TensorFlow {release}"] = {
            "requests": len(texts),
            "same texts": sum(one == other for one, other in zip(texts, expected)),
            "load seconds": measured["load"]["seconds"],
            "CPU-seconds to all answers": sum(one["cpu_seconds"] for one in (measured["load"], *measured["answers"])),
            "peak MB": measured["peak_mb"],
        }
    return found


def _packages_of(environment: str) -> str:
    folders = glob.glob(os.path.join(environment, "lib", "python3*", "site-packages"))
    if not any(os.path.isdir(os.path.join(folder, "tensorflow")) for folder in folders):
        raise RunError(
            f"There is no TensorFlow in {environment}. Install one, for instance with "
            "bin/setup_env.sh --python=3.11 --tensorflow=2.17, which makes .venv-3.11-2.17."
        )
    return folders[0]


def _release(installed: str) -> str:
    return next(iter(importlib.metadata.distributions(name="tensorflow", path=[installed]))).version
