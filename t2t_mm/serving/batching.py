"""Runs requests that arrive at the same time as one batch, and splits long requests into several batches.

The answer of an export to an example does not depend on its batch, and its score differs by at most 1e-6 due to rounding.
"""

import asyncio
import collections
import concurrent.futures
import dataclasses
import re
import time
from collections.abc import Awaitable
from typing import Any

import numpy as np
import tensorflow as tf
from grpc import StatusCode

from t2t_mm.serving.errors import ServingError, invalid
from t2t_mm.serving.servable import Servable, batch_size

_ROW = re.compile(r"^(\w+)\[(\d+)\]: ")  # how an error of the graph begins that names an input and its row


@dataclasses.dataclass(frozen=True)
class BatchingSettings:
    """The settings of batching.

    Args:
      enabled: whether requests are joined. A request longer than max_batch_size is split in any case, except if the length
        of an output depends on the examples beside it.
      max_batch_size: maximum number of examples in a batch.
      timeout_seconds: maximum time that an incomplete batch waits for more examples.
      max_enqueued: maximum number of waiting or running examples; beyond it, requests are rejected.
      threads: number of batches that run at the same time.
    """

    enabled: bool = True
    max_batch_size: int = 16
    timeout_seconds: float = 0.002
    max_enqueued: int = 256
    threads: int = 2


@dataclasses.dataclass
class _Task:
    inputs: dict[str, np.ndarray]
    size: int
    deadline: float  # a value of time.monotonic
    arrival: float
    answer: asyncio.Future


