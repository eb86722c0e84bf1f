"""Plants a sample of faults, each in a copy of the checkout, and counts how many of them the tests detect."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

from t2t_mm.common.files import write_whole
from t2t_mm.lab.mutation.faults import PARTS, Mutant, runs_at_import, sample
from t2t_mm.lab.mutation.traces import Traces, digest, python_files, test_files

EQUIVALENT = "tests/equivalent_mutants.toml"
# Outcomes of detected faults: a test has failed, or tests that usually take seconds have crashed or not ended.
NOTICED = ("noticed", "crashed", "hung")
# The outcome if the tests could not be run, for instance for lack of memory. It says nothing about the fault.
NO_RESULT = "no result"
_EXIT_CODES = {3: "an internal error", 4: "a usage error", 5: "no test"}  # of pytest


class Worker:
    """A process that runs tests in its children (`worker.py`), for one copy of the checkout.

    Args:
      copy: the folder of the copy.
      log: the file for the output of the tests of the last task.
    """

    def __init__(self, copy: str, log: str):
        script = os.path.join(os.path.dirname(__file__), "worker.py")
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        environment.pop("PYTHONPATH", None)
        self.copy, self._log = copy, log
        self._process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment, cwd=copy,
        )  # fmt: skip

    def ask(
        self, files: Sequence[str], tests: Sequence[str] = (), only: bool = False, trace: str = "", limit: float = 3600.0,
        cpu: float = 3600, wall: float = 3600.0, cpu_of_test: dict[str, float] | None = None,
    ) -> dict:  # fmt: skip
        """Runs a task and returns its answer; see `worker.serve`.

        Raises:
          RuntimeError: the process has ended.
        """
        task = {
            "folder": self.copy, "log": self._log, "files": list(files), "tests": list(tests), "only": only, "trace": trace,
            "limit": limit, "cpu": int(cpu), "wall": wall, "cpu_of_test": cpu_of_test or {}, "gigabytes": 10,
        }  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The process that runs the tests of {self.copy} has ended; the last output is in {self._log}.")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Outcomes:
    """The outcome of each mutant, in a file to which a line is added as soon as an outcome is known.

    An outcome is valid as long as the file of the mutant remains unchanged. The outcome of a survivor is valid only as long as
    the tests remain unchanged, too. A mutant without a result is tested again.
    """

    def __init__(self, path: str, tests: str):
        self._path, self._tests, self._known = path, tests, {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                *whole, _ = file.read().split("\n")  # the last line is empty, or incomplete because the run was killed
            write_whole(path, "".join(line + "\n" for line in whole))
            self._known = {outcome["key"]: outcome for outcome in map(json.loads, whole)}

    def get(self, key: str) -> dict | None:
        """Returns the outcome of a mutant, or None if it is not known or no longer valid."""
        found = self._known.get(key)
        if found and found["outcome"] == NO_RESULT:
            return None
        return found if found and (found["outcome"] in NOTICED or found["tests"] == self._tests) else None

    def add(self, key: str, outcome: dict) -> None:
        """Adds the outcome of a mutant to the file."""
        self._known[key] = {"key": key, "tests": self._tests} | outcome
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(self._known[key]) + "\n")


def run(
    root: str = ".",
    parts: Sequence[str] = PARTS,
    count: int = 300,
    seed: int = 0,
    jobs: int = 1,
    seconds: float = 120.0,
    state: str | None = None,
    progress: Callable[[str], None] = print,
) -> dict:
    """Plants `count` faults, each in a copy of the checkout, and counts how many of them a test detects.

    Args:
      root: the top folder of the checkout.
      parts: files and folders to plant faults in, relative to `root`.
      count: number of faults.
      seed: random seed of their choice.
      jobs: number of mutants that are tested at the same time.
      seconds: maximum total time of the tests of a mutant on unchanged code; other tests are left out.
      state: folder that keeps the outcomes, so that an interrupted run can be resumed. None: a temporary folder.
      progress: a function that is called with each line of progress.

    Returns: a dict with the numbers of "mutants", "noticed" and "equivalent" ones, the "share" of noticed ones in percent, the
      numbers by "kinds", the number of those with "no result", the sum of the "test_minutes" of all mutants, also of those
      tested by an earlier run or at the same time, and the "survivors": the place and the change, with a "reason" for those
      that are listed as equivalent.
    """
    chosen = sample(root, parts, count, seed)
    equivalent = _equivalent(root)
    with tempfile.TemporaryDirectory() as temporary:
        state = state or temporary
        os.makedirs(state, exist_ok=True)
        outcomes = Outcomes(os.path.join(state, "outcomes.jsonl"), digest(root, python_files(root, "tests")))
        keys = [_key(root, mutant) for mutant in chosen]
        found = [outcomes.get(key) for key in keys]
        for index, mutant in enumerate(chosen):
            if _named(mutant) in equivalent:
                found[index] = {"outcome": "equivalent", "seconds": 0.0, "by": equivalent[_named(mutant)]}
        left = [index for index, outcome in enumerate(found) if outcome is None]
        progress(f"{len(chosen)} mutants, of which {len(chosen) - len(left)} are known")
        if left:
            with _workers(root, temporary, jobs) as workers:
                traces = Traces(os.path.join(state, "traces.json"))
                traces.update(workers[0].copy, test_files(root, [m.path for m in chosen]), workers[0].ask, progress)
                free: SimpleQueue = SimpleQueue()
                for worker in workers:
                    free.put(worker)

                def test(index: int) -> None:
                    worker = free.get()
                    try:
                        found[index] = outcome = _outcome(worker, chosen[index], traces, seconds)
                    finally:
                        free.put(worker)
                    outcomes.add(keys[index], outcome)
                    known = sum(one is not None for one in found)
                    progress(f"{known}/{len(chosen)} {_line(chosen[index], outcome)}")

                with ThreadPoolExecutor(jobs) as pool:
                    list(pool.map(test, left))
    return _summary(chosen, [outcome for outcome in found if outcome is not None])


def _line(mutant: Mutant, outcome: dict) -> str:
    change = f"{' '.join(mutant.before.split())} -> {' '.join(mutant.text.split())}"
    place = f"{mutant.path}:{mutant.line}"
    return f"{outcome['outcome']} {place} {mutant.kind}: {change} ({outcome['seconds']:.0f} s, {outcome['by']})"


def _key(root: str, mutant: Mutant) -> str:
    return f"{digest(root, [mutant.path])} {mutant.path} {mutant.start} {mutant.end} {mutant.text}"


def _named(mutant: Mutant) -> tuple[str, str, str]:
    return mutant.path, mutant.code, mutant.text


def _equivalent(root: str) -> dict[tuple[str, str, str], str]:
    """Returns the reason why no test can detect a mutant, for each (path, code of the line, replacement)."""
    path = os.path.join(root, EQUIVALENT)
    if not os.path.exists(path):
        return {}
    with open(path, "rb") as file:
        return {(m["path"], m["line"], m["after"]): m["reason"] for m in tomllib.load(file)["mutant"]}


@contextmanager
def _workers(root: str, folder: str, jobs: int) -> Iterator[list[Worker]]:
    workers = []
    for job in range(jobs):
        copy = os.path.join(folder, f"copy{job}")
        os.makedirs(copy)
        for name in os.listdir(root):
            # Only the data at the top is not copied; the package of the readers is called corpora, too.
            if name in (".git", "runs", "exports", "corpora", "build", "dist") or name.startswith(".venv"):
                continue
            whole = os.path.join(root, name)
            if os.path.isdir(whole):
                shutil.copytree(whole, os.path.join(copy, name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(whole, copy)
        workers.append(Worker(copy, os.path.join(folder, f"log{job}")))
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close()


def _outcome(worker: Worker, mutant: Mutant, traces: Traces, seconds: float, least: float = 30.0) -> dict:
    """Plants a fault, runs its tests, and removes the fault.

    Args:
      least: minimum CPU time in seconds before a test counts as hung.
    """
    path, start = os.path.join(worker.copy, mutant.path), time.monotonic()
    with open(path, encoding="utf-8", newline="") as file:
        source = file.read()
    at_import = runs_at_import(source, mutant.line)
    tests, left_out = traces.plan(mutant.path, mutant.first, mutant.last, seconds, at_import)
    if not tests:
        return {"outcome": "no test runs it", "seconds": 0.0, "by": ""}
    # CPU time, so that tests on a busy machine do not count as an endless loop. The slowest test of each file sets the limit,
    # because the fixtures of a file count as part of the test that runs first.
    of_file: dict[str, float] = {}
    for test, usual in tests.items():
        file_name = test.split("::")[0]
        of_file[file_name] = max(of_file.get(file_name, 0.0), least + 5 * usual)
    cpu = least + 10 * sum(tests.values())
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(mutant.apply(source))
        _forget(path)
        answer = worker.ask(
            sorted(of_file), list(tests), only=True, limit=20 * cpu, cpu=cpu, wall=20 * cpu, cpu_of_test=of_file
        )
    finally:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(source)
        _forget(path)
    outcome, by = _judged(answer, cpu, f"{left_out} tests left out" if left_out else "")
    return {"outcome": outcome, "seconds": round(time.monotonic() - start, 1), "by": by}


def _judged(answer: dict, cpu: float, note: str) -> tuple[str, str]:
    """Returns the outcome of a mutant, and how it came about.

    Args:
      answer: see `worker.serve`.
      cpu: the limit of the CPU time.
      note: what else is to be told about a mutant that the tests did not detect.
    """
    found, died, used = answer["found"], answer["signal"], f"{answer['cpu']:.0f} s of CPU time"
    if answer["late"]:
        return "timed out", note
    # A process that ignores SIGXCPU is killed a few seconds later. Without the limit, SIGKILL came from outside.
    if died == signal.SIGXCPU or (died == signal.SIGKILL and answer["cpu"] >= int(cpu)):
        return "hung", used
    if died == signal.SIGKILL:
        return NO_RESULT, f"killed after {used}, perhaps for lack of memory"
    if died is not None:
        return "crashed", signal.Signals(died).name
    if found is None:
        return NO_RESULT, "pytest could not be run"
    if found["failed"]:
        return "noticed", found["failed"]
    if found["code"] in _EXIT_CODES:
        return NO_RESULT, f"pytest ended with {found['code']} ({_EXIT_CODES[found['code']]})"
    if found["code"] not in (0, 2):  # 2: stopped at the time limit
        return "noticed", f"pytest ended with {found['code']}"
    return "survived", "the time limit was reached" if found["stopped"] else note


def _forget(path: str) -> None:
    """Removes the bytecode of a file. Python would not notice a change within the same second."""
    folder, name = os.path.split(path.removesuffix(".py"))
    cache = os.path.join(folder, "__pycache__")
    if os.path.isdir(cache):
        for file in os.listdir(cache):
            if file.startswith(f"{name}."):
                os.remove(os.path.join(cache, file))


def _summary(chosen: list[Mutant], found: list[dict]) -> dict:
    kinds = {kind: [0, 0] for kind in sorted({mutant.kind for mutant in chosen})}
    for mutant, outcome in zip(chosen, found):
        kinds[mutant.kind][0] += outcome["outcome"] in NOTICED
        kinds[mutant.kind][1] += 1
    noticed = sum(outcome["outcome"] in NOTICED for outcome in found)
    survivors = []
    for mutant, outcome in zip(chosen, found):
        if outcome["outcome"] not in NOTICED:
            entry = {"place": f"{mutant.path}:{mutant.line}", "kind": mutant.kind, "outcome": outcome["outcome"]}
            reason = {"reason": outcome["by"]} if outcome["by"] else {}
            survivors.append(entry | {"code": mutant.code, "before": mutant.before, "after": mutant.text} | reason)
    return {
        "mutants": len(chosen),
        "noticed": noticed,
        "equivalent": sum(outcome["outcome"] == "equivalent" for outcome in found),
        "share": 100 * noticed / len(chosen),
        "kinds": {kind: f"{noticed} of {of_all}" for kind, (noticed, of_all) in kinds.items()},
        NO_RESULT: sum(outcome["outcome"] == NO_RESULT for outcome in found),
        "test_minutes": sum(outcome["seconds"] for outcome in found) / 60,
        "survivors": survivors,
    }


def page(found: dict) -> str:
    """Returns the survivors of a run as Markdown tables: those that no test can detect, with the reason, and the others."""
    code = lambda text: "`" + " ".join(text.split())[:120].replace("|", "\\|") + "`"  # noqa: E731
    lines = [
        f"The tests detected {found['noticed']} of {found['mutants']} faults ({found['share']:.1f} %). {found['equivalent']} "
        f"of the others change nothing that a test can detect.\n"
    ]
    if found[NO_RESULT]:
        lines[0] += f"The tests of {found[NO_RESULT]} could not be run; the same command tries them again.\n"
    named = [survivor for survivor in found["survivors"] if survivor["outcome"] == "equivalent"]
    others = [survivor for survivor in found["survivors"] if survivor["outcome"] != "equivalent"]
    for title, survivors, last in (("equivalent", named, "why"), ("survivor", others, "note")):
        if survivors:
            lines += [f"| {title} | kind | before | after | {last} |", "| --- | --- | --- | --- | --- |"]
            for survivor in survivors:
                told = survivor["outcome"] not in ("equivalent", "survived")
                kind = f"{survivor['kind']} ({survivor['outcome']})" if told else survivor["kind"]
                reason = survivor.get("reason", "").replace("|", "\\|")
                cells = survivor["place"], kind, code(survivor["before"]), code(survivor["after"]), reason
                lines.append(f"| {' | '.join(cells)} |")
            lines.append("")
    return "\n".join(lines)
