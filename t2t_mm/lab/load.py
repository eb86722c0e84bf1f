"""Load tests of a server: its throughput and latency, and whether valid requests succeed in the presence of invalid ones.

All requests go to loopback, and every loop is limited in time and number.
"""

import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator

import aiohttp
import numpy as np
import psutil

from t2t_mm.common import environment
from t2t_mm.lab import attacks
from t2t_mm.serving import memory
from t2t_mm.serving.batching import BatchingSettings
from t2t_mm.serving.server import Server, Settings
from t2t_mm.serving.service import Limits
from t2t_mm.serving.versions import Versions

_START_SECONDS = 600.0  # time limit for loading and warming up
_MODEL_NAME = "t2t_mm"
_PATH = f"/v1/models/{_MODEL_NAME}:predict"
_BREAK_SECONDS = 0.02  # pause between invalid requests of one kind, so that they do not displace the valid ones
_REFERENCE_ATTEMPTS = 5  # because the first request of a signature without warm-up may exceed the time limit
_IDLE_SOCKETS = 64
_IDLE_SECONDS = 2.0  # duration of an idle connection, which is then replaced
_THIRDS = {"after_a_third": 1 / 3, "after_two_thirds": 2 / 3}  # a leak would grow equally from one to the next


class LoadError(Exception):
    """The server does not start, or fails to answer a valid request even without other load."""


