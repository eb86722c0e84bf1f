"""The local server: both transports over one service, started, watched and drained together."""

import asyncio
import dataclasses
import signal

import grpc
from absl import logging
from aiohttp import web
from grpc import StatusCode

from t2t_mm.serving import rest, rpc
from t2t_mm.serving.batching import Batcher, BatchSettings
from t2t_mm.serving.errors import ServingError
from t2t_mm.serving.service import Limits, Service
from t2t_mm.serving.versions import Versions

_GRPC_FRAMING_BYTES = 64 * 1024  # names, shapes and tags around the values


@dataclasses.dataclass(frozen=True)
class Settings:
    """Where the server listens.

    Args:
      host: address; loopback keeps it to this machine. rest_port, grpc_port: 0 takes a free one, None leaves it out.
      poll_seconds: between looks for new versions.
      drain_seconds: what is being answered at the end may take so long.
    """

    host: str = "127.0.0.1"
    rest_port: int | None = 8501
    grpc_port: int | None = 8500
    poll_seconds: float = 1.0
    drain_seconds: float = 30.0


class Server:
    """Serves `versions` until `stop`.

    Raises (start):
      ServingError: no version can be served, or a port is taken.
    """

    def __init__(self, versions: Versions, batching: BatchSettings, limits: Limits, settings: Settings):
        self.rest_port: int | None = None
        self.grpc_port: int | None = None
        self._versions = versions
        self._batcher = Batcher(batching)
        self._service = Service(versions, self._batcher, limits)
        self._settings = settings
        self._runner: web.AppRunner | None = None
        self._rpc: grpc.aio.Server | None = None
        self._watch: asyncio.Task | None = None

    async def start(self) -> None:
        await self._versions.start()
        if self._settings.rest_port is not None:
            await self._start_rest()
        if self._settings.grpc_port is not None:
            await self._start_rpc()
        self._watch = asyncio.create_task(self._versions.watch(self._settings.poll_seconds))

    async def _start_rest(self) -> None:
        self._runner = web.AppRunner(
            rest.application(self._service),
            access_log=None,
            handler_cancellation=True,  # a client that has gone frees its place in the queue
            keepalive_timeout=self._service.limits.timeout_seconds,  # also the time for a head to come whole
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
        limit = self._service.limits.max_body_bytes + _GRPC_FRAMING_BYTES
        options = [
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a second server on the port is a mistake to be told of
        ]
        # Refused before the message is read; Service counts both transports together.
        self._rpc = grpc.aio.server(options=options, maximum_concurrent_rpcs=self._service.limits.max_concurrent)
        rpc.add_services(self._rpc, self._service)
        try:
            self.grpc_port = self._rpc.add_insecure_port(f"{self._settings.host}:{self._settings.grpc_port}")
        except RuntimeError as error:
            raise _taken(self._settings.host, self._settings.grpc_port, "--grpc_port", error) from error
        await self._rpc.start()

    async def stop(self) -> None:
        """Takes no new request, answers those under way, then unloads."""
        if self._watch:
            self._watch.cancel()
        stopping = []
        if self._runner:
            stopping.append(self._runner.cleanup())
        if self._rpc:
            stopping.append(self._rpc.stop(self._settings.drain_seconds))
        await asyncio.gather(*stopping)
        await self._batcher.close()
        await self._versions.close()

    async def serve_until_signalled(self, announce) -> None:
        """Starts, calls `announce(self)`, and stops at SIGTERM or SIGINT; either ends a start, which may take minutes.

        Raises:
          ServingError: as `start`.
        """
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # nothing to drain yet, and a version being loaded cannot be hurried
        try:
            await self.start()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stopped.set)
            announce(self)
            await stopped.wait()
            logging.info("Draining: no new requests; up to %.0f s for those under way.", self._settings.drain_seconds)
        finally:
            await self.stop()


def _taken(host: str, port: int, flag: str, error: Exception) -> ServingError:
    return ServingError(
        StatusCode.UNAVAILABLE, f"Cannot listen on {host}:{port}: {error}. Is it taken? Choose another {flag} (0: any)."
    )
