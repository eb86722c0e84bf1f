"""Tests that the load test counts correctly."""

import asyncio
import base64
import io
import os
import wave

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from t2t_mm.common.errors import RunError
from t2t_mm.lab import attacks, c_api, load
from t2t_mm.lab.benchmarks import releases
from t2t_mm.serving.batching import BatchingSettings
from t2t_mm.serving.service import Limits

BODIES = [load.request_body("wmt_en_de", "a b"), load.request_body("wsj_parsing", "c d")]


def test_throughput_and_latency(server):
    url = f"http://127.0.0.1:{server.server.rest_port}"
    found = asyncio.run(load.measure(url, BODIES, 3, 5.0, 40))
    assert found["requests"] == 40 and found["failed"] == 0
    assert 0 < found["p50_ms"] <= found["p99_ms"] and found["requests_per_second"] > 0
    found = asyncio.run(load.measure(url, [*BODIES, load.request_body("absent", "a")], 3, 5.0, 30))
    assert found["failed"] == 10


@pytest.fixture
def limited(publish, start_server, tmp_path):
    publish(tmp_path, 1)
    limits = Limits(max_body_bytes=2000, timeout_seconds=5.0)
    with start_server(tmp_path, BatchingSettings(), limits) as running:
        yield f"http://127.0.0.1:{running.server.rest_port}", limits


def test_a_soak_finds_good_requests_whole_and_bad_ones_refused(limited, monkeypatch):
    url, limits = limited
    known = attacks.bodies(limits.max_body_bytes)  # the small model has no limits of its own
    monkeypatch.setattr(attacks, "bodies", lambda most: {"deep_json": known["deep_json"]})
    found = asyncio.run(load.soak(url, os.getpid(), BODIES, limits, 2, 10.0, 400))
    assert found["good_answered"] > 20 and found["good_lost"] == found["good_changed"] == 0
    kinds = ("malformed", "oversized", "slow_body", "slow_head", "cut_off", "foreign", "deep_json", "idle_socket")
    assert min(found[f"bad_{kind}"] for kind in kinds) > 0
    assert not {name: count for name, count in found.items() if name.startswith("wrong_code")}
    assert found["open_files_in_the_end"] <= found["open_files_after_a_third"] + 2
    assert min(found[f"resident_mib_{when}"] for when in ("after_a_third", "after_two_thirds", "in_the_end")) > 0


def test_what_a_request_costs(limited, monkeypatch):
    url, limits = limited
    slow = load.request_body("slow", "300")
    monkeypatch.setattr(attacks, "bodies", lambda most: {"slow": (slow, 200), "bad": (b"{", 400)})
    found = asyncio.run(load.costs(url, os.getpid(), limits))
    assert (found["slow"]["status"], found["bad"]["status"]) == (200, 400)
    assert found["dearest"]["cpu_seconds"] >= found["slow"]["cpu_seconds"] > found["bad"]["cpu_seconds"]


def test_attacks_are_what_they_say():
    found = attacks.bodies(300_000)
    assert len(found) >= 12 and max(len(body) for body, _ in found.values()) <= 300_000
    assert "large_png" in found and "large_png" not in attacks.bodies(4000)  # those that fit
    with Image.open(io.BytesIO(attacks.png(80, 30))) as picture:
        assert picture.size == (80, 30) and not np.asarray(picture.convert("L")).any()
    assert len(attacks.png(8000, 8000)) < 10_000
    with wave.open(io.BytesIO(attacks.wav(1000, 1044))) as sound:
        assert (sound.getframerate(), sound.getnframes(), sound.getsampwidth()) == (1000, 500, 2)