@contextlib.contextmanager
def serving(export_dir: str, batching: BatchingSettings, limits: Limits) -> Iterator[tuple[str, int]]:
    """Starts a server in a separate process on a free loopback port, yields (base URL, process id), and sends SIGTERM.

    Raises:
      LoadError: it does not start; standard error shows the reason.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(export_dir, batching, limits, theirs))
    environment.prepare()  # which the process takes over; TensorFlow has read it in this one
    process.start()
    assert process.pid is not None  # it has been started
    theirs.close()
    try:
        try:
            port = ours.recv() if ours.poll(_START_SECONDS) else None
        except EOFError:
            port = None
        if port is None:
            raise LoadError(f"The server for {export_dir} did not start; standard error shows the reason.")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        if process.is_alive():
            os.kill(process.pid, signal.SIGTERM)
        process.join(60)
        if process.is_alive():
            process.kill()


def _serve(export_dir: str, batching: BatchingSettings, limits: Limits, pipe) -> None:
    memory.bound()
    server = Server(Versions(export_dir, _MODEL_NAME), batching, limits, Settings(rest_port=0, grpc_port=None))
    asyncio.run(server.serve_until_signalled(lambda started: pipe.send(started.rest_port)))


def request_body(signature_name: str, instance: str | dict) -> bytes:
    """Returns the body of a predict request for one example. `instance` is text or {"b64": ...}."""
    return json.dumps({"signature_name": signature_name, "instances": [instance]}).encode()


async def measure(base_url: str, bodies: list[bytes], concurrency: int, seconds: float, max_requests: int) -> dict:
    """Measures the throughput and latency of predict requests, with `concurrency` simultaneous requests.

    Args:
      bodies: the bodies, which are sent in turn.
      seconds, max_requests: the measurement ends when one of these limits is reached.

    Returns:
      A dict with requests_per_second, p50_ms, p99_ms, requests and failed.
    """
    latencies: list[float] = []
    failed, sent = 0, 0
    end = time.monotonic() + seconds

    async def worker(session):
        nonlocal failed, sent
        while time.monotonic() < end and sent < max_requests:
            body = bodies[sent % len(bodies)]
            sent += 1
            start = time.monotonic()
            status, _ = await _post(session, base_url, body)
            latencies.append(time.monotonic() - start)
            failed += status != 200

    async with _session() as session:
        for body in bodies[:3]:  # the first requests include one-time preparations
            await _post(session, base_url, body)
        start = time.monotonic()
        end = start + seconds
        await asyncio.gather(*[worker(session) for _ in range(concurrency)])
        elapsed = time.monotonic() - start
    p50, p99 = (float(1000 * np.percentile(latencies, share)) for share in (50, 99))
    return {
        "requests_per_second": len(latencies) / elapsed,
        "p50_ms": p50,
        "p99_ms": p99,
        "requests": len(latencies),
        "failed": failed,
    }


@dataclasses.dataclass
class _Soak:
    base_url: str
    limits: Limits
    end: float
    left: int  # requests that may still be sent
    answered: int = 0
    lost: int = 0
    changed: int = 0
    bad: dict = dataclasses.field(default_factory=dict)
    wrong_codes: dict = dataclasses.field(default_factory=dict)

    def more(self) -> bool:
        self.left -= 1
        return time.monotonic() < self.end and self.left > 0

    def note(self, kind: str, expected: int | None, status: int | None) -> None:
        self.bad[kind] = self.bad.get(kind, 0) + 1
        if status != expected:
            self.wrong_codes[f"{kind}: {status}"] = self.wrong_codes.get(f"{kind}: {status}", 0) + 1


async def costs(base_url: str, process_id: int, limits: Limits) -> dict[str, dict]:
    """Measures the cost of each request of `attacks` for the server when it is sent alone.

    Args:
      process_id: the process id of the server.
      limits: the limits of the server.

    Returns:
      A dict of kind -> cpu_seconds, the maximum increase of the resident memory in MB, and the status. The entry "dearest"
      contains the maximum of both costs over all kinds.
    """
    process, found = psutil.Process(process_id), {}
    async with _session() as session:
        for kind, (body, _) in attacks.bodies(limits.max_body_bytes).items():
            _forget_peak(process_id)
            before, resident = _cpu_seconds(process), process.memory_info().rss
            status, _ = await _post(session, base_url, body)
            peak = max(_peak_bytes(process_id), process.memory_info().rss)
            found[kind] = {"cpu_seconds": _cpu_seconds(process) - before, "mb": (peak - resident) / 1e6, "status": status}
    found["dearest"] = {name: max(one[name] for one in found.values()) for name in ("cpu_seconds", "mb")}
    return found


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _forget_peak(process_id: int) -> None:
    """Resets the peak of the resident memory, if Linux permits it."""
    with contextlib.suppress(OSError), open(f"/proc/{process_id}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _peak_bytes(process_id: int) -> int:
    try:
        with open(f"/proc/{process_id}/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0


async def soak(
    base_url: str,
    process_id: int,
    bodies: list[bytes],
    limits: Limits,
    workers: int,
    seconds: float,
    max_requests: int,
    publish: Callable[[], object] | None = None,
) -> dict:
    """Sends valid requests and compares their answers, in the presence of invalid requests.

    The invalid requests are malformed, oversized, slow or aborted, or those of `attacks`, and there are idle connections.

    Args:
      workers: number of concurrent valid requests.
      process_id: the process id of the server, for measuring its memory.
      limits: the limits of the server, which invalid requests exceed.
      seconds, max_requests: the test ends when one of these limits is reached.
      publish: a function that is called after half the time, and publishes a new version with the same answers.

    Returns:
      The numbers of valid requests that were answered, lost (status other than 200) and changed (another answer than without
      load); the invalid requests by kind, and those with another status than documented; and the memory, open files and
      threads of the server after each third of the time.

    Raises:
      LoadError: a valid request fails even without other load.
    """
    process = psutil.Process(process_id)
    async with _session() as session:
        expected = [await _reference(session, base_url, body) for body in bodies]
        state = _Soak(base_url, limits, time.monotonic() + seconds, max_requests)
        tasks = [_good(state, session, bodies, expected, start) for start in range(workers)]
        tasks += [_malformed(state, session), _oversized(state, session), _cut_off(state, bodies)]
        tasks += [_slow(state, "slow_body", _head(min(10_000, limits.max_body_bytes)), 504)]
        tasks += [_slow(state, "slow_head", _head(1)[:-2] + b"X: ", None)]
        tasks += [_attacking(state, session), _foreign(state, session), _idle(state)]
        if publish:
            tasks.append(_publish_later(publish, 0.5 * seconds))
        watches = [_watch(process, share * seconds) for share in _THIRDS.values()]
        seen = (await asyncio.gather(*watches, *tasks))[: len(watches)]
        # The remaining requests of aborted connections end within the time limit of a request.
        await asyncio.sleep(min(limits.timeout_seconds, 0.5 * seconds))
        measured = dict(zip([*_THIRDS, "in_the_end"], [*seen, _resources(process)]))
    figures = {"good_answered": state.answered, "good_lost": state.lost, "good_changed": state.changed}
    figures |= {f"bad_{kind}": count for kind, count in sorted(state.bad.items())}
    figures |= {"bad_with_wrong_code": sum(state.wrong_codes.values())}
    figures |= {f"wrong_code {kind}": count for kind, count in sorted(state.wrong_codes.items())}
    for name in measured["in_the_end"]:
        figures |= {f"{name}_{when}": resources[name] for when, resources in measured.items()}
    return figures


async def switch(
    base_url: str, bodies: list[bytes], workers: int, seconds: float, version: int, publish: Callable[[], object]
) -> dict:
    """Sends valid requests before, while and after a server changes to a new version with the same answers.

    Args:
      workers: number of concurrent requests.
      seconds: duration before the new version is published, and again after the old one is unloaded.
      version: the number of the new version.
      publish: a function that is called once and publishes the new version.

    Returns:
      The numbers of requests that were answered, lost (status other than 200) and changed (another answer than before); the
      seconds until the new version is served and until the old one is unloaded; and p50 and p99 of the latency in ms before,
      during and after the change.

    Raises:
      LoadError: a valid request fails even without other load, or the new version is not served.
    """
    async with _session() as session:
        expected = [await _reference(session, base_url, body) for body in bodies]
        found: list[tuple[float, float, bool, bool]] = []  # (time sent, seconds, answered, as expected)
        going = True

        async def worker(turn):
            while going:
                index = turn % len(bodies)
                turn += 1
                start = time.monotonic()
                status, text = await _post(session, base_url, bodies[index])
                answered = status == 200
                found.append((start, time.monotonic() - start, answered, answered and _outputs(text) == expected[index]))

        tasks = [asyncio.create_task(worker(start)) for start in range(workers)]
        await asyncio.sleep(seconds)
        await asyncio.to_thread(publish)
        published = time.monotonic()
        served = await _state_reached(session, base_url, version, "AVAILABLE")
        unloaded = await _state_reached(session, base_url, version - 1, "END")
        await asyncio.sleep(seconds)
        going = False
        await asyncio.gather(*tasks)
    figures = {
        "good_answered": sum(one[2] for one in found),
        "good_lost": sum(not one[2] for one in found),
        "good_changed": sum(one[2] and not one[3] for one in found),
        "seconds_to_the_new_version": served - published,
        "seconds_to_the_old_ones_end": unloaded - published,
    }
    for when, begin, end in (("before", 0, published), ("meanwhile", published, unloaded), ("after", unloaded, np.inf)):
        latencies = [one[1] for one in found if begin <= one[0] < end]
        for share in (50, 99):
            figures[f"p{share}_ms_{when}"] = float(1000 * np.percentile(latencies, share))
    return figures


async def _state_reached(session, base_url: str, version: int, state: str) -> float:
    """Waits until a version is in a state, and returns the time (time.monotonic)."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        async with session.get(f"{base_url}/v1/models/{_MODEL_NAME}") as response:
            states = (await response.json())["model_version_status"]
        if any(one["version"] == str(version) and one["state"] == state for one in states):
            return time.monotonic()
        await asyncio.sleep(0.05)
    raise LoadError(f"Version {version} has not become {state} within {_START_SECONDS:.0f} s.")


