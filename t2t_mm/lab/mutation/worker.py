"""A process that has imported the libraries, but not the package, and forks to run tests.

It is started as a script, so that only its children import the package, each from the folder of its task. It reads a line of
JSON for each task and writes a line with the answer; see `serve`.
"""

import contextlib
import json
import os
import resource
import select
import signal
import sys
import threading
import time
import traceback

# No import may start threads, because the children would not have them.
os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
GIGABYTE = 1 << 30


class _Tests:
    """A pytest plugin that orders and selects the tests, and records which tests fail and pass.

    Args:
      tests: names of the tests that run first, in this order.
      only: whether all other tests are left out.
      limit: time in seconds after which no further test is started.
      cpu_of_test: the CPU time in seconds after which a test of each file kills the process.

    Attributes:
      failed: the name of the first test that failed, or None.
      passed: the CPU time in seconds of each test that passed, including its fixtures and child processes.
      stopped: whether the limit was reached.
    """

    def __init__(self, tests, only, limit, cpu_of_test):
        self._cpu_of_test = cpu_of_test
        self._place = {name: place for place, name in enumerate(tests)}
        self._only, self._limit, self._start = only, limit, time.monotonic()
        self.failed, self.passed, self.stopped = None, {}, False

    def pytest_collection_modifyitems(self, items):
        if self._only:
            items[:] = [item for item in items if item.nodeid in self._place]
        items.sort(key=lambda item: self._place.get(item.nodeid, len(self._place)))

    def pytest_runtest_setup(self, item):
        if time.monotonic() - self._start > self._limit:
            self.stopped = True
            item.session.shouldstop = "the time limit was reached"
            import pytest

            pytest.skip("the time limit was reached")

    def pytest_runtest_logreport(self, report):
        if report.failed and self.failed is None:
            self.failed = report.nodeid
        if report.when == "setup":
            self.passed[report.nodeid] = 0.0
        if not report.passed:
            self.passed.pop(report.nodeid, None)

    def pytest_runtest_logstart(self, nodeid):
        self._used = _processor_seconds()
        if more := self._cpu_of_test.get(nodeid.split("::")[0]):
            most = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (min(int(time.process_time() + more) + 1, most), most))

    def pytest_runtest_logfinish(self, nodeid):
        if nodeid in self.passed:
            self.passed[nodeid] = _processor_seconds() - self._used

    def pytest_collectreport(self, report):
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def _processor_seconds() -> float:
    """Returns the CPU time of this process and its children, which does not depend on other processes, as elapsed time does."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


class _Lines:
    """A pytest plugin that records which lines of the files in `folder` each test runs.

    Attributes:
      lines: the lines (path, number) for the name of each test. Lines that run at import have the name "".
    """

    def __init__(self, top, folder):
        self._prefix, self._top = os.path.join(top, folder, ""), os.path.join(top, "")
        self._now: set = set()
        self.lines = {"": self._now}
        self._known: dict = {}

    def start(self):
        threading.settrace(self._call)
        sys.settrace(self._call)

    def stop(self):
        sys.settrace(None)
        threading.settrace(None)
        return {test: self._by_file(found) for test, found in self.lines.items()}

    def _by_file(self, found):
        files: dict = {}
        for path, line in sorted(found):
            files.setdefault(path.removeprefix(self._top), []).append(line)
        return files

    def _call(self, frame, event, argument):
        path = frame.f_code.co_filename
        if path not in self._known:
            self._known[path] = path.startswith(self._prefix)
        return self._line if self._known[path] else None

    def _line(self, frame, event, argument):
        if event == "line":
            self._now.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line

    def pytest_runtest_logstart(self, nodeid):
        self._now = self.lines.setdefault(nodeid, set())
        sys.settrace(self._call)  # a test or a library may have removed it

    def pytest_runtest_logfinish(self, nodeid):
        self._now = self.lines[""]


def _run(task: dict) -> dict:
    """Runs pytest in the child and returns its results."""
    import pytest

    os.chdir(task["folder"])
    sys.path.insert(0, task["folder"])
    sys.dont_write_bytecode = not task["trace"]
    os.environ |= {"PYTHONPATH": task["folder"], "PYTHONDONTWRITEBYTECODE": "1"}
    tests = _Tests(task["tests"], task["only"], task["limit"], task["cpu_of_test"])
    plugins: list[object] = [tests]
    lines = None
    if task["trace"]:
        lines = _Lines(task["folder"], task["trace"])
        plugins.append(lines)
        lines.start()
    arguments = ["-q", "-p", "no:cacheprovider", *([] if task["trace"] else ["-x"]), *task["files"]]
    code = int(pytest.main(arguments, plugins=plugins))
    traced = lines.stop() if lines else None
    return {"code": code, "failed": tests.failed, "stopped": tests.stopped, "passed": tests.passed, "lines": traced}


def _child(task: dict, write: int) -> None:
    os.setsid()
    output = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (task["cpu"], task["cpu"] + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (task["gigabytes"] * GIGABYTE,) * 2)
    with os.fdopen(write, "w") as file:
        file.write(json.dumps(_run(task)) + "\n")


def _in_child(task: dict) -> dict:
    read, write = os.pipe()
    start, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if not child:
        try:
            os.close(read)
            _child(task, write)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    try:
        found, late = _read(read, start + task["wall"])
    finally:
        # The child if it is late or this process was interrupted (Ctrl-C does not reach its session), and processes that its
        # tests have left. Until it has begun its session, it has no group of its own.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    died = os.WTERMSIG(status) if os.WIFSIGNALED(status) and not found else None
    return {"late": late, "signal": died, "cpu": seconds, "found": json.loads(found) if found else None}


def _read(pipe: int, until: float) -> tuple[bytes, bool]:
    parts = []
    with os.fdopen(pipe, "rb", buffering=0) as file:
        while (left := until - time.monotonic()) > 0:
            if select.select([file], [], [], left)[0]:
                part = file.read(1 << 20)
                parts.append(part)
                if not part or part.endswith(b"\n"):  # the pipe may not end, because a process of a test holds it open
                    return b"".join(parts), False
    return b"", True


def serve() -> None:
    """Answers tasks until the input ends.

    A task has these keys:
      folder: the folder that contains the package and the tests.
      files: test files.
      tests: names of the tests that run first, in this order.
      only: whether all other tests are left out.
      limit: time in seconds after which no further test is started.
      trace: the folder whose lines are recorded, or "".
      cpu, wall: CPU time and elapsed time in seconds after which the child is killed.
      cpu_of_test: the CPU time in seconds after which a single test is killed with the child, for each test file.
      gigabytes: maximum memory.
      log: the file for the output.

    An answer has these keys:
      found: the results of `_run`, or None if the child died.
      signal: the signal that killed the child, or None.
      late: whether the child was killed because of the limit `wall`.
      cpu: the CPU time in seconds.
    """
    import keras  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import tensorflow  # noqa: F401
    import tensorflow_datasets  # noqa: F401
    import tensorflow_text  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(_in_child(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this script
    serve()
