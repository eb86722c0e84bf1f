"""Tests the REST interface of TensorFlow Serving: every path, format and error."""

import base64
import contextlib
import gzip
import http.client
import io
import json
import socket
import time
import wave

import pytest
from PIL import Image

from t2t_mm.serving.batching import BatchingSettings
from t2t_mm.serving.errors import ServingError
from t2t_mm.serving.names import Names
from t2t_mm.serving.service import Limits

MODEL = "/v1/models/t2t_mm"


def picture(colour, size=(6, 4), form="PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, form)
    return data.getvalue()


def sound(samples=800, rate=16000) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, rate, samples, "NONE", ""))
        file.writeframes(bytes(2 * samples))
    return data.getvalue()


def b64(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode()}


def test_row_and_column_form_of_one_input(server):
    rows = server.http("POST", f"{MODEL}:predict", {"signature_name": "wmt_en_de", "instances": ["Hä?", "b"]})
    expected = [{"outputs": "v1: HÄ?", "scores": -1.0}, {"outputs": "v1: B", "scores": -0.625}]
    assert rows == (200, {"predictions": expected})
    named = {"signature_name": "wmt_en_de", "instances": [{"inputs": "Hä?"}, {"inputs": "b"}]}
    assert server.http("POST", f"{MODEL}:predict", named) == rows
    columns = (200, {"outputs": {"outputs": ["v1: HÄ?", "v1: B"], "scores": [-1.0, -0.625]}})
    assert server.predict("wmt_en_de", ["Hä?", "b"]) == columns
    plain = {"signature_name": "wmt_en_de", "inputs": ["Hä?", "b"]}
    assert server.http("POST", f"{MODEL}:predict", plain) == columns


def test_several_inputs_and_the_default_signature(server):
    rows = {"instances": [{"command": "To-German", "inputs": "a b"}]}
    answer = server.http("POST", f"{MODEL}:predict", rows)
    assert answer == (200, {"predictions": [{"outputs": "To-German a b", "scores": -1.625}]})
    tokens = {"signature_name": "tokens", "inputs": {"command": ["a", "bb"], "ids": [[1, 2], [4, 5]]}}
    status, found = server.http("POST", f"{MODEL}:predict", tokens)
    assert found == {"outputs": {"outputs": [[2, 3], [6, 7]], "scores": [0.33333334, 1.3333334]}}


def test_bytes_travel_as_base64(server):
    status, found = server.predict("coco", [b64(picture((10, 20, 30))), b64(picture((1, 2, 3), form="PNG"))])
    assert found["outputs"]["outputs"] == ["a picture of 10 20 30", "a picture of 1 2 3"]
    status, found = server.predict("wsj_speech", [b64(sound(123, 8000))])
    assert found["outputs"]["outputs"] == ["123 SAMPLES AT 8000"]
    binary = bytes(range(256))
    assert server.predict("raw", [b64(binary)]) == (200, {"outputs": [b64(binary)]})  # named ..._bytes


def test_classes_and_classify(server):
    status, found = server.predict("imagenet", [b64(picture((0, 255, 0)))])
    assert found["outputs"]["classes"] == [["dog", "cat", "house"]] and len(found["outputs"]["scores"][0]) == 3
    example = {"image/encoded": b64(picture((0, 255, 0)))}
    request = {"signature_name": "imagenet_classify", "examples": [example, example]}
    status, found = server.http("POST", f"{MODEL}:classify", request)
    assert status == 200 and [label for label, _ in found["results"][1]] == ["dog", "cat", "house"]
    request = {"signature_name": "imagenet_classify", "context": example, "examples": [{}]}
    assert server.http("POST", f"{MODEL}:classify", request)[1]["results"] == found["results"][:1]


