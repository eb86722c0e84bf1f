"""Measures the CPU-seconds and memory of an export with TensorFlow's C API, which TensorFlow Serving uses, too.

When run as a script, this file is the measuring process. It imports neither TensorFlow's Python package nor this package, and
only gets information about the export from the plan on its standard input.
"""

import base64
import ctypes
import glob
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType

_STRING, _STRING_BYTES = 7, 24  # TF_STRING, and the size of a TF_TString
_TIMEOUT_SECONDS = 900.0  # time limit for a measuring process


class CApiError(Exception):
    """The measuring process ended without a result."""


def packages() -> str:
    """Returns the folder that contains the TensorFlow of this process."""
    found = importlib.util.find_spec("tensorflow")
    assert found and found.origin
    return os.path.dirname(os.path.dirname(found.origin))


def measure(
    folder: str, requests: list[dict], session_config: bytes = b"", environment: Mapping[str, str] = MappingProxyType({}),
    installed: str | None = None,
) -> dict:  # fmt: skip
    """Loads a version and answers the requests in order, in a separate process.

    Args:
      folder: the folder of the version.
      requests: the result of `plan`.
      session_config: a serialised ConfigProto.
      environment: environment variables of the process, in addition to those of this one.
      installed: the folder of packages with the TensorFlow and TF.Text to use. Default: `packages()`.

    Returns:
      A dict with "load" and "answers", which contain the name, the CPU-seconds, the seconds and the resident MB afterwards, for
      loading and for each request; and "peak_mb", the maximum resident MB. The answers also contain "error", the message of
      an error, and "strings", the output tensors of type string, each as a list of its elements in base64.

    Raises:
      CApiError: the process failed. The message states the reason.
    """
    installed = installed or packages()
    where = os.path.join(installed, "tensorflow")
    work = {
        "libraries": [os.path.join(where, "libtensorflow_framework.so.2"), os.path.join(where, "libtensorflow_cc.so.2")],
        "operations": glob.glob(os.path.join(installed, "tensorflow_text", "python", "ops", "_sentencepiece_tokenizer.so")),
        "folder": folder,
        "config": base64.b64encode(session_config).decode(),
        "requests": requests,
    }
    try:
        done = subprocess.run(
            [sys.executable, os.path.abspath(__file__)], input=json.dumps(work), capture_output=True, text=True,
            timeout=_TIMEOUT_SECONDS, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CApiError(f"{folder} by the C API: not done within {_TIMEOUT_SECONDS:.0f} s") from error
    if done.returncode:
        raise CApiError(f"{folder} by the C API: exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def warm_up_plan(folder: str) -> list[dict]:
    """Returns the requests for `measure` that ask what the warm-up records of the version in `folder` ask."""
    from tensorflow.core.protobuf import saved_model_pb2

    from t2t_mm.export import warmup

    saved = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        saved.ParseFromString(file.read())
    return plan(saved.meta_graphs[0].signature_def, warmup.recorded(folder))


def plan(signature_defs: dict, asked: list[tuple[str, dict]]) -> list[dict]:
    """Returns the requests for `measure`.

    Args:
      signature_defs: name -> SignatureDef.
      asked: (signature, {input: array of strings or of int32}) of each request.
    """
    requests = []
    for name, inputs in asked:
        signature = signature_defs[name]
        feeds = []
        for key, array in inputs.items():
            strings = array.dtype == object
            values = [base64.b64encode(one).decode() for one in array.ravel()] if strings else array.ravel().tolist()
            feeds.append([signature.inputs[key].name, list(array.shape), "string" if strings else "int32", values])
        fetches = [one.name for _, one in sorted(signature.outputs.items())]
        requests.append({"name": name, "feeds": feeds, "fetches": fetches})
    return requests


# ---- The following code runs in the measuring process.


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]


def _api(libraries: list[str]):
    loaded = [ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL) for path in libraries]
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name in (
        "TF_NewStatus", "TF_NewGraph", "TF_NewSessionOptions", "TF_LoadSessionFromSavedModel", "TF_AllocateTensor",
        "TF_TensorData", "TF_GraphOperationByName", "TF_LoadLibrary", "TF_StringGetDataPointer",
    ):  # fmt: skip
        getattr(loaded[-1], name).restype = pointer
    api = loaded[-1]
    api.TF_Message.restype = ctypes.c_char_p
    api.TF_GraphOperationByName.argtypes = [pointer, ctypes.c_char_p]
    api.TF_AllocateTensor.argtypes = [ctypes.c_int, pointer, ctypes.c_int, size]
    api.TF_StringInit.argtypes = [pointer]
    api.TF_StringCopy.argtypes = [pointer, ctypes.c_char_p, size]
    for name in (
        "TF_TensorData", "TF_DeleteTensor", "TF_GetCode", "TF_Message", "TF_TensorType", "TF_TensorElementCount",
        "TF_StringGetDataPointer", "TF_StringGetSize",
    ):  # fmt: skip
        getattr(api, name).argtypes = [pointer]
    api.TF_TensorElementCount.restype = ctypes.c_int64
    api.TF_StringGetSize.restype = size
    api.TF_SetConfig.argtypes = [pointer, ctypes.c_char_p, size, pointer]
    api.TF_LoadLibrary.argtypes = [ctypes.c_char_p, pointer]
    api.TF_LoadSessionFromSavedModel.argtypes = [
        pointer, pointer, ctypes.c_char_p, pointer, ctypes.c_int, pointer, pointer, pointer
    ]  # fmt: skip
    api.TF_SessionRun.argtypes = [
        pointer, pointer, pointer, pointer, ctypes.c_int, pointer, pointer, ctypes.c_int, pointer, ctypes.c_int,
        pointer, pointer,
    ]  # fmt: skip
    return api


