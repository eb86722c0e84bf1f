"""The JSON format of TensorFlow Serving's requests and answers (see its g3doc/api_rest.md and util/json_tensor.cc)."""

import base64
import binascii
import gc
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2

from t2t_mm.serving.errors import ServingError, invalid

_SHOWN = 200  # maximum number of characters of an invalid value in an error
_MOST_LEVELS = 16  # maximum depth of nested lists; NumPy has at most 32 dimensions
_INTEGERS = (tf.int8, tf.uint8, tf.int16, tf.int32, tf.uint32, tf.int64, tf.uint64)
_FLOATS = (tf.float32, tf.float64)
_BYTES_SUFFIX = "_bytes"


def parse(body: bytes) -> dict:
    """Returns the JSON object in the body of a request. NaN and Infinity are numbers, as in TensorFlow Serving.

    Raises:
      ServingError: INVALID_ARGUMENT, not UTF-8, not JSON or not an object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    collecting = gc.isenabled()
    gc.disable()  # the collector would search millions of lists for cycles, but JSON has none
    try:
        found = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: not UTF-8 at offset: {error.start}") from error
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: nested too deeply") from error
    except ValueError as error:  # a number with thousands of digits
        raise invalid(f"JSON Parse error: {error}") from error
    finally:
        if collecting:
            gc.enable()
    if not isinstance(found, dict):
        raise invalid(f"JSON Value: {_shown(found)} Is not object")
    return found


def signature_name(request: dict) -> str:
    """Returns the name of the signature in a request, or "".

    Raises:
      ServingError: INVALID_ARGUMENT, it is not a string.
    """
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    _utf8(name)
    return name


def predict_inputs(request: dict, signature: Any) -> tuple[dict[str, np.ndarray], bool]:
    """Returns the inputs of a predict request.

    Args:
      request: in row format, {"instances": [...]}, or in column format, {"inputs": ...}.
      signature: the SignatureDef.

    Returns:
      A dict of name -> array, and whether the request is in row format.

    Raises:
      ServingError: INVALID_ARGUMENT. The message names the invalid element and what is expected.
    """
    if "instances" in request and "inputs" in request:
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in request:
        return _rows(request["instances"], signature), True
    if "inputs" in request:
        return _columns(request["inputs"], signature), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _rows(instances, signature) -> dict[str, np.ndarray]:
    if not isinstance(instances, list):
        raise invalid("Excepting 'instances' to be an list/array")
    if not instances:
        raise invalid("No values in 'instances' array")
    named = _is_named(instances[0])
    if not named and len(signature.inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required: "
            f"{', '.join(sorted(signature.inputs))}"
        )
    columns: dict[str, list] = {name: [] for name in (instances[0] if named else list(signature.inputs)[:1])}
    for number, instance in enumerate(instances):
        if _is_named(instance) != named:
            expected, got = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {expected} but got {got} at item {number} of input list")
        row = instance if named else dict.fromkeys(columns, instance)
        if set(row) != set(columns) or set(row) - set(signature.inputs) or _missing(row, signature):
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: {_shown(row)} keys must be "
                f"equal to: {','.join(sorted(signature.inputs))}"
            )
        for name, value in row.items():
            columns[name].append(value)
    # Elements with different shapes are detected later, because their array would be ragged.
    return {name: _tensor(name, values, signature, "'instances' list") for name, values in columns.items()}


def _columns(inputs, signature) -> dict[str, np.ndarray]:
    if not _is_named(inputs):
        if len(signature.inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required: "
                f"{', '.join(sorted(signature.inputs))}"
            )
        name = next(iter(signature.inputs))
        return {name: _tensor(name, inputs, signature, "'inputs'")}
    if missing := _missing(inputs, signature):
        raise invalid(f"Missing named input: {missing[0]} in 'inputs' object.")
    # Unknown names are ignored, as in TensorFlow Serving.
    known = [name for name in inputs if name in signature.inputs]
    return {name: _tensor(name, inputs[name], signature, "'inputs' object") for name in known}


def _missing(row: dict, signature) -> list[str]:
    return sorted(set(signature.inputs) - set(row) - set(signature.defaults))


def _is_base64(value) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _is_named(value) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _tensor(name: str, value, signature, where: str) -> np.ndarray:
    dtype = tf.dtypes.as_dtype(signature.inputs[name].dtype)
    shape = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if len(shape) > _MOST_LEVELS:
            raise invalid(f"Input {name} of {where}: lists nested deeper than {_MOST_LEVELS} levels")
        inner = inner[0] if inner else None
    flat: list = []
    try:
        _fill(value, tuple(shape), 0, dtype, flat)
    except ServingError as error:
        raise invalid(f"Input {name} of {where}: {error.message}") from error
    if dtype == tf.string:
        array = np.empty(len(flat), object)
        array[:] = flat
    else:
        array = np.array(flat, dtype.as_numpy_dtype)
    return array.reshape(shape)


def _fill(value, shape: tuple[int, ...], level: int, dtype, flat: list) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(f"JSON Value: {_shown(value)} found at incorrect level: {level}; expected: {len(shape)}")
        flat.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(f"Encountered list at unexpected size: {len(value)} at level: {level} expected: {shape[level]}")
    for inner in value:
        _fill(inner, shape, level + 1, dtype, flat)


def _scalar(value, dtype):
    """Converts one element without loss.

    Raises:
      ServingError: INVALID_ARGUMENT, it has another type or would lose precision.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype == tf.string and isinstance(value, str):
        return _utf8(value)
    if dtype == tf.string and isinstance(value, dict):
        return _from_base64(value)
    if dtype == tf.bool and isinstance(value, bool):
        return value
    if dtype in _INTEGERS and number and isinstance(value, int) and dtype.min <= value <= dtype.max:
        return value
    if dtype in _FLOATS and number:
        _check_lossless(value, dtype)
        return value
    if dtype not in (tf.string, tf.bool, *_INTEGERS, *_FLOATS):
        raise invalid(f"Conversion of JSON values to {dtype.name} is not supported; use gRPC.")
    raise invalid(f"JSON Value: {_shown(value)} is not of expected type: {dtype.name}")


