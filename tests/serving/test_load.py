"""The load test counts what it says it counts."""

import asyncio
import os

import pytest

from t2t_mm.lab import load
from t2t_mm.serving.batching import BatchSettings
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
    with start_server(tmp_path, BatchSettings(), limits) as running:
        yield f"http://127.0.0.1:{running.server.rest_port}", limits


def test_a_soak_finds_good_requests_whole_and_bad_ones_refused(limited):
    url, limits = limited
    found = asyncio.run(load.soak(url, os.getpid(), BODIES, limits, 2, 10.0, 400))
    assert found["good_answered"] > 20 and found["good_lost"] == found["good_changed"] == 0
    assert min(found[f"bad_{kind}"] for kind in ("malformed", "oversized", "slow_body", "slow_head", "cut_off")) > 0
    assert not {name: count for name, count in found.items() if name.startswith("wrong_code")}
    assert found["open_files_in_the_end"] <= found["open_files_after_a_third"] + 2
    assert min(found[f"resident_mib_{when}"] for when in ("after_a_third", "after_two_thirds", "in_the_end")) > 0


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
    found = asyncio.run(load.soak(url, os.getpid(), good, limits, 1, 10.0, 60))
    assert found["good_lost"] > 0 and found["wrong_code malformed: 200"] == found["bad_malformed"] > 0


def test_a_switch_of_versions_loses_nothing_and_tells_of_other_answers(publish, start_server, tmp_path):
    publish(tmp_path, 1)
    with start_server(tmp_path, BatchSettings()) as running:
        url = f"http://127.0.0.1:{running.server.rest_port}"
        bodies = [load.request_body("wsj_parsing", "c d")]  # answered alike by both versions
        found = asyncio.run(load.switch(url, bodies, 2, 0.5, 2, lambda: publish(tmp_path, 2)))
        assert found["good_answered"] > 10 and found["good_lost"] == found["good_changed"] == 0
        assert 0 < found["seconds_to_the_new_version"] <= found["seconds_to_the_old_ones_end"]
        assert min(found[f"p99_ms_{when}"] for when in ("before", "meanwhile", "after")) > 0
        found = asyncio.run(load.switch(url, BODIES[:1], 2, 0.5, 3, lambda: publish(tmp_path, 3, 1)))
        assert found["good_changed"] > 0 and found["good_lost"] == 0
