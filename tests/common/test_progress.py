"""Tests what a long stage shows of its progress, in a log and on a terminal."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

from t2t_mm.common import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_has_whole_lines_with_the_time_left(monkeypatch, caplog, capsys):
    caplog.set_level("INFO", logger="absl")
    seconds = iter(range(0, 100, 15))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    assert list(progress.shown("abcd", "Reading", 4)) == list("abcd")
    # After 15, 30, 45 and 60 s; the last item needs no line.
    assert [record.getMessage() for record in caplog.records] == ["Reading: 2 of 4, 30 s left"]
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_to_which_threads_add(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.Counter("Evaluation on test, examples", 4000) as counter, ThreadPoolExecutor(4) as pool:
        list(pool.map(counter.add, [2] * 2000))
    last = sys.stderr.getvalue().split("\r")[-1]
    assert "Evaluation on test, examples: 100%" in last and "4000/4000 [" in last