def _check_lossless(value, dtype) -> None:
    digits = np.finfo(dtype.as_numpy_dtype).nmant + 1
    largest = 2**digits - 1 if isinstance(value, int) else float(dtype.max)
    if np.isfinite(value if isinstance(value, float) else 0.0) and abs(value) > largest:
        raise invalid(f"Cannot convert JSON value: {_shown(value)} to {dtype.name} without loss of precision.")


def _utf8(value: str) -> bytes:
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise invalid(f"JSON Value: {_shown(value)} holds half of a surrogate pair") from error


def _from_base64(value: dict) -> bytes:
    if not _is_base64(value):
        raise invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    # The padding is optional and whitespace is ignored, as in TensorFlow Serving.
    text = re.sub(r"[ \t\r\n]", "", value["b64"]).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"Unable to base64 decode: {error}") from error


def classify_input(request: dict, into: Any) -> None:
    """Fills an Input message from {"examples": [...]} and the optional "context".

    Raises:
      ServingError: INVALID_ARGUMENT. The message names the invalid feature.
    """
    if "examples" not in request:
        raise invalid("When method is classify, key 'examples' is expected and was not found")
    examples = request["examples"]
    if not isinstance(examples, list):
        raise invalid("Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid("'examples' value is an empty array")
    if "context" in request:
        _example(request["context"], into.example_list_with_context.context)
        added = into.example_list_with_context.examples
    else:
        added = into.example_list.examples
    for example in examples:
        _example(example, added.add())


def _example(value, into: tf.train.Example) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {_shown(value)}")
    for name, content in value.items():
        _utf8(name)
        values = content if isinstance(content, list) else [content]
        kinds = {_feature_kind(name, one) for one in values}
        if len(kinds) > 1:
            raise invalid(f"Unexpected element type in feature: {name} mixes {' and '.join(sorted(kinds))}")
        feature = into.features.feature[name]
        for kind in kinds:
            conversions: dict[str, Callable] = {"bytes": _feature_bytes, "float": float, "int64": int}
            convert = conversions[kind]
            getattr(feature, f"{kind}_list").value.extend(convert(one) for one in values)


def _feature_kind(name: str, value) -> str:
    if isinstance(value, str) or _is_base64(value):
        return "bytes"
    if isinstance(value, bool):
        return "int64"
    if isinstance(value, int) and tf.int64.min <= value <= tf.int64.max:
        return "int64"
    if isinstance(value, float):
        _check_lossless(value, tf.float32)
        return "float"
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {_shown(value)}")


def _feature_bytes(value) -> bytes:
    return _utf8(value) if isinstance(value, str) else _from_base64(value)


def predict_answer(outputs: dict[str, np.ndarray], row_form: bool) -> str:
    """Returns {"predictions": [...]} for a request in row format, or {"outputs": ...} for one in column format.

    Raises:
      ServingError: INVALID_ARGUMENT, the outputs differ in their first dimension (in row format), or JSON does not support
        their type.
    """
    columns = {name: _values(name, array) for name, array in sorted(outputs.items())}
    single = len(columns) == 1
    if not row_form:
        return json.dumps({"outputs": next(iter(columns.values())) if single else columns}, ensure_ascii=False)
    sizes = {name: array.shape[0] if array.ndim else None for name, array in outputs.items()}
    if None in sizes.values() or len(set(sizes.values())) != 1:
        raise invalid(f"Outputs have inconsistent batch sizes: {sizes}; use the column form.")
    if single:
        return json.dumps({"predictions": next(iter(columns.values()))}, ensure_ascii=False)
    rows = [dict(zip(columns, values)) for values in zip(*columns.values())]
    return json.dumps({"predictions": rows}, ensure_ascii=False)


def _values(name: str, array: np.ndarray):
    """Returns an array as nested lists of JSON values."""
    if array.dtype == object:
        convert = _to_base64 if name.endswith(_BYTES_SUFFIX) else lambda value: value.decode("utf-8", "replace")
        flat = np.empty(array.size, object)
        flat[:] = [convert(value) for value in array.ravel()]
        return flat.reshape(array.shape).tolist()
    dtype = tf.dtypes.as_dtype(array.dtype)
    if dtype in (tf.float32, tf.float16, tf.bfloat16):
        return _short_floats(array.astype(np.float32))
    if dtype in (tf.float64, tf.bool, *_INTEGERS):
        return array.tolist()
    raise invalid(f"Failed to write JSON value for tensor type: {dtype.name}")


def _short_floats(array: np.ndarray):
    """Returns the shortest decimals that represent the same float32: 0.2, not 0.20000000298023224."""
    if not array.ndim:
        return float(str(array[()]))
    return [_short_floats(inner) for inner in array]


def _to_base64(value: bytes) -> dict:
    return {"b64": base64.b64encode(value).decode("ascii")}


def classify_answer(result: classification_pb2.ClassificationResult) -> str:
    """Returns {"results": [[[label, score], ...], ...]} as JSON."""
    results = [[[found.label, float(str(np.float32(found.score)))] for found in one.classes] for one in result.classifications]
    return json.dumps({"results": results}, ensure_ascii=False)


def _shown(value) -> str:
    try:
        text = repr(value) if isinstance(value, float) else json.dumps(value)
    except RecursionError:
        return "lists or objects nested too deeply to show"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
