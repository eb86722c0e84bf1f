"""Shows the progress of a long stage of a command, on a terminal or in a log."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator

import tqdm
from absl import logging

_EVERY_SECONDS = 20.0  # between two lines in a log


class Counter:
    """Counts how much of a stage is done and shows it with the time left: a bar on a terminal, otherwise occasional log lines.

    It is a context manager, and several threads may add to it.

    Args:
      what: the name of the stage.
      total: the number of items.
    """

    def __init__(self, what: str, total: int):
        self._what, self._total, self._done, self._lock = what, total, 0, threading.Lock()
        self._start = self._said = time.monotonic()
        self._bar = tqdm.tqdm(desc=what, total=total, dynamic_ncols=True) if sys.stderr.isatty() else None

    def __enter__(self) -> "Counter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, count: int = 1) -> None:
        """Counts items that are done."""
        with self._lock:
            self._done += count
            if self._bar is not None:
                self._bar.update(count)
                return
            now = time.monotonic()
            if now - self._said > _EVERY_SECONDS and 0 < self._done < self._total:
                self._said = now
                left = (now - self._start) / self._done * (self._total - self._done)
                logging.info("%s: %d of %d, %.0f s left", self._what, self._done, self._total, left)


def shown(items: Iterable, what: str, total: int) -> Iterator:
    """Yields the items and shows the progress, see `Counter`."""
    with Counter(what, total) as counter:
        for item in items:
            yield item
            counter.add()
