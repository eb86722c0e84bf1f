"""A client for TensorFlow Serving's REST interface, and a function to send many inputs. It does not need TensorFlow."""

import asyncio
import base64
import collections
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from t2t_mm.serving.threads import in_a_thread

_RETRIES = 6  # number of retries if the server is too busy
_FIRST_WAIT_SECONDS = 0.1  # doubled with each retry
_WINDOW = 4  # number of batches to read ahead of the oldest unanswered one, as a multiple of the concurrency


def is_it_serving(protocol: str) -> str:
    """Returns what to do if a server cannot be reached by `protocol`, which is REST or gRPC."""
    return (
        "Start the server with bin/serve.py, or give the address of another one with --server. It must be its port for "
        f"{protocol}."
    )


class PredictError(Exception):
    """The server rejects a request (with the error code of the protocol), or it cannot be reached."""

    def __init__(self, code: str, message: str, busy: bool = False, unreachable: bool = False):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.busy = busy
        self.unreachable = unreachable


@dataclasses.dataclass(frozen=True)
class Item:
    """What is asked at once: its name for the answer, and its bytes or the reason why there are none.

    Attributes:
      name: the text or path, or a list of one for each input.
      inputs: the bytes by the names of the inputs of a signature.
    """

    name: str | list[str]
    inputs: dict[str, bytes] = dataclasses.field(default_factory=dict)
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The outputs for one item (name -> text, number or list), or the error."""

    item: Item
    outputs: dict
    code: str = ""
    error: str = ""


class RestClient:
    """Sends requests for one model to `base_url`, such as http://127.0.0.1:8501. Close it when done."""

    def __init__(self, base_url: str, model_name: str, version: int | None = None, timeout_seconds: float = 60.0):
        import aiohttp  # here and below, because the rest of this module does not need the extra `serve`

        which = "" if version is None else f"/versions/{version}"
        self._url = f"{base_url.rstrip('/')}/v1/models/{model_name}{which}:predict"
        # No limit here, because the caller limits the number of simultaneous requests.
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(timeout_seconds), connector=aiohttp.TCPConnector(limit=0)
        )

    async def predict(self, signature_name: str, rows: list[dict[str, bytes]]) -> list[dict]:
        """Returns a dict of outputs for each row, which has the same inputs as the others, by name.

        Raises:
          PredictError: the server rejects the request, sends an invalid answer, or cannot be reached.
        """
        import aiohttp

        instances = [{name: _json_value(data) for name, data in row.items()} for row in rows]
        body = {"signature_name": signature_name, "instances": instances}
        try:
            async with self._session.post(self._url, json=body) as response:
                text = await response.text(errors="replace")
        except TimeoutError as error:
            raise PredictError("timeout", f"No answer from {self._url} in time.") from error
        except (aiohttp.ClientError, ValueError) as error:
            reason = str(error).replace(" ssl:default", "")  # which aiohttp also writes of connections without TLS
            raise PredictError("unreachable", f"{self._url}: {reason}. {is_it_serving('REST')}", unreachable=True) from error
        try:
            found = json.loads(text)
            if response.status == 200:
                return [_named(row) for row in found["predictions"]]
            message = found["error"]
        except (ValueError, TypeError, KeyError):
            message = f"{self._url} answered {text[:200]!r}; is it TensorFlow Serving's REST port?"
        raise PredictError(str(response.status), message, busy=response.status in (429, 503))

    async def close(self) -> None:
        await self._session.close()


def _json_value(data: bytes):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode("ascii")}


def _named(row) -> dict:
    """Returns the outputs by name. (The server leaves out the name of a single output.)"""
    return row if isinstance(row, dict) and "b64" not in row else {"outputs": row}


async def answers(
    client: Any, signature_name: str, items: Iterable[Item], concurrency: int, batch_size: int = 1
) -> AsyncIterator[Answer]:
    """Yields the answers in the order of the items, with parallel requests, each as soon as those before it are there.

    The items are taken in another thread, which may have to wait for them, as for the lines of standard input.

    Args:
      client: an object with the method `predict(signature_name, rows)`.
      concurrency: maximum number of simultaneous requests.
      batch_size: number of items in a request. If a request is rejected, its items are sent separately.

    Raises:
      PredictError: the server cannot be reached.
    """
    slots = asyncio.Semaphore(concurrency)
    pending: collections.deque[asyncio.Task] = collections.deque()
    source = iter(items)
    reading: asyncio.Future | None = None
    ended = False
    try:
        while pending or not ended:
            if reading is None and not ended and len(pending) < _WINDOW * concurrency:
                reading = in_a_thread(lambda: list(itertools.islice(source, batch_size)), "items")
            waiting = [*([reading] if reading else []), *itertools.islice(pending, 1)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if reading and reading.done():
                batch, reading = reading.result(), None
                ended = not batch
                if batch:
                    pending.append(asyncio.create_task(_answer(client, signature_name, batch, slots)))
            if pending and pending[0].done():
                for answer in pending.popleft().result():
                    yield answer
    finally:
        for task in pending:
            task.cancel()


async def _answer(client, signature_name: str, batch: list[Item], slots: asyncio.Semaphore) -> list[Answer]:
    readable = [item for item in batch if not item.error]
    found = {}
    if readable:
        async with slots:
            try:
                rows = await _patiently(client, signature_name, [item.inputs for item in readable])
                found = {id(item): Answer(item, row) for item, row in zip(readable, rows, strict=True)}
            except PredictError as error:
                if error.unreachable:
                    raise
                if len(readable) == 1:
                    found = {id(readable[0]): Answer(readable[0], {}, error.code, error.message)}
    if readable and not found:  # send them separately, because an invalid item must not affect the others
        alone = [await _answer(client, signature_name, [item], slots) for item in readable]
        found = {id(answer.item): answer for (answer,) in alone}
    return [found.get(id(item)) or Answer(item, {}, "unreadable", item.error) for item in batch]


async def _patiently(client, signature_name: str, rows: list[dict[str, bytes]]) -> list[dict]:
    for attempt in range(_RETRIES):
        try:
            return await client.predict(signature_name, rows)
        except PredictError as error:
            if not error.busy:
                raise
        await asyncio.sleep(_FIRST_WAIT_SECONDS * 2**attempt)
    return await client.predict(signature_name, rows)
