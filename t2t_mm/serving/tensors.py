"""Converts arrays to and from TensorFlow's protos, and checks the inputs of a request against the signature."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import input_pb2

from t2t_mm.serving.errors import invalid

# The fields that TensorFlow Serving's AsProtoField uses for the values. Clients read them directly.
_VALUE_FIELD = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int16: "int_val",
    tf.int8: "int_val",
    tf.uint8: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
}


def from_proto(name: str, proto: tensor_pb2.TensorProto, max_elements: int) -> np.ndarray:
    """Returns the array of an input.

    Args:
      name: the name of the input, for errors.
      proto: the input.
      max_elements: maximum number of elements. A limit is necessary because a few bytes can declare any shape: the last
        value is repeated for all following elements.

    Raises:
      ServingError: INVALID_ARGUMENT. The message names the input.
    """
    if proto.dtype not in types_pb2.DataType.values() or proto.dtype == types_pb2.DT_INVALID:
        raise invalid(f"Input {name} has no valid dtype.")
    sizes = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise invalid(f"Input {name} has no fully defined shape.")
    if math.prod(sizes) > max_elements:
        raise invalid(f"Input {name} declares {math.prod(sizes)} elements; at most {max_elements} are allowed.")
    try:
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise invalid(f"Input {name} is not a valid tensor: {error}") from error


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Returns a proto with the values in the field of their type, as TensorFlow Serving does."""
    dtype = tf.string if array.dtype == object else tf.dtypes.as_dtype(array.dtype)
    if dtype not in _VALUE_FIELD:
        return tf.make_tensor_proto(array, dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _VALUE_FIELD[dtype]).extend(array.ravel().tolist())
    return proto


def serialised_examples(request_input: input_pb2.Input) -> np.ndarray:
    """Returns the examples of a Classify request as a vector of serialised tf.train.Example, each with the common context.

    Raises:
      ServingError: INVALID_ARGUMENT, there are no examples.
    """
    kind = request_input.WhichOneof("kind")
    context = tf.train.Example()
    if kind == "example_list":
        examples = request_input.example_list.examples
    elif kind == "example_list_with_context":
        examples = request_input.example_list_with_context.examples
        context = request_input.example_list_with_context.context
    else:
        examples = []
    if not examples:
        raise invalid("Input is empty: give at least one example.")
    merged = np.empty(len(examples), object)
    for index, example in enumerate(examples):
        both = tf.train.Example()
        both.CopyFrom(context)
        both.MergeFrom(example)
        merged[index] = both.SerializeToString()
    return merged


def check_inputs(signature: Any, inputs: dict[str, np.ndarray]) -> None:
    """Checks the names, dtypes and shapes of the inputs against the signature.

    Raises:
      ServingError: INVALID_ARGUMENT. The message describes what was sent and what is expected.
    """
    extra = sorted(set(inputs) - set(signature.inputs))
    missing = sorted(set(signature.inputs) - set(inputs) - set(signature.defaults))
    if extra or missing:
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(signature.inputs)}. "
            f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}."
        )
    for name, array in inputs.items():
        expected = signature.inputs[name]
        dtype = tf.dtypes.as_dtype(expected.dtype)
        found = tf.string if array.dtype.kind in "OSU" else tf.dtypes.as_dtype(array.dtype)
        if found != dtype:
            raise invalid(f"Input {name} is {found.name}; {dtype.name} is expected.")
        shape = tf.TensorShape(expected.tensor_shape)
        if not shape.is_compatible_with(array.shape):
            raise invalid(f"Input {name} has shape {list(array.shape)}; {shape} is expected (None: any size).")
        if array.ndim and not array.shape[0]:
            raise invalid(f"Input {name} holds no example.")
