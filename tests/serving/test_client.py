"""Tests bin/predict.py and the clients that it uses with both protocols of the server."""

import asyncio
import io
import json
import math
import os
import subprocess
import sys
import threading

import grpc
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from t2t_mm.serving import client as clients
from t2t_mm.serving.rpc_client import RpcClient

CHECKOUT = os.path.join(os.path.dirname(__file__), "..", "..")


def picture(colour) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(data, "PNG")
    return data.getvalue()


def gather(make, signature, items, concurrency=2, batch_size=1):
    async def main():
        client = make()
        try:
            return [one async for one in clients.answers(client, signature, items, concurrency, batch_size)]
        finally:
            await client.close()

    return asyncio.run(main())


def makers(server):
    rest = f"http://127.0.0.1:{server.server.rest_port}"
    return (
        lambda: clients.RestClient(rest, "t2t_mm"),
        lambda: RpcClient(f"127.0.0.1:{server.server.grpc_port}", "t2t_mm"),
    )


@pytest.mark.parametrize("batch_size", [1, 3])
def test_both_protocols_give_the_same_in_order(server, batch_size):
    items = [clients.Item(str(n), {"inputs": picture((n, 0, 0))}) for n in range(9)]
    items[2] = clients.Item("broken", {"inputs": b"\xff\xfe"})
    items[4] = clients.Item("absent", error="No such file")
    found = [gather(make, "coco", items, batch_size=batch_size) for make in makers(server)]
    for answers in found:
        assert [answer.item for answer in answers] == items
        assert answers[8].outputs == {"outputs": "a picture of 8 0 0", "scores": -2.25}
        assert "a damaged or unsupported JPEG or PNG image" in answers[2].error
        assert answers[2].code in ("400", "INVALID_ARGUMENT")
        assert answers[4].error == "No such file"
    assert [answer.outputs for answer in found[0]] == [answer.outputs for answer in found[1]]


def test_classes_scores_and_text(server):
    for make in makers(server):
        (answer,) = gather(make, "imagenet", [clients.Item("p", {"inputs": picture((0, 255, 0))})])
        assert answer.outputs["classes"] == ["dog", "cat", "house"]
        (answer,) = gather(make, "raw", [clients.Item("p", {"inputs": b"text"})])
        assert answer.outputs in ({"outputs": {"b64": "dGV4dA=="}}, {"data_bytes": "text"})


def test_several_answers_to_a_command(server):
    items = [
        clients.Item(text, {"command": b"To-German", "inputs": text.encode()}) for text in ("a dog", "it", "the cat sleeps")
    ]
    found = [[one.outputs for one in gather(make, "n_best", items, batch_size=2)] for make in makers(server)]
    assert found[0] == found[1]
    assert [one["outputs"] for one in found[0]] == [
        [f"To-German {item.name}", f"other To-German {item.name}", ""] for item in items
    ]
    first = found[0][0]
    assert first["scores"] == [-0.5, -1.25, -math.inf]
    assert first["tokens"][1] == ["other", "To-German", "a", "dog", "", "", "", ""]
    assert first["log_probs"][1] == [*[pytest.approx(math.log(0.25))] * 4, *[0.0] * 4]


class Busy:
    """Too busy for the first calls."""

    def __init__(self, times):
        self.times = times

    async def predict(self, signature_name, rows):
        self.times -= 1
        if self.times >= 0:
            raise clients.PredictError("429", "busy", busy=True)
        return [{"outputs": row["inputs"].decode()} for row in rows]

    async def close(self):
        pass


def test_a_busy_server_is_asked_again(monkeypatch):
    monkeypatch.setattr(clients, "_FIRST_WAIT_SECONDS", 0.0)
    assert gather(lambda: Busy(3), "s", [clients.Item("a", {"inputs": b"a"})])[0].outputs == {"outputs": "a"}
    assert gather(lambda: Busy(99), "s", [clients.Item("a", {"inputs": b"a"})])[0].code == "429"


def test_an_unreachable_server_is_told_at_once(server):
    for make in (lambda: clients.RestClient("http://127.0.0.1:9", "m"), lambda: RpcClient("127.0.0.1:9", "m")):
        with pytest.raises(clients.PredictError, match=r"^\w+: .*127.0.0.1:9.*\. Start the server with bin") as caught:
            gather(make, "s", [clients.Item("a", {"inputs": b"a"})])
        assert caught.value.unreachable and "ssl" not in str(caught.value)
    # gRPC's port asked for REST
    with pytest.raises(clients.PredictError):
        gather(lambda: clients.RestClient(f"http://127.0.0.1:{server.server.grpc_port}", "m"), "s", [clients.Item("a")])