def test_status_metadata_versions_and_labels(server):
    entry = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in (MODEL, f"{MODEL}/versions/1", f"{MODEL}/labels/stable"):
        assert server.http("GET", path) == (200, {"model_version_status": [entry]})
    status, found = server.http("GET", f"{MODEL}/labels/stable/metadata")
    assert found["model_spec"] == {"name": "t2t_mm", "signature_name": "", "version": "1"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert signatures["imagenet_classify"]["method_name"] == "tensorflow/serving/classify"
    assert signatures["tokens"]["inputs"]["ids"]["dtype"] == "DT_INT32"
    body = {"signature_name": "wmt_en_de", "instances": ["a"]}
    answers = [server.http("POST", f"{MODEL}{which}:predict", body) for which in ("", "/versions/1", "/labels/stable", "?a=b")]
    assert answers[0][0] == 200 and all(answer == answers[0] for answer in answers[:3])
    assert answers[3][0] == 400


PREDICT = f"{MODEL}:predict"
RAW = b'{"signature_name": "raw", "inputs": '
WRONG = [
    ("PUT", PREDICT, {}, 400, "Malformed request"),
    ("POST", MODEL, {}, 400, "Malformed request"),
    ("GET", "/v1/models", None, 400, "Malformed request"),
    ("GET", "/elsewhere", None, 404, "Not Found"),
    ("POST", "/", {}, 405, "Method Not Allowed"),
    ("POST", "/v1/models/other:predict", {"instances": ["a"]}, 404, "Servable not found for request: Latest(other)"),
    ("POST", f"{MODEL}/versions/7:predict", {"instances": ["a"]}, 404, "Specific(t2t_mm, 7)"),
    ("POST", f"{MODEL}/versions/{'9' * 400}:predict", {"instances": ["a"]}, 400, "Failed to convert version"),
    ("POST", f"{MODEL}/labels/none:predict", {"instances": ["a"]}, 400, "Unrecognized servable version label: none"),
    ("POST", f"{MODEL}/labels/absent:predict", {"instances": ["a"]}, 404, "Specific(t2t_mm, 9)"),
    ("POST", f"{MODEL}/labels/%ff:predict", {"instances": ["a"]}, 400, "not UTF-8"),
    ("GET", "/v1/models/other", None, 404, "Could not find any versions of model other"),
    ("GET", f"{MODEL}/versions/7", None, 404, "Could not find version 7"),
    ("GET", f"{MODEL}/versions/7/metadata", None, 404, "Specific(t2t_mm, 7)"),
    ("POST", PREDICT, b"", 400, "The document is empty"),
    ("POST", PREDICT, b'{"instances": ["a"', 400, "JSON Parse error"),
    ("POST", PREDICT, b'{"instances": ["\xff"]}', 400, "not UTF-8"),
    ("POST", PREDICT, b"[" * 100_000, 400, "JSON Parse error"),
    ("POST", PREDICT, RAW + b"[" * 40 + b"]" * 40 + b"}", 400, "nested deeper than 16 levels"),
    ("POST", PREDICT, RAW + b"[" * 900 + b"]" * 900 + b"}", 400, "nested deeper than 16 levels"),
    ("POST", PREDICT, RAW + b'["a", ' + b"[" * 900 + b"]" * 901 + b"}", 400, "unexpected level"),
    ("POST", PREDICT, RAW + b'[{"b64": ' + b"[" * 900 + b"]" * 900 + b"}]}", 400, "not formatted correctly for base64"),
    ("POST", PREDICT, b'{"instances": [' + b"9" * 5000 + b"]}", 400, "JSON Parse error"),
    ("POST", PREDICT, ["a"], 400, "Is not object"),
    ("POST", PREDICT, {"signature_name": 3, "instances": ["a"]}, 400, "'signature_name' key must be a string"),
    ("POST", PREDICT, {"signature_name": "wmt", "instances": ["a"]}, 400, 'key "wmt" not found; there are: attention, coco'),
    ("POST", PREDICT, b'{"signature_name": "\\ud800", "instances": ["a"]}', 400, "surrogate"),
    ("POST", PREDICT, {"instances": ["a"], "inputs": ["a"]}, 400, "only one of"),
    ("POST", PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
    ("POST", PREDICT, {"instances": ["a"]}, 400, "expecting list of objects"),
    ("POST", PREDICT, {"inputs": ["a"]}, 400, "expecting an object"),
    ("POST", PREDICT, {"inputs": {"inputs": ["a"]}}, 400, "Missing named input: command"),
    ("POST", PREDICT, {"inputs": {"inputs": ["a"], "command": ["b", "c"]}}, 400, "shapes do not match"),
    ("POST", f"{MODEL}:regress", {"signature_name": "raw", "examples": [{}]}, 400, "Expected a regression signature"),
    ("POST", f"{MODEL}:classify", {"signature_name": "raw", "examples": [{}]}, 400, "method_name to be"),
    ("POST", f"{MODEL}:classify", {"signature_name": "imagenet_classify", "examples": [{}]}, 400, "image/encoded"),
    ("POST", f"{MODEL}:classify", {"signature_name": "imagenet_classify"}, 400, "'examples' is expected"),
]  # fmt: skip


@pytest.mark.parametrize("method, path, body, status, message", WRONG)
def test_what_is_wrong_gets_its_code_and_says_why(server, method, path, body, status, message):
    found_status, found = server.http(method, path, body)
    assert found_status == status
    assert list(found) == ["error"] and message in found["error"]


BROKEN_INPUTS = [
    ("wmt_en_de", [], "No values"),
    ("wmt_en_de", "a", "to be an list"),
    ("wmt_en_de", ["a", ["b"]], "unexpected level"),
    ("wmt_en_de", [["a"], ["b"]], "has shape [2, 1]"),
    ("wmt_en_de", ["a", 3], "not of expected type: string"),
    ("wmt_en_de", [None], "not of expected type: string"),
    ("wmt_en_de", ["a", {"inputs": "b"}], "but got object at item 1"),
    ("wmt_en_de", [{"inputs": "a"}, "b"], "but got list at item 1"),
    ("wmt_en_de", [{"inputs": "a", "more": "b"}], "keys must be equal to: inputs"),
    ("wmt_en_de", [{}], "keys must be equal to: inputs"),
    ("wmt_en_de", [{"b64": 3}], "keys must be equal to: inputs"),
    ("wmt_en_de", [{"b64": "a-_b"}], "Unable to base64 decode"),
    ("coco", [{"b64": "YWJj"}], "inputs[0]: a damaged or unsupported JPEG or PNG image"),
    ("coco", [b64(picture((0, 0, 0))), b64(picture((0, 0, 0), (90, 90), "JPEG")[:200])], "inputs[1]: a damaged or unsupported"),
    ("coco", [b64(b"\x89PNG\r\n\x1a\n")], "inputs[0]: a damaged or unsupported JPEG or PNG image"),
    ("wsj_speech", [b64(sound()), b64(sound()[:20])], "inputs[1]: a damaged or truncated WAV file"),
    ("wsj_speech", [b64(sound()[:20] + b"\2" + sound()[21:])], "inputs[0]: a WAV with 16 bits per sample in format 2; PCM of"),
    ("tokens", [{"command": "a", "ids": [1]}, {"command": "a", "ids": [1, 2]}], "unexpected size: 2"),
    ("tokens", [{"command": "a", "ids": [1.0]}], "not of expected type: int32"),
    ("tokens", [{"command": "a", "ids": [True]}], "not of expected type: int32"),
    ("tokens", [{"command": "a", "ids": [2**31]}], "not of expected type: int32"),
]


@pytest.mark.parametrize("signature, instances, message", BROKEN_INPUTS)
def test_a_wrong_input_is_told(server, signature, instances, message):
    status, found = server.http("POST", PREDICT, {"signature_name": signature, "instances": instances})
    assert status == 400 and message in found["error"]
    assert "Original stack trace" not in found["error"]
    assert "{{node" not in found["error"] and "assertion failed" not in found["error"]


def test_a_wrong_input_does_not_cost_its_neighbours_their_answers(store, publish, start_server, tmp_path):
    publish(tmp_path, 1)
    with start_server(tmp_path, BatchingSettings(timeout_seconds=0.5, max_batch_size=3)) as running:  # one batch
        found = in_parallel(running, "coco", [b64(picture((7, 7, 7))), b64(b"broken"), b64(picture((8, 8, 8)))])
    assert [status for status, _ in found] == [200, 400, 200]
    assert found[2][1]["outputs"]["outputs"] == ["a picture of 8 8 8"]


def in_parallel(running, signature, values):
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(lambda value: running.predict(signature, [value]), values))


def test_limits_of_body_time_and_concurrency(store, publish, start_server, tmp_path):
    publish(tmp_path, 1)
    limits = Limits(max_body_bytes=2000, max_concurrent=3, timeout_seconds=3.0)
    with start_server(tmp_path, BatchingSettings(max_enqueued=5, threads=1), limits) as running:
        assert running.predict("wmt_en_de", ["a" * 3000])[0] == 413
        zipped = gzip.compress(json.dumps({"signature_name": "raw", "instances": ["a" * 10**6]}).encode())
        assert len(zipped) < 2000
        assert running.http("POST", PREDICT, zipped, {"Content-Encoding": "gzip"})[0] == 413
        status, found = running.predict("wmt_en_de", ["a"] * 6)
        assert status == 400 and "at most 5" in found["error"]
        start = time.monotonic()
        status, found = running.predict("slow", ["1000000"])
        assert status == 504 and "No answer within 3 s" in found["error"]
        assert time.monotonic() - start < 30
        # The run was ended too, or these would wait behind it.
        found = in_parallel(running, "slow", ["3000"] * 6)
        assert {status for status, _ in found} <= {200, 429, 504}
        assert any(status == 429 for status, _ in found)
        assert running.predict("wmt_en_de", ["a"])[0] == 200


def test_slow_and_cut_off_requests_leave_no_trace(store, publish, start_server, tmp_path):
    publish(tmp_path, 1)
    with start_server(tmp_path, limits=Limits(max_concurrent=2, timeout_seconds=0.5)) as running:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n".encode()
        for _ in range(3):  # more than may be at once: every place must come free again
            with socket.create_connection(("127.0.0.1", running.server.rest_port)) as connection:
                connection.sendall(head + b'{"instances"')
            with socket.create_connection(("127.0.0.1", running.server.rest_port), timeout=10) as connection:
                connection.sendall(head + b'{"instances"')
                assert b" 504 " in connection.recv(1000).split(b"\r\n")[0]
            with socket.create_connection(("127.0.0.1", running.server.rest_port), timeout=10) as connection:
                connection.sendall(head[:-10])
                assert connection.recv(1000) == b""  # hung up on, since there is no request to answer
        assert running.predict("wmt_en_de", ["a"])[0] == 200


def test_a_request_that_is_not_http_is_one_line_in_the_log(server, caplog):
    with socket.create_connection(("127.0.0.1", server.server.rest_port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nabc")
        assert b" 400 " in connection.recv(1000).split(b"\r\n")[0]
    (record,) = [record for record in caplog.records if record.name == "aiohttp.server"]
    assert record.levelname == "WARNING" and record.exc_info is None and "\n" not in record.getMessage()
    assert record.getMessage().startswith("Error handling request") and ": 400" in record.getMessage()


def test_idle_sockets_take_no_places(publish, start_server, tmp_path):
    publish(tmp_path, 1)
    with start_server(tmp_path, limits=Limits(max_concurrent=2)) as running, contextlib.ExitStack() as open_ones:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n".encode()
        for begun in 32 * [head, head + b'{"instances"']:
            idle = open_ones.enter_context(socket.create_connection(("127.0.0.1", running.server.rest_port)))
            idle.sendall(begun)
        assert running.predict("wmt_en_de", ["a"])[0] == 200


def test_bodies_under_way_are_bounded_together(publish, start_server, tmp_path):
    publish(tmp_path, 1)
    limits = Limits(max_body_bytes=10_000, max_received_bytes=5000)
    with start_server(tmp_path, limits=limits) as running:
        status, found = running.predict("wmt_en_de", ["a" * 8000])
        assert status == 429 and "too large" in found["error"]
        assert [running.predict("wmt_en_de", ["a" * 3000])[0] for _ in range(3)] == [200, 200, 200]  # it comes free again


def test_pages_and_names_of_others_are_refused(server):
    body = {"signature_name": "wmt_en_de", "instances": ["a"]}
    port = server.server.rest_port
    for headers, status in (
        ({"Host": "localhost:1"}, 200), ({"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}"}, 200),
        ({"Host": "[::1]:8501"}, 200), ({"Host": "192.168.1.5"}, 200), ({"Host": "evil.example"}, 403),
        ({"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"}, 403), ({"Host": "["}, 403),
        ({"Host": f"localhost:{port}", "Origin": "http://evil.example"}, 403),
        ({"Host": f"localhost:{port}", "Origin": "http://localhost:3000"}, 403),
        ({"Host": f"localhost:{port}", "Origin": "null"}, 403),
    ):  # fmt: skip
        found_status, found = server.http("POST", PREDICT, body, headers)
        assert found_status == status, headers
        assert status == 200 or "--allowed_hosts lists others" in found["error"]
    assert server.http("GET", "/", None, {"Host": "evil.example"})[0] == 403  # nor the page


def test_allowed_names_and_origins():
    names = Names("10.0.0.1", ("demo.example", "https://other.example"))
    names.check("demo.example:8501", None)
    names.check("DEMO.example", "https://other.example")
    names.check("demo.example:8501", "http://demo.example:8501")
    names.check(None, None)  # no browser leaves it out
    for host, origin in (("other.example", None), ("demo.example", "https://third.example"), (None, "http://a")):
        with pytest.raises(ServingError, match="not this server's own"):
            names.check(host, origin)


def test_the_page_is_at_the_root(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server.rest_port)
    connection.request("GET", "/")
    response = connection.getresponse()
    body = response.read().decode()
    assert response.headers["Content-Type"].startswith("text/html")
    assert "t2t_mm" in body and "{{" not in body
