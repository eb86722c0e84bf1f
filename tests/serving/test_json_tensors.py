"""Tests that JSON tensors are read correctly, and that everything else is rejected."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import input_pb2

from t2t_mm.serving import json_tensors
from t2t_mm.serving.errors import ServingError


def signature(**dtypes):
    found = meta_graph_pb2.SignatureDef()
    for name, dtype in dtypes.items():
        found.inputs[name].dtype = dtype.as_datatype_enum
    return found


VALUES = {
    tf.string: st.text(st.characters(codec="utf-8")),
    tf.int32: st.integers(-(2**31), 2**31 - 1),
    tf.float32: st.floats(width=32),
    tf.float64: st.floats(),
    tf.bool: st.booleans(),
}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(VALUES, key=str)), st.booleans(), st.booleans())
def test_what_is_written_reads_back(data, dtype, row_form, named):
    inner = data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.lists(VALUES[dtype], min_size=inner, max_size=inner), min_size=1, max_size=4))
    instances = [{"x": row} for row in rows] if named else rows
    request = {"instances": instances} if row_form else {"inputs": {"x": rows} if named else rows}
    arrays, found_form = json_tensors.predict_inputs(json_tensors.parse(json.dumps(request).encode()), signature(x=dtype))
    assert found_form == row_form and arrays["x"].shape == (len(rows), inner)
    written = json.loads(json_tensors.predict_answer(arrays, row_form))["predictions" if row_form else "outputs"]
    expected = np.array(rows, object if dtype == tf.string else dtype.as_numpy_dtype)
    np.testing.assert_array_equal(np.array(written, expected.dtype), expected)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just({"b64": "YQ=="}),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["x", "y", "b64", "z"]), inner),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name", "examples", "context"]), JSON))
def test_any_json_is_read_or_refused(request_object):
    body = json.dumps(request_object).encode()
    for form in (signature(x=tf.string), signature(x=tf.int32, y=tf.float32)):
        try:
            arrays, _ = json_tensors.predict_inputs(json_tensors.parse(body), form)
            assert set(arrays) == set(form.inputs)
        except ServingError as error:
            assert error.http_status == 400 and error.message
    try:
        json_tensors.classify_input(json_tensors.parse(body), input_pb2.Input())
    except ServingError as error:
        assert error.http_status == 400 and error.message


@given(st.binary())
def test_any_bytes_are_read_or_refused(body):
    try:
        assert isinstance(json_tensors.parse(body), dict)
    except ServingError as error:
        assert error.http_status == 400


def test_inputs_with_defaults_may_be_left_out():
    form = signature(x=tf.string, beam=tf.int32)
    form.defaults["beam"].CopyFrom(tf.make_tensor_proto(4))
    for request in ({"instances": ["a"]}, {"inputs": ["a"]}):
        with pytest.raises(ServingError, match="multiple input tensors"):
            json_tensors.predict_inputs(request, form)
    for request in ({"instances": [{"x": "a"}]}, {"inputs": {"x": ["a"]}}):
        assert list(json_tensors.predict_inputs(request, form)[0]) == ["x"]
    with pytest.raises(ServingError, match="Missing named input: x"):
        json_tensors.predict_inputs({"inputs": {"beam": 3}}, form)


@pytest.mark.parametrize(
    "text, data", [("YWI=", b"ab"), ("YWI", b"ab"), (" Y\nWI= ", b"ab"), ("+/+/", b"\xfb\xff\xbf"), ("", b"")]
)
def test_base64_is_the_standard_alphabet(text, data):
    arrays, _ = json_tensors.predict_inputs({"instances": [{"b64": text}]}, signature(x=tf.string))
    assert arrays["x"].tolist() == [data]


@pytest.mark.parametrize(
    "value, dtype", [(2**24, tf.float32), (1e39, tf.float32), (2**53, tf.float64), (-1, tf.uint8), (2**63, tf.int64)]
)
def test_numbers_that_would_lose_something_are_refused(value, dtype):
    with pytest.raises(ServingError, match="precision|expected type"):
        json_tensors.predict_inputs({"instances": [value]}, signature(x=dtype))


def test_numbers_are_as_short_as_they_can_be():
    scores = np.array([0.1, 1e-7, 3, np.inf], np.float32)
    assert json_tensors.predict_answer({"s": scores}, False) == '{"outputs": [0.1, 1e-07, 3.0, Infinity]}'


def test_rows_need_outputs_of_one_length():
    outputs = {"a": np.zeros(2), "b": np.zeros(3)}
    assert json_tensors.predict_answer(outputs, False)
    with pytest.raises(ServingError, match="column form"):
        json_tensors.predict_answer(outputs, True)


def test_features_of_examples():
    into = input_pb2.Input()
    json_tensors.classify_input({"examples": [{"a": [1, True], "b": 0.5, "c": ["x", {"b64": "/w=="}], "d": []}]}, into)
    features = into.example_list.examples[0].features.feature
    assert features["a"].int64_list.value == [1, 1] and features["b"].float_list.value == [0.5]
    assert features["c"].bytes_list.value == [b"x", b"\xff"] and "d" in features
    for wrong in ([1, "a"], [1, 0.5], None, [[1]], {"b64": 1}, 2**63, 1e39):
        with pytest.raises(ServingError, match="eature|precision"):
            json_tensors.classify_input({"examples": [{"a": wrong}]}, input_pb2.Input())
