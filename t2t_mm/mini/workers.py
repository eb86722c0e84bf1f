"""Processes that draw images and read sentences aloud, all of which end after Ctrl-C."""

import concurrent.futures
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence

from t2t_mm.common import progress


@contextlib.contextmanager
def pool(processes: int | None = None) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Yields worker processes, one per core by default. If the block ends with an exception, waiting tasks are cancelled."""
    # A terminal sends Ctrl-C to all processes; the workers ignore it and leave it to this process.
    with concurrent.futures.ProcessPoolExecutor(
        processes or os.cpu_count() or 1, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    ) as made:
        try:
            yield made
        except BaseException:
            made.shutdown(wait=True, cancel_futures=True)
            raise


def submitted(
    made: concurrent.futures.ProcessPoolExecutor, work: Mapping[Callable, Sequence], chunk: int
) -> list[concurrent.futures.Future]:
    """Starts the work, given function -> tasks. A function gets a list of `chunk` tasks at a time."""
    # The workers start with the first task. If Ctrl-C reached a worker before it ignores the signal, the worker would end
    # and the pool would wait forever. Therefore the signal is blocked until all workers have started.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return [
            made.submit(function, tasks[first : first + chunk])
            for function, tasks in work.items()
            for first in range(0, len(tasks), chunk)
        ]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def finish(futures: Sequence[concurrent.futures.Future], what: str) -> None:
    """Waits for all tasks with a progress bar, and raises the exception of a failed task."""
    for future in progress.shown(concurrent.futures.as_completed(futures), what, len(futures)):
        future.result()
