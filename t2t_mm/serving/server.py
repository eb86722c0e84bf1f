"""The local server, which starts, monitors and drains both transports with one service."""

import asyncio
import dataclasses
import signal
from collections.abc import Callable

import grpc
from absl import logging
from aiohttp import web
from grpc import StatusCode

from t2t_mm.serving import health, memory, rest, rpc
from t2t_mm.serving.batching import Batcher, BatchingSettings
from t2t_mm.serving.errors import ServingError
from t2t_mm.serving.names import Names, address
from t2t_mm.serving.service import Limits, Service
from t2t_mm.serving.versions import Versions

_MOST_IDLE_RPCS = 1000  # maximum number of calls whose message has not arrived; Service counts the others
_MOST_STREAMS = 256  # maximum number of streams of a gRPC connection
_GIVE_BACK_SECONDS = 10.0  # interval for returning memory to the system
_GRPC_FRAMING_BYTES = 64 * 1024  # for names, shapes and tags around the values
_MOST_GRPC_BYTES = 2**31 - 1  # the largest value of this option of gRPC


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of the server.

    Args:
      host: the address; loopback only accepts connections from this machine.
      rest_port, grpc_port: 0 uses any free port, None disables the protocol.
      poll_seconds: interval of checks for new versions.
      drain_seconds: time limit for active requests when the server stops.
      allowed_hosts: additional names of this server, and origins of pages that may send requests (`names.Names`).
    """

    host: str = "127.0.0.1"
    rest_port: int | None = 8501
    grpc_port: int | None = 8500
    poll_seconds: float = 1.0
    drain_seconds: float = 30.0
    allowed_hosts: tuple[str, ...] = ()


class Server:
    """Serves `versions` until `stop`.

    Raises (listen, load, start):
      ServingError: no version can be served, or a port is taken.
    """

    def __init__(self, versions: Versions, batching: BatchingSettings, limits: Limits, settings: Settings):
        self.rest_port: int | None = None
        self.grpc_port: int | None = None
        self._versions = versions
        self._batcher = Batcher(batching)
        self._service = Service(versions, self._batcher, limits)
        self._settings = settings
        self._runner: web.AppRunner | None = None
        self._rpc: grpc.aio.Server | None = None
        self._tasks: list[asyncio.Task] = []
        self._draining = asyncio.Event()

    @property
    def loading(self) -> bool:
        """Whether a version is being loaded. Its thread may outlast `stop`, and the process should then exit by itself."""
        return self._versions.loading

    async def start(self) -> None:
        await self.listen()
        await self.load()

    async def listen(self) -> None:
        """Opens the ports. Until `load` has finished, requests get a status message (UNAVAILABLE, 503)."""
        self._versions.check()
        if self._settings.rest_port is not None:
            await self._start_rest()
        if self._settings.grpc_port is not None:
            await self._start_rpc()

    async def load(self) -> None:
        await self._versions.start()
        watch = self._versions.watch(self._settings.poll_seconds)
        self._tasks += [asyncio.create_task(watch), asyncio.create_task(_give_back_memory())]

    async def _start_rest(self) -> None:
        self._runner = web.AppRunner(
            rest.application(self._service, Names(self._settings.host, self._settings.allowed_hosts)),
            access_log=None,
            handler_cancellation=True,  # a disconnected client frees its place in the queue
            keepalive_timeout=self._service.limits.timeout_seconds,  # also the time limit for receiving headers
            shutdown_timeout=self._settings.drain_seconds,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host, self._settings.rest_port)
        try:
            await site.start()
        except OSError as error:
            raise _taken(self._settings.host, self._settings.rest_port, "--rest_port", error) from error
        self.rest_port = self._runner.addresses[0][1]

    async def _start_rpc(self) -> None:
        limit = min(self._service.limits.max_body_bytes + _GRPC_FRAMING_BYTES, _MOST_GRPC_BYTES)
        options = [
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # report an error if another server uses the port
            ("grpc.max_concurrent_streams", _MOST_STREAMS),
        ]
        # A call counts here before its message has arrived. Service counts the others, for both transports together.
        self._rpc = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MOST_IDLE_RPCS)
        rpc.add_services(self._rpc, self._service)
        health.add_service(self._rpc, self._versions, self._draining)
        try:
            self.grpc_port = self._rpc.add_insecure_port(address(self._settings.host, self._settings.grpc_port))
        except RuntimeError as error:
            raise _taken(self._settings.host, self._settings.grpc_port, "--grpc_port", error) from error
        await self._rpc.start()

    async def stop(self) -> None:
        """Rejects new requests, finishes the active ones, then unloads."""
        self._draining.set()
        for task in self._tasks:
            task.cancel()
        stopping = []
        if self._runner:
            stopping.append(self._runner.cleanup())
        if self._rpc:
            stopping.append(self._rpc.stop(self._settings.drain_seconds))
        await asyncio.gather(*stopping)
        await self._batcher.close()
        await self._versions.close()

    async def serve_until_signalled(
        self, announce: Callable[["Server"], None], listening: Callable[["Server"], None] = lambda server: None
    ) -> None:
        """Listens, calls `listening(self)`, loads, and calls `announce(self)`. Stops at SIGTERM or SIGINT at any time.

        Raises:
          ServingError: see `start`.
        """
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        stop = asyncio.create_task(stopped.wait())
        try:
            await self.listen()
            listening(self)
            load = asyncio.create_task(self.load())
            await asyncio.wait({load, stop}, return_when=asyncio.FIRST_COMPLETED)
            if load.done():
                await load
                announce(self)
                await stop
            else:
                load.cancel()
            logging.info("Draining: no new requests; up to %.0f s for those under way.", self._settings.drain_seconds)
        finally:
            stop.cancel()
            await self.stop()


async def _give_back_memory() -> None:
    while True:
        await asyncio.sleep(_GIVE_BACK_SECONDS)
        await asyncio.to_thread(memory.give_back)


def _taken(host: str, port: int | None, flag: str, error: Exception) -> ServingError:
    return ServingError(
        StatusCode.UNAVAILABLE, f"Cannot listen on {address(host, port)}: {error}. Is it taken? Choose another {flag} (0: any)."
    )
