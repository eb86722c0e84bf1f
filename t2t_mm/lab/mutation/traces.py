"""Records which lines of the package each test runs, and how long it takes, once for all mutants."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence

from t2t_mm.common.files import write_json


def digest(top: str, paths: Sequence[str]) -> str:
    """Returns a hash of the names and contents of some files below `top`."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        with open(os.path.join(top, path), "rb") as file:
            whole.update(f"{path}\0".encode() + file.read() + b"\0")
    return whole.hexdigest()[:16]


def python_files(top: str, folder: str) -> list[str]:
    """Returns the paths of all Python files in `folder`, relative to `top` and sorted."""
    found = []
    for where, _, names in os.walk(os.path.join(top, folder)):
        found += [os.path.relpath(os.path.join(where, name), top) for name in names if name.endswith(".py")]
    return sorted(found)


_OF_OTHERS = ("tests/lab/", "tests/serving/")  # they run whole models for minutes to test the code around them


def test_files(top: str, paths: Sequence[str]) -> list[str]:
    """Returns the test files that import one of the modules at `paths`, or the model, which consists of them."""
    modules = {"t2t_mm.model", *(path.removesuffix(".py").replace("/", ".") for path in paths)}
    wanted = "|".join(
        rf"from {re.escape(module)} import|from {re.escape(package)} import .*\b{name}\b|import {re.escape(module)}\b"
        for module in sorted(modules)
        for package, name in [module.rsplit(".", 1)]
    )
    found = []
    for path in python_files(top, "tests"):
        if os.path.basename(path).startswith("test_") and not path.startswith(_OF_OTHERS):
            with open(os.path.join(top, path), encoding="utf-8") as file:
                if re.search(wanted, file.read()):
                    found.append(path)
    return found


class Traces:
    """The traces of all test files, from runs on unchanged code.

    The trace of a test file is {"digest", "touched": paths, "tests": name -> {"seconds", "lines": path -> line numbers}},
    without the tests that failed. The traces are kept in a file. They are valid as long as the tests and the modules that they
    run remain unchanged.
    """

    def __init__(self, path: str):
        self._path, self.files = path, {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.files = json.load(file)

    def update(self, top: str, files: Sequence[str], ask: Callable, progress: Callable[[str], None]) -> None:
        """Traces the test files whose traces are missing or no longer valid.

        Args:
          top: the top folder of the checkout.
          files: test files, relative to `top`.
          ask: a function that takes the settings of a task and returns its answer (see `worker.serve`).
          progress: a function that is called with a line for each traced file.
        """
        helpers = [path for path in python_files(top, "tests") if not os.path.basename(path).startswith("test_")]
        self.files = {name: entry for name, entry in self.files.items() if name in files}
        for number, name in enumerate(files, start=1):
            entry = self.files.get(name)
            if entry and entry["digest"] == self._digest(top, name, helpers, entry):
                continue
            answer = ask(files=[name], trace="t2t_mm")
            found = answer["found"] or {"passed": {}, "lines": {}}
            lines = found["lines"]
            entry = {
                "touched": sorted({path for of_test in lines.values() for path in of_test}),
                "tests": {
                    test: {"seconds": round(seconds, 3), "lines": lines.get(test, {})}
                    for test, seconds in found["passed"].items()
                },
            }
            entry["digest"] = self._digest(top, name, helpers, entry)
            self.files[name] = entry
            write_json(self._path, self.files)
            failed = "" if answer["found"] else f", ended early (signal: {answer['signal']}, timed out: {answer['late']})"
            progress(f"traced {number}/{len(files)} {name}: {len(entry['tests'])} tests, {answer['cpu']:.0f} s{failed}")

    def _digest(self, top, name, helpers, entry) -> str:
        touched = [path for path in entry["touched"] if os.path.exists(os.path.join(top, path))]
        return digest(top, [name, *helpers, *touched])

    def plan(self, path: str, first: int, last: int, seconds: float, at_import: bool = False) -> tuple[dict[str, float], int]:
        """Selects the tests that may detect a fault in the lines from `first` to `last` of the file `path`.

        The tests that run one of these lines come first, ordered by file, with the fastest files first. They are followed by
        the other tests of these files, because a test may use a cached result of another test. If no test has been seen to run
        the lines, all tests that run any line of the file are selected, because the lines may run at import or as rewritten by
        TensorFlow's AutoGraph. The same is true `at_import`, because only the first test that imports a module is seen to run
        such lines, and every test depends on them. Tests that would exceed the limit of `seconds` in total are left out.

        Returns: the tests in order, each with the seconds that it takes on unchanged code, and how many tests that may detect
          the fault are left out.
        """

        def runs_line(test: dict) -> bool:
            return any(first <= line <= last for line in test["lines"].get(path, ()))

        def runs_file(test: dict) -> bool:
            return path in test["lines"]

        tests = [test for entry in self.files.values() for test in entry["tests"].values()]
        meets = runs_line if not at_import and any(map(runs_line, tests)) else runs_file
        met, others = [], []
        for entry in self.files.values():
            times = {name: (meets(test), test["seconds"]) for name, test in entry["tests"].items()}
            if any(meeting for meeting, _ in times.values()):
                met.append([(name, time) for name, (meeting, time) in times.items() if meeting])
                others.append([(name, time) for name, (meeting, time) in times.items() if not meeting])
        chosen: dict[str, float] = {}
        left_out = 0
        for groups in (met, others):
            for name, time in sum(sorted(groups, key=lambda group: sum(time for _, time in group)), []):
                if chosen and sum(chosen.values()) + time > seconds:
                    left_out += groups is met
                    continue
                chosen[name] = time
        return chosen, left_out