async def _reference(session, base_url: str, body: bytes):
    for _ in range(_REFERENCE_ATTEMPTS):
        status, text = await _post(session, base_url, body)
        if status != 504:
            break
    if status != 200:
        raise LoadError(f"A valid request fails without other load: {body[:80]!r}... gets {status}: {text}")
    return _outputs(text)


async def _good(state: _Soak, session, bodies: list[bytes], expected: list, turn: int) -> None:
    while state.more():
        index = turn % len(bodies)
        turn += 1
        status, text = await _post(session, state.base_url, bodies[index])
        if status != 200:
            state.lost += 1
        else:
            state.answered += 1
            state.changed += _outputs(text) != expected[index]


def _outputs(text: str):
    """Returns the content of an answer without its scores, which may differ in the last bits due to the order of sums."""
    row = json.loads(text)["predictions"][0]
    return {name: value for name, value in row.items() if name != "scores"} if isinstance(row, dict) else row


_MALFORMED = (
    b"",
    b"{",
    b'{"instances": ["a"]',
    b"\xff\xfe",
    b"[" * 1500,
    b'{"signature_name": 1, "instances": ["a"]}',
    b'{"signature_name": "no_such_signature", "instances": ["a"]}',
    b'{"inputs": ["a"], "instances": ["a"]}',
    b'{"signature_name": "imagenet", "instances": ["no picture"]}',
    b'{"signature_name": "coco", "instances": [{"b64": "iVBORw0KGgo="}]}',  # the first bytes of a PNG
    b'{"signature_name": "wsj_speech", "instances": [{"b64": "UklGRgAAAABXQVZF"}]}',  # the first bytes of a WAV
    b'{"instances": [{"command": "a"}]}',
    b'{"instances": []}',
    b'{"instances": [{"b64": "!"}]}',
)


async def _malformed(state: _Soak, session) -> None:
    turn = 0
    while state.more():
        status, _ = await _post(session, state.base_url, _MALFORMED[turn % len(_MALFORMED)])
        state.note("malformed", 400, status)
        turn += 1
        await asyncio.sleep(_BREAK_SECONDS)