def test_a_full_queue_at_the_first_request_is_waited_for():
    """TensorFlow Serving answers UNAVAILABLE, which is also the code of a connection that fails."""

    class Full(prediction_service_pb2_grpc.PredictionServiceServicer):
        calls = 0

        async def Predict(self, request, context):
            self.calls += 1
            if self.calls < 3:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is full")
            response = predict_pb2.PredictResponse()
            response.outputs["outputs"].CopyFrom(tf.make_tensor_proto(["done"]))
            return response

    async def main():
        server = grpc.aio.server()
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Full(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        client = RpcClient(f"127.0.0.1:{port}", "m")
        try:
            return [one async for one in clients.answers(client, "s", [clients.Item("a", {"inputs": b"a"})], 1)]
        finally:
            await client.close()
            await server.stop(0)

    (answer,) = asyncio.run(main())
    assert answer.outputs == {"outputs": "done"}


def test_answers_come_while_the_next_item_is_waited_for():
    """As in `tail -f lines | bin/predict.py --input=-`: neither the requests nor the answers wait for the next line."""
    more = threading.Event()

    def items():
        yield clients.Item("a", {"inputs": b"a"})
        yield clients.Item("b", {"inputs": b"b"})
        assert more.wait(20), "no answer came before the last item"
        yield clients.Item("c", {"inputs": b"c"})

    async def main():
        found = []
        async for answer in clients.answers(Busy(0), "s", items(), 2):
            found.append(answer.outputs["outputs"])
            if found == ["a", "b"]:
                more.set()
        return found

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_an_error_of_the_items_is_handed_on():
    def items():
        yield clients.Item("a", {"inputs": b"a"})
        raise ValueError("line 2")

    with pytest.raises(ValueError, match="line 2"):
        gather(lambda: Busy(0), "s", items())


def test_an_unreachable_server_ends_the_command_while_it_waits_for_lines():
    reading, writing = os.pipe()
    try:
        os.write(writing, b"one\n")
        run = subprocess.run(
            [sys.executable, "bin/predict.py", "--server=127.0.0.1:9", "--problem=wmt_en_de", "--input=-"],
            stdin=reading, capture_output=True, text=True, cwd=CHECKOUT, timeout=60,
            env={**os.environ, "PYTHONPATH": os.path.abspath(CHECKOUT)},
        )  # fmt: skip
    finally:
        os.close(reading)
        os.close(writing)
    assert run.returncode == 1 and "Start the server with bin" in run.stderr and "Fatal" not in run.stderr


def predict(server, *flags, stdin=None):
    return subprocess.run(
        [sys.executable, "bin/predict.py", f"--server=127.0.0.1:{server.server.rest_port}", *flags],
        input=stdin, capture_output=True, text=True, cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.path.abspath(CHECKOUT)},
    )  # fmt: skip


