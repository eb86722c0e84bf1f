"""Answers requests for an export on this machine, as TensorFlow Serving would: for trying it where no container runs.

    python bin/serve.py --export_dir=exports/mini
    curl -d '{"signature_name": "wmt_en_de", "instances": ["The cat sleeps."]}' localhost:8501/v1/models/t2t_mm:predict

then open http://localhost:8501/ for a page to try every problem. It listens at once, and answers 503 until the version is
loaded and warmed up. In production serve the same folder with TensorFlow Serving (docs/serving.md, which also says where
the two differ); this server speaks its REST and gRPC interfaces but is not hardened or tuned as it is.
"""

import asyncio
import os
import sys

from absl import flags, logging

from t2t_mm.run import command

_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Folder of the numbered versions.", required=True)
_MODEL_NAME = flags.DEFINE_string("model_name", "t2t_mm", "The model's name in requests.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; the default is reached from this machine only.")
_REST_PORT = flags.DEFINE_integer("rest_port", 8501, "REST and the page; 0 takes a free port, -1 leaves it out.")
_GRPC_PORT = flags.DEFINE_integer("grpc_port", 8500, "gRPC; 0 takes a free port, -1 leaves it out.")
_NUM_VERSIONS = flags.DEFINE_integer("num_versions", 1, "How many of the newest versions to serve.", lower_bound=1)
_LABEL = flags.DEFINE_multi_string("version_label", [], "LABEL:VERSION; that version is served besides the newest.")
_POLL = flags.DEFINE_float("poll_seconds", 1.0, "Seconds between looks for new versions.", lower_bound=0.01)
_BATCHING = flags.DEFINE_boolean("enable_batching", True, "Whether requests that arrive together run as one batch.")
_BATCH_SIZE = flags.DEFINE_integer("max_batch_size", 16, "Most examples run at once.", lower_bound=1)
_BATCH_TIMEOUT = flags.DEFINE_float("batch_timeout_ms", 2.0, "How long a batch that is not full waits.", lower_bound=0)
_ENQUEUED = flags.DEFINE_integer("max_enqueued", 256, "Most examples waiting or running; then 429.", lower_bound=1)
_THREADS = flags.DEFINE_integer("num_batch_threads", 2, "Batches run at once.", lower_bound=1)
_BODY = flags.DEFINE_float("max_body_mib", 16.0, "Most MiB of a request.", lower_bound=0.001)
_CONCURRENT = flags.DEFINE_integer("max_concurrent", 64, "Most requests waiting or answered at once; then 429.", lower_bound=1)
_TIMEOUT = flags.DEFINE_float("timeout_seconds", 30.0, "Time for a request, then 504; and for its headers.", lower_bound=0.001)
_ALLOWED = flags.DEFINE_list(
    "allowed_hosts", [], "Further names this server is asked by, and origins (https://demo.example) of pages that ask it."
)
_DRAIN = flags.DEFINE_float("drain_seconds", 30.0, "Time for requests under way at SIGTERM.", lower_bound=0)


def labels() -> dict[str, int]:
    found = {}
    for value in _LABEL.value:
        label, _, version = value.rpartition(":")
        if not label or not version.isdecimal():
            raise SystemExit(f"{command.name()}: --version_label={value} is not LABEL:VERSION, as in stable:3.")
        found[label] = int(version)
    return found


def listening(server) -> None:
    where = [f"REST and page http://{_HOST.value}:{server.rest_port}/"] if server.rest_port is not None else []
    where += [f"gRPC {_HOST.value}:{server.grpc_port}"] if server.grpc_port is not None else []
    print(f"Loading {_MODEL_NAME.value} from {_EXPORT_DIR.value}: {', '.join(where)}", flush=True)
    print("For trying an export; in production serve this folder with TensorFlow Serving: docs/serving.md", flush=True)


def announce(server) -> None:
    print(f"Serving {_MODEL_NAME.value}.", flush=True)


def main(_):
    logging.set_verbosity(logging.INFO)
    wanted = labels()
    from t2t_mm.serving import environment

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
    if server.loading:  # TensorFlow cannot be interrupted in it, and must not be torn down under it
        logging.flush()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    command.run(main)
