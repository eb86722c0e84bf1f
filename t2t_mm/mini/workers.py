"""Processes that draw pictures and read sentences aloud, and a Ctrl-C that ends them all."""

import concurrent.futures
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence

from t2t_mm.run import progress


@contextlib.contextmanager
def pool(processes: int | None = None) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Worker processes, one per core by default; what is waiting is given up where the block ends by an exception."""
    # Ctrl-C reaches every process of a terminal; the workers leave it to this one.
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
    """Begins the work: function -> tasks, of which it gets a list of `chunk` at a time."""
    # The workers start with the first task. A Ctrl-C that met one before it ignores them would end it, and the pool would
    # wait for it for ever; blocked until all have started, it reaches this process alone.
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
    """Waits for all, with a bar, and raises what one of them has raised."""
    for future in progress.shown(concurrent.futures.as_completed(futures), what, len(futures)):
        future.result()
