"""Tests the whole server: new versions under load, the command, and how it ends."""

import asyncio
import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import grpc
import pytest

from t2t_mm.serving import health
from t2t_mm.serving.batching import BatchingSettings
from t2t_mm.serving.errors import ServingError
from t2t_mm.serving.names import address
from t2t_mm.serving.server import Server, Settings
from t2t_mm.serving.service import Limits
from t2t_mm.serving.versions import Versions

CHECKOUT = os.path.join(os.path.dirname(__file__), "..", "..")


def test_a_new_version_costs_no_request(publish, start_server, tmp_path):
    publish(tmp_path, 1)
    with start_server(tmp_path, BatchingSettings(timeout_seconds=0.001)) as running:
        stop = threading.Event()

        def keep_asking():
            found = []
            while not stop.is_set():
                status, answer = running.predict("wmt_en_de", ["a"])
                found.append((status, answer["outputs"]["outputs"][0] if status == 200 else answer))
            return found

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(keep_asking) for _ in range(4)]
            time.sleep(0.1)
            publish(tmp_path, 2)
            deadline = time.monotonic() + 30
            while running.predict("wmt_en_de", ["a"])[1]["outputs"]["outputs"] != ["v2: A"]:
                assert time.monotonic() < deadline
            stop.set()
            found = [answers.result() for answers in asking]
    for answers in found:
        texts = [text for _, text in answers]
        assert {status for status, _ in answers} == {200}
        assert texts == sorted(texts) and texts[0] == "v1: A"  # never back to the old one
    assert any(answers[-1][1] == "v2: A" for answers in found)


def start(base, *flags):
    process = subprocess.Popen(
        [sys.executable, "bin/serve.py", f"--export_dir={base}", "--rest_port=0", "--grpc_port=0", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.path.abspath(CHECKOUT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    return process, process.stdout.readline(), process.stdout.readline()


def test_the_command_serves_says_what_it_is_and_drains(publish, tmp_path):
    publish(tmp_path, 1)
    process, first, second = start(tmp_path, "--version_label=stable:1", "--model_name=small")
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+/", first)[0]
        assert "In production, use TensorFlow Serving" in second
        assert process.stdout.readline() == "Serving small.\n"

        def ask(times):
            body = f'{{"signature_name": "slow", "instances": ["{times}"]}}'.encode()
            path = "v1/models/small/labels/stable:predict"
            with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=60) as response:
                return response.status

        assert ask(1) == 200
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            slow = pool.submit(ask, 1000)
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert not slow.done()
            with pytest.raises(urllib.error.URLError):  # nothing new is taken
                ask(1)
            assert slow.result() == 200  # what was under way is answered
        assert process.wait(30) == 0
        assert "Version 1 of small is unloaded" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_it_listens_while_it_loads_and_ends_at_once(publish, write_warm_up, tmp_path):
    path = publish(tmp_path, 1)
    write_warm_up(path, ("wmt_en_de", ["a"]), ("slow", ["100000000"]))
    process, first, _ = start(tmp_path)
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+/", first)[0]
        deadline = time.monotonic() + 60
        message = ""
        while "1 signatures are warmed up" not in message:
            assert time.monotonic() < deadline, message
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(url + "v1/models/t2t_mm/metadata", timeout=60)
            assert caught.value.code == 503
            message = json.loads(caught.value.read())["error"]
            assert "t2t_mm is being loaded" in message
        states = json.load(urllib.request.urlopen(url + "v1/models/t2t_mm", timeout=60))
        assert states["model_version_status"][0]["state"] == "LOADING"
        with grpc.insecure_channel(re.search(r"gRPC (\S+)", first)[1]) as channel:
            assert check_health(channel, "") == health.NOT_SERVING
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "1 signatures warmed up, next slow" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def check_health(channel, service):
    call = channel.unary_unary("/grpc.health.v1.Health/Check", health.Request.SerializeToString, health.Response.FromString)
    return call(health.Request(service=service), timeout=60, wait_for_ready=True).status


def test_health(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.server.grpc_port}") as channel:
        for service in ("", "t2t_mm", "tensorflow.serving.PredictionService"):
            assert check_health(channel, service) == health.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            check_health(channel, "absent")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", health.Request.SerializeToString, health.Response.FromString
        )
        assert next(iter(watch(health.Request(service=""), timeout=60))).status == health.SERVING
    assert health.Response(status=health.SERVING).SerializeToString() == b"\x08\x01"  # as health.proto has it
    assert health.Request(service="a").SerializeToString() == b"\x0a\x01a"


def test_a_watching_client_is_told_and_delays_no_stop(publish, tmp_path):
    publish(tmp_path, 1)

    async def main():
        server = Server(Versions(str(tmp_path), "m"), BatchingSettings(), Limits(), Settings("127.0.0.1", None, 0, 1.0, 30.0))
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            codec = health.Request.SerializeToString, health.Response.FromString
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch", *codec)(health.Request(service=""), timeout=60)
            found = [(await watch.read()).status]
            began = time.monotonic()
            stop = asyncio.create_task(server.stop())
            while (one := await watch.read()) is not grpc.aio.EOF:
                found.append(one.status)
            await stop
        return found, time.monotonic() - began

    found, seconds = asyncio.run(main())
    assert found == [health.SERVING, health.NOT_SERVING]
    assert seconds < 20  # of the 30 that requests under way may take


def test_it_listens_at_an_ipv6_address(publish, tmp_path):
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        pytest.skip("This machine has no IPv6.")
    publish(tmp_path, 1)

    async def main():
        server = Server(Versions(str(tmp_path), "m"), BatchingSettings(), Limits(), Settings("::1", 0, 0))
        await server.start()
        try:
            url = f"http://{address('::1', server.rest_port)}/v1/models/m"
            status = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=20).status)
            async with grpc.aio.insecure_channel(address("::1", server.grpc_port)) as channel:
                codec = health.Request.SerializeToString, health.Response.FromString
                answer = await channel.unary_unary("/grpc.health.v1.Health/Check", *codec)(health.Request(), timeout=20)
            return url, status, answer.status
        finally:
            await server.stop()

    url, *found = asyncio.run(main())
    assert url.startswith("http://[::1]:") and found == [200, health.SERVING]
    assert address("127.0.0.1", 8501) == "127.0.0.1:8501"


