"""Tests the gRPC interface of TensorFlow Serving with its own stubs."""

import threading
import time

import grpc
import pytest
import tensorflow as tf
from grpc import StatusCode
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from t2t_mm.serving.batching import BatchingSettings
from t2t_mm.serving.servable import Servable
from t2t_mm.serving.service import Limits


@pytest.fixture
def stubs(server):
    with server.stubs() as found:
        yield found


def request(signature, name="t2t_mm", **inputs):
    made = predict_pb2.PredictRequest()
    made.model_spec.name = name
    made.model_spec.signature_name = signature
    for key, value in inputs.items():
        made.inputs[key].CopyFrom(value if isinstance(value, tf.make_tensor_proto("").__class__) else proto(value))
    return made


def proto(value):
    return tf.make_tensor_proto(value)


def refused(call, made, timeout=20):
    with pytest.raises(grpc.RpcError) as caught:
        call(made, timeout=timeout)
    return caught.value.code(), caught.value.details()


def test_predict_answers_in_the_fields_clients_read(stubs):
    response = stubs[0].Predict(request("wmt_en_de", inputs=["Hä?", "b"]))
    assert list(response.outputs["outputs"].string_val) == ["v1: HÄ?".encode(), b"v1: B"]
    assert list(response.outputs["scores"].float_val) == [-1.0, -0.625]
    assert response.model_spec.version.value == 1 and response.model_spec.signature_name == "wmt_en_de"
    response = stubs[0].Predict(request("tokens", command=["a"], ids=proto([[1, 2]])))
    assert tf.make_ndarray(response.outputs["outputs"]).tolist() == [[2, 3]]
    response = stubs[0].Predict(request("", command=["To-German"], inputs=["a"]))
    assert response.outputs["outputs"].string_val == [b"To-German a"]


def test_output_filter(stubs):
    made = request("wmt_en_de", inputs=["a"])
    made.output_filter.append("scores")
    assert list(stubs[0].Predict(made).outputs) == ["scores"]
    made.output_filter.append("scores")
    assert refused(stubs[0].Predict, made)[0] == StatusCode.INVALID_ARGUMENT
    made.output_filter[1] = "score"
    assert "expected to be in the set {outputs,scores}" in refused(stubs[0].Predict, made)[1]


def test_a_filter_of_outputs_asks_the_graph_for_no_other_set_than_all(server, stubs, monkeypatch):
    """TensorFlow sets up a graph again for each new set of outputs, which took half a minute for the first filtered request."""
    asked, run = [], Servable.run

    def watched(servable, name, inputs, output_names, *more):
        asked.append(output_names)
        return run(servable, name, inputs, output_names, *more)

    monkeypatch.setattr(Servable, "run", watched)
    for outputs in ([], ["scores"], ["outputs"], ["scores", "outputs"]):
        made = request("wmt_en_de", inputs=["a"])
        made.output_filter.extend(outputs)
        assert set(stubs[0].Predict(made).outputs) == set(outputs or ["outputs", "scores"])
    assert set(asked) == {("outputs", "scores")}


def test_streams_without_a_message_take_no_places(publish, start_server, tmp_path):
    publish(tmp_path, 1)
    limits = Limits(max_concurrent=2)
    done = threading.Event()

    def never():
        done.wait(60)
        yield from ()

    with start_server(tmp_path, limits=limits) as running, running.stubs() as (stub, _):
        with grpc.insecure_channel(f"127.0.0.1:{running.server.grpc_port}") as channel:
            call = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
            try:
                idle = [call.future(never()) for _ in range(64)]
                time.sleep(0.3)
                assert stub.Predict(request("wmt_en_de", inputs=["a"]), timeout=30)
                assert not any(one.done() for one in idle)
            finally:
                done.set()
                [one.cancel() for one in idle]


