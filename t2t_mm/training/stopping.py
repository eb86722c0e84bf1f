"""Stops a run on Ctrl-C or SIGTERM at a point where it can be saved."""

import signal
import threading

from absl import logging


class Preempted(Exception):
    """SIGTERM arrived. What the run has done so far is saved, and the same command resumes it."""


class StopSignals:
    """Turns the first Ctrl-C or SIGTERM into a request to stop between two steps. A second one exits immediately.

    Only between two steps do the weights, the data and the random state belong to the same step. Only the main thread
    receives signals. Use it as a context around the steps.

    Attributes:
      requested: the number of the signal that arrived, or 0.
      tracing: whether the graphs are being traced before the first step of this process. A stop then saves nothing.
    """

    def __init__(self):
        self.requested, self.tracing, self._before = 0, False, {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number, _):
        self.requested = number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        when = "after this graph, before the first step, so nothing has to be saved" if self.tracing else "after this step"
        logging.info("%s: stopping %s; send it again to exit immediately", signal.Signals(number).name, when)
