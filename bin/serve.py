"""Serves an export on this machine like TensorFlow Serving, to try it without a container.

    python bin/serve.py --export_dir=exports/mini
    curl -d '{"signature_name": "wmt_en_de", "instances": ["The cat sleeps."]}' localhost:8501/v1/models/t2t_mm:predict

Open http://localhost:8501/ for a web page to try every problem. The server listens immediately, and answers with status 503
until the model is loaded and warmed up. It has the REST and gRPC interfaces of TensorFlow Serving, but is not hardened or
tuned like it. In production, serve the same folder with TensorFlow Serving (docs/serving.md also describes the differences).
"""

import asyncio
import os
import sys

from absl import flags, logging

from t2t_mm.common import command, environment

_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Folder that contains the numbered versions.", required=True)
_MODEL_NAME = flags.DEFINE_string("model_name", "t2t_mm", "Name of the model in requests.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; the default only accepts local connections.")
_REST_PORT = flags.DEFINE_integer(
    "rest_port", 8501, "Port for REST and the web page; 0: any free port, -1: no REST.", upper_bound=65535
)
_GRPC_PORT = flags.DEFINE_integer("grpc_port", 8500, "Port for gRPC; 0: any free port, -1: no gRPC.", upper_bound=65535)
_NUM_VERSIONS = flags.DEFINE_integer("num_versions", 1, "Number of newest versions to serve.", lower_bound=1)
_LABEL = flags.DEFINE_multi_string(
    "version_label", [], "Label of a version that is served besides the newest, as LABEL:VERSION; may be repeated."
)
_POLL = flags.DEFINE_float("poll_seconds", 1.0, "Time between checks for new versions, in seconds.", lower_bound=0.01)
_BATCHING = flags.DEFINE_boolean("enable_batching", True, "Whether to run concurrent requests as one batch.")
_BATCH_SIZE = flags.DEFINE_integer("max_batch_size", 16, "Maximum number of examples in a batch.", lower_bound=1)
_BATCH_TIMEOUT = flags.DEFINE_float(
    "batch_timeout_ms", 2.0, "Maximum time that an incomplete batch waits, in milliseconds.", lower_bound=0
)
_ENQUEUED = flags.DEFINE_integer(
    "max_enqueued", 256, "Maximum number of waiting or running examples; beyond it, the status is 429.", lower_bound=1
)
_THREADS = flags.DEFINE_integer("num_batch_threads", 2, "Number of batches that run at the same time.", lower_bound=1)
_BODY = flags.DEFINE_float("max_body_mib", 16.0, "Maximum size of a request, in MiB.", lower_bound=0.001)
_CONCURRENT = flags.DEFINE_integer(
    "max_concurrent", 64, "Maximum number of simultaneous requests; beyond it, the status is 429.", lower_bound=1
)
_TIMEOUT = flags.DEFINE_float(
    "timeout_seconds",
    30.0,
    "Time limit for a request (beyond it, the status is 504) and for its headers, in seconds.",
    lower_bound=0.001,
)
_ALLOWED = flags.DEFINE_list(
    "allowed_hosts", [],
    "Additional host names of this server, and origins (https://demo.example) whose requests a proxy forwards; no CORS.",
)  # fmt: skip
_DRAIN = flags.DEFINE_float("drain_seconds", 30.0, "Time limit for active requests after SIGTERM, in seconds.", lower_bound=0)


def labels() -> dict[str, int]:
    found = {}
    for value in _LABEL.value:
        label, _, version = value.rpartition(":")
        if not label or not version.isdecimal():
            raise SystemExit(f"{command.name()}: --version_label={value} is not LABEL:VERSION, as in stable:3.")
        found[label] = int(version)
    return found


def listening(server) -> None:
    from t2t_mm.serving.names import address

    where = [f"REST and page http://{address(_HOST.value, server.rest_port)}/"] if server.rest_port is not None else []
    where += [f"gRPC {address(_HOST.value, server.grpc_port)}"] if server.grpc_port is not None else []
    print(f"Loading {_MODEL_NAME.value} from {_EXPORT_DIR.value}: {', '.join(where)}", flush=True)
    print("This server is for trying an export. In production, use TensorFlow Serving (docs/serving.md).", flush=True)


def announce(server) -> None:
    print(f"Serving {_MODEL_NAME.value}.", flush=True)


def main(_):
    logging.set_verbosity(logging.INFO)
    wanted = labels()
    environment.prepare()
    command.load_tensorflow()
    from t2t_mm.serving import memory
    from t2t_mm.serving import server as serving
    from t2t_mm.serving.batching import BatchingSettings
    from t2t_mm.serving.errors import ServingError
    from t2t_mm.serving.service import Limits
    from t2t_mm.serving.versions import Versions

    versions = Versions(_EXPORT_DIR.value, _MODEL_NAME.value, _NUM_VERSIONS.value, wanted)
    batching = BatchingSettings(
        _BATCHING.value, _BATCH_SIZE.value, _BATCH_TIMEOUT.value / 1000, _ENQUEUED.value, _THREADS.value
    )
    limits = Limits(int(_BODY.value * 2**20), _CONCURRENT.value, _TIMEOUT.value)
    ports = (None if port < 0 else port for port in (_REST_PORT.value, _GRPC_PORT.value))
    settings = serving.Settings(_HOST.value, *ports, _POLL.value, _DRAIN.value, tuple(_ALLOWED.value))
    server = serving.Server(versions, batching, limits, settings)
    memory.bound()
    try:
        asyncio.run(server.serve_until_signalled(announce, listening))
    except ServingError as error:
        raise SystemExit(f"{command.name()}: {error}") from error
    if server.loading:  # TensorFlow cannot interrupt loading, and the interpreter must not shut down meanwhile
        logging.flush()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    command.run(main)