class Batcher:
    """Queues of requests that may run together, and the threads that run them. It must be used from one event loop."""

    def __init__(self, settings: BatchingSettings):
        self._settings = settings
        self._threads = concurrent.futures.ThreadPoolExecutor(settings.threads, thread_name_prefix="batch")
        self._free = settings.threads
        self._enqueued = 0
        self._queues: dict[tuple, collections.deque[_Task]] = collections.defaultdict(collections.deque)
        self._running: set[asyncio.Task] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def run(
        self, servable: Servable, signature_name: str, inputs: dict, output_names: tuple[str, ...], deadline: float
    ) -> dict[str, np.ndarray]:
        """Returns the outputs for `inputs`, in the order of their examples.

        Args:
          inputs: name -> array that the signature accepts.
          deadline: the value of time.monotonic at which the caller stops waiting.

        Raises:
          ServingError: the error of the graph; RESOURCE_EXHAUSTED if too many examples are waiting.
        """
        size = batch_size(inputs)
        counted = size or 1
        if counted > self._settings.max_enqueued:
            raise invalid(f"{counted} examples in one request; at most {self._settings.max_enqueued} are allowed.")
        if self._enqueued + counted > self._settings.max_enqueued:
            raise ServingError(StatusCode.RESOURCE_EXHAUSTED, "The queue is full; try again later.")
        self._enqueued += counted
        try:
            return await self._run(servable, signature_name, inputs, output_names, size, deadline)
        finally:
            self._enqueued -= counted

    async def close(self) -> None:
        """Waits for the running batches."""
        await asyncio.gather(*self._running, return_exceptions=True)
        self._threads.shutdown()

    async def _run(self, servable, signature_name, inputs, output_names, size: int | None, deadline) -> dict:
        key = (servable, signature_name, output_names)
        if size is None:  # the inputs cannot be split into examples
            return await self._enqueue((*key, object()), inputs, 1, deadline)
        # A request that is not split may be longer than a batch; the graph has a limit of its own.
        most = self._settings.max_batch_size if _may_be_split(servable.signature(signature_name)) else max(size, 1)
        parts = []
        for start in range(0, size, most):
            part = {name: array[start : start + most] for name, array in inputs.items()}
            kind = tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(part.items()))
            alone = () if self._settings.enabled else (object(),)
            waiting = self._enqueue((*key, kind, *alone), part, min(most, size - start), deadline)
            parts.append(_naming_rows_from(start, waiting))
        answers = await _all_or_none(parts)
        if len(answers) == 1:
            return answers[0]
        for start, answer in zip(range(0, size, most), answers):
            _check_rows(signature_name, answer, min(most, size - start))
        return {name: np.concatenate([answer[name] for answer in answers]) for name in output_names}

    async def _enqueue(self, key: tuple, inputs: dict, size: int, deadline: float) -> dict[str, np.ndarray]:
        answer = asyncio.get_running_loop().create_future()
        self._queues[key].append(_Task(inputs, size, deadline, time.monotonic(), answer))
        self._dispatch()
        return await answer

    def _dispatch(self) -> None:
        """Starts all batches that are full or have waited long enough, the oldest first, while a thread is free."""
        while self._free and self._queues:
            for key in [key for key, queue in self._queues.items() if all(task.answer.done() for task in queue)]:
                del self._queues[key]  # all callers have stopped waiting
            if not self._queues:
                return
            key = min(self._queues, key=lambda key: self._ready_at(self._queues[key]))
            wait = self._ready_at(self._queues[key]) - time.monotonic()
            if wait > 0:
                if self._timer:
                    self._timer.cancel()
                self._timer = asyncio.get_running_loop().call_later(wait, self._dispatch)
                return
            tasks = self._take(key)
            self._free -= 1
            running = asyncio.get_running_loop().create_task(self._execute(key, tasks))
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    def _ready_at(self, queue: collections.deque[_Task]) -> float:
        arrival = queue[0].arrival
        full = sum(task.size for task in queue) >= self._settings.max_batch_size
        return arrival if full or not self._settings.enabled else arrival + self._settings.timeout_seconds

    def _take(self, key: tuple) -> list[_Task]:
        queue, total = self._queues[key], 0
        tasks: list[_Task] = []
        while queue and (not tasks or total + queue[0].size <= self._settings.max_batch_size):
            task = queue.popleft()
            if not task.answer.done():
                tasks.append(task)
                total += task.size
        if not queue:
            del self._queues[key]
        return tasks

    async def _execute(self, key: tuple, tasks: list[_Task]) -> None:
        servable, signature_name, output_names = key[:3]
        servable.leases += 1  # a separate lease, because the caller may stop waiting before the run ends
        try:
            try:
                await self._run_together(servable, signature_name, output_names, tasks)
            except ServingError as error:
                if len(tasks) == 1:
                    _settle(tasks[0], error)
                else:  # run them separately, because an invalid example must not affect the others
                    await self._run_each(servable, signature_name, output_names, tasks)
            except Exception as error:  # a bug: report it to the callers and keep the server running
                for task in tasks:
                    _settle(task, error)
        finally:
            servable.leases -= 1
            self._free += 1
            self._dispatch()

    async def _run_each(self, servable, signature_name, output_names, tasks: list[_Task]) -> None:
        for task in tasks:
            try:
                await self._run_together(servable, signature_name, output_names, [task])
            except Exception as error:  # also a bug, because the callers of the other tasks would wait for nothing
                _settle(task, error)

    async def _run_together(self, servable, signature_name, output_names, tasks: list[_Task]) -> None:
        names = tasks[0].inputs
        if len(tasks) == 1:
            inputs = tasks[0].inputs
        else:
            inputs = {name: np.concatenate([task.inputs[name] for task in tasks]) for name in names}
        seconds = max(task.deadline for task in tasks) - time.monotonic()
        if seconds <= 0:
            raise ServingError(StatusCode.DEADLINE_EXCEEDED, "The time for the request ran out.")
        loop = asyncio.get_running_loop()
        outputs = await loop.run_in_executor(self._threads, servable.run, signature_name, inputs, output_names, seconds)
        if len(tasks) == 1:
            _settle(tasks[0], outputs)
            return
        _check_rows(signature_name, outputs, sum(task.size for task in tasks))
        start = 0
        for task in tasks:
            _settle(task, {name: array[start : start + task.size] for name, array in outputs.items()})
            start += task.size


def _may_be_split(signature: Any) -> bool:
    """Returns whether the outputs of parts of a request can be joined: all dimensions except the first are known."""
    shapes = [tf.TensorShape(output.tensor_shape) for output in signature.outputs.values()]
    return all(shape.rank is not None and shape[1:].is_fully_defined() for shape in shapes)


async def _naming_rows_from(start: int, answer: Awaitable[dict]) -> dict:
    """Waits for the answer to the part of a request that begins at row `start`. Errors name the row in the whole request."""
    try:
        return await answer
    except ServingError as error:
        if not start:
            raise
        message = _ROW.sub(lambda match: f"{match[1]}[{int(match[2]) + start}]: ", error.message)
        raise ServingError(error.code, message) from error


def _check_rows(signature_name: str, outputs: dict[str, np.ndarray], count: int) -> None:
    for name, array in outputs.items():
        if not array.ndim or array.shape[0] != count:
            raise ServingError(
                StatusCode.INTERNAL,
                f"Output {name} of {signature_name} has shape {array.shape} for {count} examples; its first dimension "
                "must be theirs.",
            )


def _settle(task: _Task, answer) -> None:
    if task.answer.done():
        return
    if isinstance(answer, Exception):
        task.answer.set_exception(answer)
    else:
        task.answer.set_result(answer)


async def _all_or_none(parts: list) -> list[dict]:
    """Returns all answers in order. The first error cancels the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
    except* ServingError as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]
