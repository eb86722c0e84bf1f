"""Runs a function beside the event loop, in a thread that does not prevent the process from exiting."""

import asyncio
import contextlib
import threading
from collections.abc import Callable


def in_a_thread(function: Callable, name: str) -> asyncio.Future:
    """Runs `function()` in a separate thread, which does not prevent the process from exiting.

    In contrast, asyncio.run waits for the threads of asyncio.to_thread, which may wait for a disk or for standard input.
    """
    loop = asyncio.get_running_loop()
    answer = loop.create_future()

    def settle(result, error) -> None:
        if answer.cancelled():
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def run() -> None:
        try:
            result, error = function(), None
        except Exception as caught:  # handed on
            result, error = None, caught
        with contextlib.suppress(RuntimeError):  # the event loop has ended, so nobody is waiting
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return answer