async def _oversized(state: _Soak, session) -> None:
    body = request_body("any", "a" * (state.limits.max_body_bytes + 1))
    while state.more():
        status, _ = await _post(session, state.base_url, body)
        state.note("oversized", 413, status)
        await asyncio.sleep(10 * _BREAK_SECONDS)


async def _attacking(state: _Soak, session) -> None:
    kinds, turn = list(attacks.bodies(state.limits.max_body_bytes).items()), 0
    while state.more():
        kind, (body, expected) = kinds[turn % len(kinds)]
        status, _ = await _post(session, state.base_url, body)
        state.note(kind, expected, status)
        turn += 1
        await asyncio.sleep(5 * _BREAK_SECONDS)


async def _foreign(state: _Soak, session) -> None:
    """Sends requests like pages of other sites, with a foreign Host or Origin header."""
    turn, body = 0, request_body("wmt_en_de", "a")
    while state.more():
        headers = ({"Host": "evil.example"}, {"Origin": "http://evil.example"})[turn % 2]
        try:
            async with session.post(state.base_url + _PATH, data=body, headers=headers) as response:
                state.note("foreign", 403, response.status)
        except aiohttp.ClientError:
            state.note("foreign", 403, None)
        turn += 1
        await asyncio.sleep(10 * _BREAK_SECONDS)


async def _idle(state: _Soak) -> None:
    """Keeps many connections open that announce a body but send none."""
    while state.more():
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(_IDLE_SOCKETS):
                await stack.enter_async_context(_raw(state.base_url, _head(1000)))
            state.bad["idle_socket"] = state.bad.get("idle_socket", 0) + _IDLE_SOCKETS
            await asyncio.sleep(min(_IDLE_SECONDS, max(0.0, state.end - time.monotonic())))


async def _publish_later(publish, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await asyncio.to_thread(publish)


async def _slow(state: _Soak, kind: str, begun: bytes, expected: int | None) -> None:
    """Sends a request slowly, byte by byte, without ending it. `expected` is None if the server should disconnect."""
    while state.more():
        async with _raw(state.base_url, begun) as (reader, writer):
            answer = asyncio.ensure_future(reader.readline())
            deadline = time.monotonic() + 2 * state.limits.timeout_seconds + 5
            while not answer.done() and time.monotonic() < deadline:
                writer.write(b" ")
                await asyncio.wait({answer}, timeout=0.2)
            state.note(kind, expected, _status(answer) if answer.done() else -1)
            answer.cancel()


def _status(line: asyncio.Future) -> int | None:
    """Returns the status in the first line of an answer, or None if the server disconnected."""
    if isinstance(line.exception(), ConnectionError) or not line.result():
        return None
    return int(line.result().split()[1])


async def _cut_off(state: _Soak, bodies: list[bytes]) -> None:
    """Disconnects while sending the body, or while waiting for the answer."""
    turn = 0
    while state.more():
        body = bodies[turn % len(bodies)]
        async with _raw(state.base_url, _head(len(body))) as (_, writer):
            writer.write(body[: len(body) // 2] if turn % 2 else body)
            await writer.drain()
        state.bad["cut_off"] = state.bad.get("cut_off", 0) + 1
        turn += 1
        await asyncio.sleep(5 * _BREAK_SECONDS)


def _head(length: int) -> bytes:
    """Returns the headers of a predict request with a body of `length` bytes."""
    return f"POST {_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode()


@contextlib.asynccontextmanager
async def _raw(base_url: str, begun: bytes):
    """Yields a connection on which `begun` has been sent."""
    port = int(base_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(begun)
        yield reader, writer
    except ConnectionError:
        pass  # the server disconnected first, as it may for an incomplete request
    finally:
        writer.transport.abort()


async def _watch(process: psutil.Process, seconds: float) -> dict:
    await asyncio.sleep(seconds)
    return _resources(process)


def _resources(process: psutil.Process) -> dict:
    memory = process.memory_info().rss / 2**20
    return {"resident_mib": memory, "open_files": process.num_fds(), "threads": process.num_threads()}


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(300),
        # The client must close an idle connection before the server does, perhaps just when the next request is sent.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=1),
        trust_env=False,
    )


async def _post(session, base_url: str, body: bytes) -> tuple[int | None, str]:
    """Returns the status and the text of an answer. The status is None if the connection failed."""
    try:
        async with session.post(base_url + _PATH, data=body) as response:
            return response.status, await response.text()
    except aiohttp.ClientError as error:
        return None, str(error)
