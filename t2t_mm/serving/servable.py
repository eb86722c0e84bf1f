"""One version of an export, loaded and run like in TensorFlow Serving: the graph of its MetaGraphDef in a session."""

import contextlib
import gc
import itertools
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401, the graph of an export holds its ops
from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow_serving.apis import prediction_log_pb2

from t2t_mm.serving import tensors
from t2t_mm.serving.errors import ServingError, from_tensorflow, invalid

_WARM_UP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_MAX_WARM_UP_RECORDS = 1000  # as in TensorFlow Serving
_NICENESS = 10  # of the thread that warms up, so that requests, which have a deadline, come first
CLASSIFY_METHOD = "tensorflow/serving/classify"


class Servable:
    """A loaded version. `run` may be called from any thread, all other methods only from one.

    Every user holds a lease, so that an old version is only closed after its last request.

    Args:
      path: the folder with saved_model.pb.
      version: the number of the folder.

    Raises:
      ServingError: FAILED_PRECONDITION, it cannot be loaded. The message names the folder and the reason.
    """

    def __init__(self, path: str, version: int):
        self.path = path
        self.version = version
        self.leases = 0
        # A session cannot feed or fetch while another thread modifies its graph, so nothing modifies it after this.
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_settings())
        try:
            with self._session.graph.as_default():
                meta = tf.compat.v1.saved_model.loader.load(self._session, [tf.saved_model.SERVING], path)
        except Exception as error:  # the loader may raise anything, but the server must keep running
            self._session.close()
            text = from_tensorflow(error).message if isinstance(error, tf.errors.OpError) else str(error)
            raise _unfit(f"{path} does not load: {' '.join(text.split())}") from error
        self._session.graph.finalize()
        # Hide the loader's initialisation signatures, which have names like this, as TensorFlow Serving does.
        self.signatures = {name: found for name, found in meta.signature_def.items() if not name.startswith("__")}
        if not self.signatures:
            self._session.close()
            raise _unfit(f"{path} has no signature.")

    def run(
        self,
        signature_name: str,
        inputs: dict,
        output_names: tuple[str, ...],
        timeout_seconds: float,
        in_this_thread: bool = False,
    ) -> dict:
        """Runs one signature.

        Args:
          inputs: name -> array with the dtype and a shape of the signature; missing inputs have a default.
          output_names: the requested outputs.
          in_this_thread: whether to run in this thread instead of TensorFlow's pool, to use the priority of the thread.

        Returns:
          A dict of output name -> array.

        Raises:
          ServingError: with the code of the graph's error; DEADLINE_EXCEEDED after `timeout_seconds`.
        """
        signature = self.signatures[signature_name]
        feeds = {signature.inputs[name].name: value for name, value in inputs.items()}
        for name, default in signature.defaults.items():
            feeds.setdefault(signature.inputs[name].name, tf.make_ndarray(default))
        fetches = {name: signature.outputs[name].name for name in output_names}
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(1000 * timeout_seconds)))
        if in_this_thread:
            options.inter_op_thread_pool = -1
        try:
            return self._session.run(fetches, feeds, options=options)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        except UnicodeDecodeError as error:
            # TensorFlow's message quotes bytes of the input that Python cannot decode, so there is no error to convert.
            raise invalid(error.object.decode("utf-8", "replace")) from error

    def warm_up(self, timeout_seconds: float, report: Callable[[int, str], bool] = lambda count, name: True) -> int:
        """Runs the warm-up requests of the export. If a request fails, the version fails, as in TensorFlow Serving.

        Args:
          timeout_seconds: time limit for each record.
          report: a function that is called before each record with the number of finished records and the name of the next
            signature. If it returns False, the warm-up ends.

        Returns:
          The number of records.

        Raises:
          ServingError: FAILED_PRECONDITION. The message names the file, the record and the reason.
        """
        path = os.path.join(self.path, _WARM_UP_FILE)
        if not os.path.exists(path):
            return 0
        count = 0
        try:
            for record in itertools.islice(tf.data.TFRecordDataset(path).as_numpy_iterator(), _MAX_WARM_UP_RECORDS):
                count += 1
                log = prediction_log_pb2.PredictionLog.FromString(record)
                if not report(count - 1, _signature_of(log)):
                    break
                self._replay(log, timeout_seconds)
        except ServingError as error:
            raise _unfit(f"{path}, record {count}: {error.message}") from error
        except tf.errors.OpError as error:
            raise _unfit(f"{path} after record {count}: {from_tensorflow(error).message}") from error
        except DecodeError as error:
            raise _unfit(f"{path}, record {count}: not a PredictionLog: {error}") from error
        return count

    def _replay(self, log: prediction_log_pb2.PredictionLog, timeout_seconds: float) -> None:
        kind = log.WhichOneof("log_type")
        if kind == "predict_log":
            request = log.predict_log.request
            name = request.model_spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
            inputs = {key: tensors.from_proto(key, value, 2**31) for key, value in request.inputs.items()}
        elif kind == "classify_log":
            request = log.classify_log.request
            name = request.model_spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
            inputs = {"inputs": tensors.serialised_examples(request.input)}
        else:
            raise invalid(f"{kind or 'empty'} record; predict_log and classify_log are served.")
        signature = self.signature(name)
        tensors.check_inputs(signature, inputs)
        # Request the same outputs as all later requests, because TensorFlow prepares each set of outputs separately.
        self.run(name, inputs, tuple(sorted(signature.outputs)), timeout_seconds, in_this_thread=True)

    def signature(self, name: str, code: StatusCode = StatusCode.FAILED_PRECONDITION) -> Any:
        """Returns the SignatureDef with this name.

        Raises:
          ServingError: there is none; the message lists all signatures.
        """
        if name not in self.signatures:
            known = ", ".join(sorted(self.signatures))
            raise ServingError(code, f'Serving signature key "{name}" not found; there are: {known}.')
        return self.signatures[name]

    def close(self) -> None:
        """Frees the session and the graph. There must be no current or later runs."""
        self._session.close()
        del self._session
        # A graph has many reference cycles. Without this, 100 MB or more per version would wait for Python's collector.
        gc.collect()


def _settings() -> tf.compat.v1.ConfigProto:
    """Returns settings of a session in which only the functions are optimised, each at its first call.

    Optimising the whole graph too would double the time of the first request of every signature, and make none faster.
    """
    settings = tf.compat.v1.ConfigProto()
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return settings


def give_way() -> None:
    """Lowers the priority of this thread permanently, if the system supports it."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _signature_of(log: prediction_log_pb2.PredictionLog) -> str:
    kind = log.WhichOneof("log_type")
    request = getattr(log, kind).request if kind in ("predict_log", "classify_log") else None
    return request.model_spec.signature_name if request else ""


def _unfit(message: str) -> ServingError:
    return ServingError(StatusCode.FAILED_PRECONDITION, message)


def batch_size(inputs: dict[str, np.ndarray]) -> int | None:
    """Returns the common first dimension of all inputs, or None if they have none and cannot be split or joined."""
    sizes = {array.shape[0] if array.ndim else None for array in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else None
