"""Shows the progress of a long stage of a command, on a terminal or in a log."""

import sys
import time
from collections.abc import Iterable, Iterator

import tqdm
from absl import logging

_EVERY_SECONDS = 20.0  # between two lines in a log


def shown(items: Iterable, what: str, total: int) -> Iterator:
    """Yields the items and shows the progress: a bar with the time left on a terminal, otherwise occasional log lines.

    Args:
      items: the items of the stage.
      what: the name of the stage.
      total: the number of items.
    """
    if sys.stderr.isatty():
        yield from tqdm.tqdm(items, desc=what, total=total, dynamic_ncols=True)
        return
    start = said = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said > _EVERY_SECONDS and number < total:
            said = now
            logging.info("%s: %d of %d, %.0f s left", what, number, total, (now - start) / number * (total - number))