def test_the_command(server, tmp_path):
    (tmp_path / "lines").write_text("one\n\ntwo\n")
    (tmp_path / "a.png").write_bytes(picture((1, 2, 3)))
    flags = ["--problem=wmt_en_de", "--input=-", f"--input_file={tmp_path}/lines", "--progress"]
    run = predict(server, *flags, stdin="Ö\n")
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["input"] for line in lines] == ["Ö", "one", "two"]
    assert lines[0] == {"input": "Ö", "outputs": "v1: Ö", "scores": -0.75}
    assert "3 answered, 0 failed" in run.stderr

    run = predict(server, "--problem=n_best", "--command=coco", f"--input={tmp_path}/a.png")  # read as coco's inputs are
    assert run.returncode == 0 and json.loads(run.stdout)["outputs"][0].startswith("coco \ufffdPNG"), run.stderr

    Image.new("RGB", (4, 4), (7, 8, 9)).save(tmp_path / "a.bmp")
    run = predict(server, "--problem=coco", f"--input={tmp_path}/a.bmp")
    assert json.loads(run.stdout)["outputs"] == "a picture of 7 8 9"
    (tmp_path / "cut.bmp").write_bytes((tmp_path / "a.bmp").read_bytes()[:60])
    run = predict(server, "--problem=coco", f"--input={tmp_path}/cut.bmp")
    assert run.returncode == 1 and "cut.bmp: not a readable image" in json.loads(run.stdout)["error"]

    # The client does not know that this problem has no images, but sends the picture and not its path.
    for flags, sent in ([], False), (["--read_as=text"], True):
        run = predict(server, "--problem=wmt_en_de", f"--input={tmp_path}/a.png", *flags)
        assert (f"{tmp_path}/a.png".upper() in run.stdout) == sent, run.stdout

    run = predict(server, "--problem=coco", f"--input={tmp_path}/a.png", f"--input={tmp_path}/absent.png")
    assert run.returncode == 1
    good, bad = map(json.loads, run.stdout.splitlines())
    assert good["outputs"] == "a picture of 1 2 3" and bad["error"] == f"{tmp_path}/absent.png: No such file or directory"

    rpc = (f"--server=127.0.0.1:{server.server.grpc_port}", "--protocol=grpc")
    for flags, message in (
        ([], "No input"),
        (["--input_file=/absent"], "/absent: No such file"),
        (["--input=a", "--server=127.0.0.1:9"], "Start the server with bin"),
        (["--problem=n_best", "--input=a", "--input=b"], "n_best of an export takes a command; give --command, such as"),
        (["--input=a", "--version=7"], "The server has no model t2t_mm, version 7, that answers; give one that it has loaded"),
        (["--input=a", "--model_name=other", *rpc], "The server has no model other that answers; give one that it has loaded"),
        (["--input=a", "--input_names=language"], "wmt_en_de has other inputs than language; give their names with --input_na"),
        (["--input=a", "--command=wmt_de_en", *rpc], "wmt_en_de has other inputs than inputs; give their names with --inp"),
        (["--input=a", f"--server=127.0.0.1:{server.server.grpc_port}"], "It must be its port for REST."),
        (["--input=a", f"--server=127.0.0.1:{server.server.rest_port}", "--protocol=grpc"], "It must be its port for gRPC."),
        ([f"--input={tmp_path}/lines", "--version=7"], f"For the lines of this file, give --input_file={tmp_path}/lines."),
    ):
        run = predict(server, "--problem=wmt_en_de", *flags)
        assert run.returncode == 1 and run.stderr.count(message) == 1 and "Traceback" not in run.stderr


def test_problems_with_several_inputs(server):
    items = [clients.Item(text, {"language": text.encode(), "image": picture((3, 2, 1))}) for text in ("a dog", "it", "cats")]
    found = [[one.outputs for one in gather(make, "questions", items, batch_size=2)] for make in makers(server)]
    assert found[0] == found[1]
    assert [one["outputs"] for one in found[0]] == [f"{item.name} a picture of 3 2 1" for item in items]


def test_the_command_with_several_inputs(server, tmp_path):
    (tmp_path / "a.png").write_bytes(picture((1, 2, 3)))
    (tmp_path / "lines").write_text(f"{tmp_path}/a.png\ta dog\n\n{tmp_path}/absent.png\t it\n")
    flags = ["--problem=questions", "--input_names=image,language", f"--input_file={tmp_path}/lines"]
    run = predict(server, *flags, f"--input={tmp_path}/a.png", "--input=what ?")
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 1, run.stderr
    assert [line.get("outputs") for line in lines] == ["what ? a picture of 1 2 3", "a dog a picture of 1 2 3", None]
    assert lines[0]["input"] == [f"{tmp_path}/a.png", "what ?"]
    assert lines[2]["error"] == f"{tmp_path}/absent.png: No such file or directory"

    run = predict(server, "--problem=compared", "--input_names=language,language_2", "--input=-", stdin="one\ttwo\n")
    assert json.loads(run.stdout)["outputs"] == "one / two"
    run = predict(server, "--problem=wmt_en_de", "--input=-", stdin="one\ttwo\n")  # a tab belongs to a single text
    assert json.loads(run.stdout)["outputs"] == "v1: ONE\tTWO"

    pair = "--input_names=image,language"
    for flags, message in (
        ([pair, "--input=a.png", "--input=a dog", "--input=b.png"], "--input=b.png: 1 input(s) instead of 2: image, language"),
        ([pair, "--input=a.png", "--input=-", "--input=a dog"], "--input=a.png: 1 input(s) instead of 2"),
        ([pair, "--input=-"], "standard input:1: 1 input(s) instead of 2: image, language (give --input once for each"),
        (["--input_names=language,language", "--input=a", "--input=b"], "language,language must list different names"),
    ):
        run = predict(server, "--problem=questions", *flags, stdin="a dog\n")
        assert run.returncode == 1 and message in run.stderr and "Traceback" not in run.stderr
    run = predict(server, "--problem=questions", "--input=a dog")
    assert "keys must be equal to: image,language" in json.loads(run.stdout)["error"]