@pytest.mark.parametrize("flag", ["--rest_port=85010", "--grpc_port=65536"])
def test_a_port_that_there_is_not_is_told(tmp_path, flag):
    process = subprocess.run(
        [sys.executable, "bin/serve.py", f"--export_dir={tmp_path}", flag], capture_output=True, text=True, cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.path.abspath(CHECKOUT)}, timeout=60,
    )  # fmt: skip
    assert process.returncode == 1 and "65535" in process.stderr and "Traceback" not in process.stderr


def test_the_bodies_together_may_be_more_than_the_largest():
    assert Limits().received_bytes == 128 * 2**20
    assert Limits(max_body_bytes=2**30).received_bytes == 2**33
    assert Limits(max_body_bytes=2**30, max_received_bytes=5).received_bytes == 5


def test_what_cannot_be_served_is_told(tmp_path):
    for flags, message in (
        (["--export_dir", str(tmp_path / "absent")], "No folder"),
        (["--export_dir", str(tmp_path), "--version_label=one"], "--version_label=one is not LABEL:VERSION"),
    ):
        process, *_ = start(tmp_path, *flags)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 1 and f"serve.py: {message}" in stderr
        assert "Traceback" not in stderr


def test_a_taken_port_is_told(server, publish, tmp_path):
    publish(tmp_path, 1)
    taken = server.server.rest_port, server.server.grpc_port
    for flag, ports in (("--rest_port", (taken[0], 0)), ("--grpc_port", (0, taken[1]))):

        async def main():
            second = Server(Versions(str(tmp_path), "m"), BatchingSettings(), Limits(), Settings("127.0.0.1", *ports))
            try:
                with pytest.raises(ServingError, match=f"Choose another {flag}"):
                    await second.start()
            finally:
                await second.stop()

        asyncio.run(main())