def test_classify_metadata_and_status(stubs):
    made = classification_pb2.ClassificationRequest()
    made.model_spec.name, made.model_spec.signature_name = "t2t_mm", "imagenet_classify"
    assert refused(stubs[0].Classify, made)[0] == StatusCode.INVALID_ARGUMENT
    picture = tf.io.encode_png(tf.constant([[[0, 255, 0]]], tf.uint8)).numpy()
    feature = made.input.example_list.examples.add().features.feature["image/encoded"]
    feature.bytes_list.value.append(picture)
    classes = stubs[0].Classify(made).result.classifications[0].classes
    assert [one.label for one in classes] == ["dog", "cat", "house"] and classes[0].score > classes[1].score

    made = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    made.model_spec.name = "t2t_mm"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert stubs[0].GetModelMetadata(made).metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["tokens"].inputs["ids"].dtype == tf.int32.as_datatype_enum
    made.metadata_field[0] = "other"
    assert refused(stubs[0].GetModelMetadata, made)[0] == StatusCode.INVALID_ARGUMENT

    made = get_model_status_pb2.GetModelStatusRequest()
    assert refused(stubs[1].GetModelStatus, made) == (StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    made.model_spec.name = "t2t_mm"
    assert stubs[1].GetModelStatus(made).model_version_status[0].version == 1


def huge():
    found = proto(["a"])
    found.tensor_shape.dim[0].size = 10**12
    return found


def lying():
    found = proto([1, 2, 3])
    found.tensor_content = b"123"
    return found


@pytest.mark.parametrize(
    "made, code, message",
    [
        (predict_pb2.PredictRequest(), StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (request("raw", name="other"), StatusCode.NOT_FOUND, "Latest(other)"),
        (request("absent", inputs=["a"]), StatusCode.FAILED_PRECONDITION, '"absent" not found'),
        (request("raw"), StatusCode.INVALID_ARGUMENT, "Missing but required: {inputs}"),
        (request("raw", inputs=["a"], more=["b"]), StatusCode.INVALID_ARGUMENT, "Sent extra: {more}"),
        (request("raw", inputs=[1.0]), StatusCode.INVALID_ARGUMENT, "float32; string is expected"),
        (request("raw", inputs="a"), StatusCode.INVALID_ARGUMENT, "shape []"),
        (request("raw", inputs=tf.make_tensor_proto([], tf.string)), StatusCode.INVALID_ARGUMENT, "no example"),
        (request("raw", inputs=huge()), StatusCode.INVALID_ARGUMENT, "declares 1000000000000 elements"),
        (request("tokens", command=["a"], ids=lying()), StatusCode.INVALID_ARGUMENT, "not a valid tensor"),
        (request("raw", inputs=type(proto(""))()), StatusCode.INVALID_ARGUMENT, "no valid dtype"),
        (request("coco", inputs=["no picture"]), StatusCode.INVALID_ARGUMENT, "inputs[0]: a damaged or unsupported JPEG"),
    ],
)
def test_what_is_wrong_gets_its_code_and_says_why(stubs, made, code, message):
    found_code, details = refused(stubs[0].Predict, made)
    assert found_code == code and message in details


def test_bytes_that_are_no_message(server, stubs):
    with grpc.insecure_channel(f"127.0.0.1:{server.server.grpc_port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        assert refused(call, b"\xff\xff\xff")[0] == StatusCode.UNKNOWN  # as grpcio has it
    assert stubs[0].Predict(request("raw", inputs=["a"]))


def test_services_no_export_has(stubs):
    for call, made in (
        (stubs[0].Regress, regression_pb2.RegressionRequest()),
        (stubs[0].MultiInference, inference_pb2.MultiInferenceRequest()),
        (stubs[1].HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()),
    ):
        assert refused(call, made)[0] == StatusCode.UNIMPLEMENTED


def test_limits_of_body_and_time(store, publish, start_server, tmp_path):
    publish(tmp_path, 1)
    limits = Limits(max_body_bytes=1000, max_concurrent=2, timeout_seconds=120)
    with start_server(tmp_path, BatchingSettings(threads=1), limits) as running, running.stubs() as (stub, _):
        assert refused(stub.Predict, request("raw", inputs=["a" * 10**6]))[0] == StatusCode.RESOURCE_EXHAUSTED
        start = time.monotonic()
        assert refused(stub.Predict, request("slow", inputs=["1000000"]), 0.5)[0] == StatusCode.DEADLINE_EXCEEDED
        assert stub.Predict(request("slow", inputs=["1"]))  # the model was set free too
        assert time.monotonic() - start < 30
        calls = [stub.Predict.future(request("slow", inputs=[str(times)])) for times in (400, 401, 402, 403)]
        codes = [call.code() for call in calls]
        assert StatusCode.RESOURCE_EXHAUSTED in codes and StatusCode.OK in codes