def _memory_mb(field: str) -> float:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith(field))


class _Measured:
    """Measures the cost of a step, from the construction of the object to `figures`."""

    def __init__(self, name: str):
        self._name, self._cpu, self._wall = name, time.process_time(), time.monotonic()

    def figures(self) -> dict:
        return {
            "name": self._name,
            "cpu_seconds": time.process_time() - self._cpu,
            "seconds": time.monotonic() - self._wall,
            "resident_mb": _memory_mb("VmRSS"),
        }


def _tensor(api, shape: list[int], kind: str, values: list):
    dims = (ctypes.c_int64 * len(shape))(*shape)
    if kind == "string":
        tensor = api.TF_AllocateTensor(_STRING, dims, len(shape), _STRING_BYTES * len(values))
        start = api.TF_TensorData(tensor)
        for index, value in enumerate(values):
            data = base64.b64decode(value)
            api.TF_StringInit(start + _STRING_BYTES * index)
            api.TF_StringCopy(start + _STRING_BYTES * index, data, len(data))
        return tensor
    tensor = api.TF_AllocateTensor(3, dims, len(shape), 4 * len(values))  # TF_INT32
    ctypes.memmove(api.TF_TensorData(tensor), (ctypes.c_int32 * len(values))(*values), 4 * len(values))
    return tensor


def _output(api, graph, name: str) -> _Output:
    operation, _, index = name.partition(":")
    return _Output(api.TF_GraphOperationByName(graph, operation.encode()), int(index or 0))


def _strings(api, tensor) -> list[str]:
    """Returns the elements of a tensor of strings in base64."""
    places = [api.TF_TensorData(tensor) + _STRING_BYTES * i for i in range(api.TF_TensorElementCount(tensor))]
    found = [ctypes.string_at(api.TF_StringGetDataPointer(one), api.TF_StringGetSize(one)) for one in places]
    return [base64.b64encode(one).decode() for one in found]


def _answer(api, graph, session, request: dict) -> dict:
    """Runs a request once, and returns its "error", a message or "", and the "strings" of its answer."""
    feeds, fetches, status = request["feeds"], request["fetches"], api.TF_NewStatus()
    inputs = (_Output * len(feeds))(*[_output(api, graph, name) for name, *_ in feeds])
    tensors = (ctypes.c_void_p * len(feeds))(*[_tensor(api, *rest) for _, *rest in feeds])
    outputs = (_Output * len(fetches))(*[_output(api, graph, name) for name in fetches])
    found = (ctypes.c_void_p * len(fetches))()
    api.TF_SessionRun(
        session, None, inputs, tensors, len(feeds), outputs, found, len(fetches), None, 0, None, status
    )  # fmt: skip
    strings = [_strings(api, tensor) for tensor in found if tensor and api.TF_TensorType(tensor) == _STRING]
    for tensor in (*tensors, *found):
        if tensor:
            api.TF_DeleteTensor(tensor)
    error = api.TF_Message(status).decode("utf-8", "replace") if api.TF_GetCode(status) else ""
    return {"error": error, "strings": strings}


def _main() -> None:
    work = json.load(sys.stdin)
    api = _api(work["libraries"])
    status = api.TF_NewStatus()
    for path in work["operations"]:
        api.TF_LoadLibrary(path.encode(), status)
        if api.TF_GetCode(status):
            raise SystemExit(f"{path}: {api.TF_Message(status).decode()}")
    options, graph = api.TF_NewSessionOptions(), api.TF_NewGraph()
    config = base64.b64decode(work["config"])
    if config:
        api.TF_SetConfig(options, config, len(config), status)
    load, tags = _Measured("load"), (ctypes.c_char_p * 1)(b"serve")
    session = api.TF_LoadSessionFromSavedModel(
        options, None, work["folder"].encode(), tags, 1, graph, None, status
    )  # fmt: skip
    if api.TF_GetCode(status):
        raise SystemExit(api.TF_Message(status).decode())
    found: dict = {"load": load.figures(), "answers": []}
    for request in work["requests"]:
        one = _Measured(request["name"])
        answer = _answer(api, graph, session, request)
        found["answers"].append(one.figures() | answer)
    found["peak_mb"] = _memory_mb("VmHWM")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _main()
