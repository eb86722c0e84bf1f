"""Load on a server: how much it answers how fast, and whether good requests survive among bad ones.

Everything goes to loopback, and every loop is bounded in time and in count.
"""

import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator

import aiohttp
import numpy as np
import psutil

from t2t_mm.serving.batching import BatchSettings
from t2t_mm.serving.server import Server, Settings
from t2t_mm.serving.service import Limits
from t2t_mm.serving.versions import Versions

_START_SECONDS = 600.0  # loading and warming up
_MODEL_NAME = "t2t_mm"
_PATH = f"/v1/models/{_MODEL_NAME}:predict"
_BREAK_SECONDS = 0.02  # between bad requests of one kind, so that they disturb rather than displace the good ones
_REFERENCE_ATTEMPTS = 5  # the first request of a signature that was not warmed up may outlast its time
_SETTLED = 0.3  # of the soak, after which memory is expected to grow no more


class LoadError(Exception):
    """The server does not start, or answers no request even when left alone."""


@contextlib.contextmanager
def serving(export_dir: str, batching: BatchSettings, limits: Limits) -> Iterator[tuple[str, int]]:
    """A server of its own process on a free port of loopback: (base URL, process id). Ends it by SIGTERM.

    Raises:
      LoadError: it does not start; the reason is on standard error.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(export_dir, batching, limits, theirs))
    process.start()
    theirs.close()
    try:
        try:
            port = ours.recv() if ours.poll(_START_SECONDS) else None
        except EOFError:
            port = None
        if port is None:
            raise LoadError(f"No server for {export_dir}; standard error says why.")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        if process.is_alive():
            os.kill(process.pid, signal.SIGTERM)
        process.join(60)
        if process.is_alive():
            process.kill()


def _serve(export_dir: str, batching: BatchSettings, limits: Limits, pipe) -> None:
    server = Server(Versions(export_dir, _MODEL_NAME), batching, limits, Settings(rest_port=0, grpc_port=None))
    asyncio.run(server.serve_until_signalled(lambda started: pipe.send(started.rest_port)))


def request_body(signature_name: str, instance) -> bytes:
    """One predict request of one example; `instance` is text or {"b64": ...}."""
    return json.dumps({"signature_name": signature_name, "instances": [instance]}).encode()


async def measure(base_url: str, bodies: list[bytes], concurrency: int, seconds: float, max_requests: int) -> dict:
    """Throughput and latency of predict requests, `concurrency` of them always under way.

    Args:
      bodies: sent in turn. seconds, max_requests: whichever ends first.

    Returns: requests_per_second, p50_ms, p99_ms, requests, failed.
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
        for body in bodies[:3]:  # the first requests pay for what is set up once
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

    def note(self, kind: str, expected: int, status: int | None) -> None:
        self.bad[kind] = self.bad.get(kind, 0) + 1
        if status != expected:
            self.wrong_codes[f"{kind}: {status}"] = self.wrong_codes.get(f"{kind}: {status}", 0) + 1


async def soak(
    base_url: str, process_id: int, bodies: list[bytes], limits: Limits, workers: int, seconds: float, max_requests: int
) -> dict:
    """Good requests from `workers`, whose answers are compared, beside malformed, oversized, slow and cut-off ones.

    Args:
      process_id: of the server, to watch its memory. limits: the server's own, to be overstepped.
      seconds, max_requests: whichever ends first.

    Returns: good requests answered, lost (no 200) and changed (another answer than alone); bad requests by kind, and
    those that got another code than the documented one; the server's memory, open files and threads, settled and in
    the end.

    Raises:
      LoadError: a good request gets no answer even alone.
    """
    process = psutil.Process(process_id)
    async with _session() as session:
        expected = [await _reference(session, base_url, body) for body in bodies]
        state = _Soak(base_url, limits, time.monotonic() + seconds, max_requests)
        tasks = [_good(state, session, bodies, expected, start) for start in range(workers)]
        tasks += [_malformed(state, session), _oversized(state, session), _slow(state), _cut_off(state, bodies)]
        settled, *_ = await asyncio.gather(_watch(process, _SETTLED * seconds), *tasks)
        # What was left under way by those who hung up ends within the time of a request.
        await asyncio.sleep(min(limits.timeout_seconds, 0.5 * seconds))
        final = _resources(process)
    figures = {"good_answered": state.answered, "good_lost": state.lost, "good_changed": state.changed}
    figures |= {f"bad_{kind}": count for kind, count in sorted(state.bad.items())}
    figures |= {"bad_with_wrong_code": sum(state.wrong_codes.values())}
    figures |= {f"wrong_code {kind}": count for kind, count in sorted(state.wrong_codes.items())}
    for name in final:
        figures |= {f"{name}_settled": settled[name], f"{name}_end": final[name]}
    return figures


async def _reference(session, base_url: str, body: bytes):
    for _ in range(_REFERENCE_ATTEMPTS):
        status, text = await _post(session, base_url, body)
        if status != 504:
            break
    if status != 200:
        raise LoadError(f"A good request alone is refused: {body[:80]!r}... gets {status}: {text}")
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
    """What an answer says, without its scores: sums in another order differ in their last bits."""
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
    b'{"signature_name": "wsj_speech", "instances": [{"b64": "UklGRgAAAABXQVZF"}]}',  # of a WAV
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


async def _slow(state: _Soak) -> None:
    """A body of which a byte comes now and then, and which never ends."""
    while state.more():
        async with _raw(state.base_url, 10_000) as (reader, writer):
            answer = asyncio.ensure_future(reader.readline())
            deadline = time.monotonic() + 2 * state.limits.timeout_seconds + 5
            while not answer.done() and time.monotonic() < deadline:
                writer.write(b" ")
                await asyncio.wait({answer}, timeout=0.2)
            state.note("slow", 504, int(answer.result().split()[1]) if answer.done() and answer.result() else None)
            answer.cancel()


async def _cut_off(state: _Soak, bodies: list[bytes]) -> None:
    """A client that hangs up in its body, or while it waits for the answer."""
    turn = 0
    while state.more():
        body = bodies[turn % len(bodies)]
        async with _raw(state.base_url, len(body)) as (_, writer):
            writer.write(body[: len(body) // 2] if turn % 2 else body)
            await writer.drain()
        state.bad["cut_off"] = state.bad.get("cut_off", 0) + 1
        turn += 1
        await asyncio.sleep(5 * _BREAK_SECONDS)


@contextlib.asynccontextmanager
async def _raw(base_url: str, length: int):
    """A connection on which the head of a predict request with a body of `length` bytes has been sent."""
    port = int(base_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"POST {_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode())
        yield reader, writer
    except ConnectionError:
        pass  # the server hung up first, as it may on one who breaks off
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
        timeout=aiohttp.ClientTimeout(300), connector=aiohttp.TCPConnector(limit=0), trust_env=False
    )


async def _post(session, base_url: str, body: bytes) -> tuple[int | None, str]:
    """Status and text; None where the connection broke."""
    try:
        async with session.post(base_url + _PATH, data=body) as response:
            return response.status, await response.text()
    except aiohttp.ClientError as error:
        return None, str(error)