def test_an_export_by_the_c_api(store):
    saved = saved_model_pb2.SavedModel.FromString((store / "1" / "saved_model.pb").read_bytes())
    strings = {"inputs": np.array([b"a", b"b c"], object)}
    tokens = {"command": np.array([b"a"], object), "ids": np.array([[1, 2]], np.int32)}
    asked = [("wmt_en_de", strings), ("tokens", tokens), ("coco", strings)]
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=1).SerializeToString()
    found = c_api.measure(str(store / "1"), c_api.plan(saved.meta_graphs[0].signature_def, asked), config)
    assert [one["name"] for one in found["answers"]] == ["wmt_en_de", "tokens", "coco"]
    assert [bool(one["error"]) for one in found["answers"]] == [False, False, True]
    assert "a damaged or unsupported JPEG" in found["answers"][2]["error"]
    texts = [[[base64.b64decode(text) for text in output] for output in one["strings"]] for one in found["answers"]]
    assert texts == [[[b"v1: A", b"v1: B C"]], [], []]
    texts = [[[base64.b64decode(text) for text in output] for output in one["strings"]] for one in found["answers"]]
    assert texts == [[[b"v1: A", b"v1: B C"]], [], []]
    assert found["load"]["cpu_seconds"] > 0 and found["peak_mb"] >= found["answers"][0]["resident_mb"] > 50
    with pytest.raises(c_api.CApiError, match="absent"):
        c_api.measure(str(store / "absent"), [])


def test_releases_of_tensorflow_are_compared_by_their_answers(tmp_path, publish, write_warm_up, monkeypatch):
    exports, environment = tmp_path / "exports", tmp_path / "environment"
    write_warm_up(publish(str(exports), 2), ("wmt_en_de", ["a"]), ("wsj_parsing", ["b c"]))
    (environment / "lib" / "python3.11").mkdir(parents=True)
    (environment / "lib" / "python3.11" / "site-packages").symlink_to(c_api.packages())
    real = c_api.measure

    def of_another_release(folder, requests, config, variables, installed):
        found = real(folder, requests, config, variables, installed)
        if str(environment) in installed:
            found["answers"][1]["strings"] = [["b3RoZXI="]]
        return found

    monkeypatch.setattr(c_api, "measure", of_another_release)
    monkeypatch.setattr(releases, "_release", lambda installed: "2.1" if str(environment) in installed else "2.0")
    found = releases.run(str(exports), (str(environment),))
    assert {name: (of["requests"], of["same texts"]) for name, of in found.items()} == {
        "TensorFlow 2.0": (2, 2), "TensorFlow 2.1": (2, 1),
    }  # fmt: skip
    with pytest.raises(RunError, match="no TensorFlow in nowhere"):
        releases.run(str(exports), ("nowhere",))
    write_warm_up(publish(str(exports), 3, like=2), ("coco", ["no image"]))
    with pytest.raises(RunError, match="TensorFlow 2.0, coco: .*damaged or unsupported JPEG"):
        releases.run(str(exports))


def test_a_soak_tells_of_losses(limited, monkeypatch):
    url, limits = limited
    monkeypatch.setattr(load, "_MALFORMED", (BODIES[0],))  # is answered with 200, against what is expected of it
    good = [load.request_body("slow", "1"), BODIES[0]]
    real, calls = load._post, []

    async def sometimes_slow(session, base_url, body):
        calls.append(body)
        if body == good[0] and len(calls) > 10:
            body = load.request_body("slow", "1000000")
        return await real(session, base_url, body)

    monkeypatch.setattr(load, "_post", sometimes_slow)
    monkeypatch.setattr(attacks, "bodies", lambda most: {"deep_json": (b"{", 400)})
    found = asyncio.run(load.soak(url, os.getpid(), good, limits, 1, 10.0, 120))
    assert found["good_lost"] > 0 and found["wrong_code malformed: 200"] == found["bad_malformed"] > 0


def test_a_switch_of_versions_loses_nothing_and_tells_of_other_answers(publish, start_server, tmp_path):
    publish(tmp_path, 1)
    with start_server(tmp_path, BatchingSettings()) as running:
        url = f"http://127.0.0.1:{running.server.rest_port}"
        bodies = [load.request_body("wsj_parsing", "c d")]  # answered alike by both versions
        found = asyncio.run(load.switch(url, bodies, 2, 0.5, 2, lambda: publish(tmp_path, 2)))
        assert found["good_answered"] > 10 and found["good_lost"] == found["good_changed"] == 0
        assert 0 < found["seconds_to_the_new_version"] <= found["seconds_to_the_old_ones_end"]
        assert min(found[f"p99_ms_{when}"] for when in ("before", "meanwhile", "after")) > 0
        found = asyncio.run(load.switch(url, BODIES[:1], 2, 0.5, 3, lambda: publish(tmp_path, 3, 1)))
        assert found["good_changed"] > 0 and found["good_lost"] == 0
