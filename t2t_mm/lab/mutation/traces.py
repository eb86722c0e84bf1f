"""Which lines of the package each test runs, and how long it takes; written down once and kept in a file."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence

from t2t_mm.run.files import write_json


def digest(top: str, paths: Sequence[str]) -> str:
    """One number for the contents of some files."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        with open(os.path.join(top, path), "rb") as file:
            whole.update(f"{path}\0".encode() + file.read() + b"\0")
    return whole.hexdigest()[:16]


def python_files(top: str, folder: str) -> list[str]:
    found = []
    for where, _, names in os.walk(os.path.join(top, folder)):
        found += [os.path.relpath(os.path.join(where, name), top) for name in names if name.endswith(".py")]
    return sorted(found)


_OF_OTHERS = ("tests/lab/", "tests/serving/")  # they run whole models for minutes, to test what is around them


def test_files(top: str, paths: Sequence[str]) -> list[str]:
    """The files of tests that import one of the modules, or the model that is made of them."""
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
    """Test file -> what was found when its tests ran on sound code.

    Each is {"digest", "tests": name -> {"seconds", "lines": path -> line numbers}}, without the tests that did not pass.
    They are kept in a file, and hold as long as the tests and the modules that they ran are the same.
    """

    def __init__(self, path: str):
        self._path, self.files = path, {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.files = json.load(file)

    def update(self, top: str, files: Sequence[str], ask: Callable, progress: Callable[[str], None]) -> None:
        """ask: a function of a task's settings (`worker.serve`) that returns its answer."""
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
            failed = "" if answer["found"] else f", ended: signal {answer['signal']}, late {answer['late']}"
            progress(f"traced {number}/{len(files)} {name}: {len(entry['tests'])} tests, {answer['cpu']:.0f} s{failed}")

    def _digest(self, top, name, helpers, entry) -> str:
        touched = [path for path in entry["touched"] if os.path.exists(os.path.join(top, path))]
        return digest(top, [name, *helpers, *touched])

    def plan(self, path: str, first: int, last: int, seconds: float) -> tuple[list[str], int, float]:
        """The tests that may notice a fault in some lines, in the order to run them, how many more there are, and the
        seconds that those to be run take.

        The quickest files come first, and in a file the tests that run the lines; after all those the other tests of these
        files, since what one test has computed another may take from a cache. Lines that no test is seen to run are met by all
        tests that run another of the file: they may run at the import, or as TensorFlow's AutoGraph has rewritten them. A
        test is left out where it would take all together beyond `seconds`.
        """

        def runs_line(test: dict) -> bool:
            return any(first <= line <= last for line in test["lines"].get(path, ()))

        def runs_file(test: dict) -> bool:
            return path in test["lines"]

        tests = [test for entry in self.files.values() for test in entry["tests"].values()]
        meets = runs_line if any(map(runs_line, tests)) else runs_file
        met, others = [], []
        for entry in self.files.values():
            times = {name: (meets(test), test["seconds"]) for name, test in entry["tests"].items()}
            if any(meeting for meeting, _ in times.values()):
                met.append([(name, time) for name, (meeting, time) in times.items() if meeting])
                others.append([(name, time) for name, (meeting, time) in times.items() if not meeting])
        chosen: list[str] = []
        used, left_out = 0.0, 0
        for groups in (met, others):
            for name, time in sum(sorted(groups, key=lambda group: sum(time for _, time in group)), []):
                if chosen and used + time > seconds:
                    left_out += groups is met
                    continue
                chosen.append(name)
                used += time
        return chosen, left_out, used
