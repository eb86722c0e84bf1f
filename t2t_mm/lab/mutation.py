"""Mutation testing: small faults are planted in the code one at a time, and the tests must notice each of them.

The usual tools (mutmut, cosmic-ray) run one command for every mutant. Here a command costs the import of TensorFlow and
a whole test file minutes, so that only the tests that import a mutated file are run, the quickest of them first, until
one fails. The kinds of fault are those that a person makes in code about arrays: a constant off by one, another axis, a
mask that is dropped, two arguments swapped, a condition turned round, a statement left out.
"""

import ast
import dataclasses
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

PARTS = (
    "t2t_mm/layers", "t2t_mm/modalities", "t2t_mm/training", "t2t_mm/evaluation", "t2t_mm/metrics", "t2t_mm/corpora",
    "t2t_mm/input", "t2t_mm/model.py", "t2t_mm/losses.py", "t2t_mm/inference/search.py", "t2t_mm/export/answers.py",
)  # fmt: skip
# Calls that let a mask through: the mutant keeps the argument at this place and forgets the rest.
_MASKED = {"zero_padding": 0, "where": 2, "logical_or": 0, "logical_and": 0, "maximum": 0, "minimum": 0, "clip": 0}
_TURNED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
_SWAPPED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*"}
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//"}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One fault: the characters from `start` to `end` of `path` are replaced with `text`.

    kind: What a person would call the fault. line: Where it is. before: The source that is replaced.
    """

    path: str
    kind: str
    line: int
    start: int
    end: int
    before: str
    text: str

    def apply(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Every fault that can be planted in a file; docstrings, annotations and messages of errors are left alone."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    data = source.encode()

    def place(line: int, column: int) -> int:  # ast counts bytes, strings count characters
        return len(data[: starts[line - 1] + column].decode())

    def mutant(node: Any, kind: str, text: str) -> Mutant:  # any node that has a place
        start, end = place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)
        return Mutant(path, kind, node.lineno, start, end, source[start:end], text)

    for node in _code(tree):
        yield from _mutants_at(node, mutant)


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes whose change is a fault: no annotations, no raised messages, no logging, no docstrings."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom)):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if isinstance(child, ast.Call) and _name(child).startswith(("logging.", "report.")):
                continue
            yield child
            yield from _code(child)


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _mutants_at(node: ast.AST, mutant: Callable[[ast.AST, str, str], Mutant]) -> Iterator[Mutant]:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield mutant(node, "changed constant", str(not node.value))
        elif isinstance(node.value, int):
            yield mutant(node, "off by one", f"({node.value + 1})")
        elif isinstance(node.value, float):
            yield mutant(node, "changed constant", repr(node.value * 2 + 0.25))
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _TURNED:
        left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
        yield mutant(node, "turned condition", f"({left} {_TURNED[type(node.ops[0])]} {right})")
    elif isinstance(node, ast.BinOp) and type(node.op) in _SWAPPED:
        left, right = ast.unparse(node.left), ast.unparse(node.right)
        yield mutant(node, "wrong operator", f"(({left}) {_SWAPPED[type(node.op)]} ({right}))")
        if type(node.op) in (ast.Add, ast.Mult):
            yield mutant(node, "dropped term", f"({left})")
    elif isinstance(node, ast.Call):
        function = _name(node).split(".")[-1]
        if function in _MASKED and len(node.args) > _MASKED[function] and not node.keywords:
            yield mutant(node, "dropped mask", f"({ast.unparse(node.args[_MASKED[function]])})")
        if len(node.args) >= 2 and not any(isinstance(a, ast.Starred) for a in node.args[:2]):
            first, second, *rest = (ast.unparse(argument) for argument in node.args)
            keywords = [ast.unparse(keyword) for keyword in node.keywords]
            if first != second:
                yield mutant(node, "swapped arguments", f"{_name(node)}({', '.join([second, first, *rest, *keywords])})")
        for keyword in node.keywords:
            if keyword.arg == "axis" and isinstance(keyword.value, (ast.Constant, ast.UnaryOp)):
                other = "0" if ast.unparse(keyword.value) != "0" else "-1"
                yield mutant(keyword.value, "wrong axis", other)
    elif isinstance(node, ast.If):
        yield mutant(node.test, "turned condition", f"(not ({ast.unparse(node.test)}))")
    elif isinstance(node, (ast.AugAssign, ast.Expr)) and isinstance(node, ast.stmt):
        yield mutant(node, "removed statement", "pass")


def sample(root: str, parts: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """`count` mutants of the parts, the same for the same code and seed; one a line at most, as many of each kind."""
    by_kind: dict[str, list[Mutant]] = {}
    for path in _files(root, parts):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            for mutant in mutants_of(path, file.read()):
                by_kind.setdefault(mutant.kind, []).append(mutant)
    draw = random.Random(seed)
    for kind in sorted(by_kind):
        draw.shuffle(by_kind[kind])
    chosen: dict[tuple[str, int], Mutant] = {}
    while len(chosen) < count and any(by_kind.values()):
        for kind in sorted(by_kind):
            while by_kind[kind]:
                mutant = by_kind[kind].pop()
                if (mutant.path, mutant.line) not in chosen:
                    chosen[mutant.path, mutant.line] = mutant
                    break
    return [chosen[place] for place in sorted(chosen)][:count]


def _files(root: str, parts: Sequence[str]) -> list[str]:
    found = []
    for part in parts:
        if part.endswith(".py"):
            found.append(part)
            continue
        for folder, _, names in os.walk(os.path.join(root, part)):
            found += [os.path.relpath(os.path.join(folder, n), root) for n in names if n.endswith(".py")]
    return sorted(path for path in found if not path.endswith("__init__.py"))


def tests_of(root: str, path: str) -> list[str]:
    """The test files that import a module, those in the folder that mirrors it first, then by size."""
    module = path.removesuffix(".py").replace("/", ".")
    package, name = module.rsplit(".", 1)
    imported = re.compile(rf"from {re.escape(module)} import|from {re.escape(package)} import .*\b{name}\b")
    found = []
    for folder, _, names in os.walk(os.path.join(root, "tests")):
        for file in names:
            whole = os.path.join(folder, file)
            if file.startswith("test_") and file.endswith(".py"):
                with open(whole, encoding="utf-8") as opened:
                    if imported.search(opened.read()):
                        found.append(os.path.relpath(whole, root))
    if path.startswith(("t2t_mm/layers/", "t2t_mm/modalities/")):
        found.append("tests/test_formulas.py")  # it imports the model, and compares each of its parts
    mirror = "tests/" + os.path.dirname(path).split("/", 1)[-1]
    return sorted(set(found), key=lambda test: (os.path.dirname(test) != mirror, os.path.getsize(os.path.join(root, test))))


def run(
    root: str = ".", parts: Sequence[str] = PARTS, count: int = 300, seed: int = 0, jobs: int = 2, timeout: float = 900.0,
    progress: Callable[[str], None] = print,
) -> dict:
    """Plants `count` faults, each in a copy of the checkout, and counts how many a test notices.

    Args:
      jobs: How many mutants are tested side by side.
      timeout: Seconds after which the tests of a mutant are ended. It does not count as noticed then.

    Returns: "mutants", "noticed", "share" in percent, "kinds", and "survivors": what was changed to what, and where.
    """
    chosen = sample(root, parts, count, seed)
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue = SimpleQueue()
        for job in range(jobs):
            copy = os.path.join(folder, str(job))
            shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "runs", "exports", "corpora"))
            # The readers' package is called corpora too; only the data at the top is left behind.
            shutil.copytree(os.path.join(root, "t2t_mm"), os.path.join(copy, "t2t_mm"), dirs_exist_ok=True)
            shutil.copytree(os.path.join(root, "tests"), os.path.join(copy, "tests"), dirs_exist_ok=True)
            copies.put(copy)

        def test(numbered: tuple[int, Mutant]) -> str:
            number, mutant = numbered
            copy = copies.get()
            try:
                start, outcome = time.monotonic(), _outcome(copy, mutant, timeout)
            finally:
                copies.put(copy)
            place = f"{mutant.path}:{mutant.line}"
            progress(f"{number}/{len(chosen)} {outcome} {place} ({mutant.kind}, {time.monotonic() - start:.0f} s)")
            return outcome

        with ThreadPoolExecutor(jobs) as pool:
            outcomes = list(pool.map(test, enumerate(chosen, start=1)))
    survivors = [(mutant, outcome) for mutant, outcome in zip(chosen, outcomes) if outcome != "noticed"]
    kinds = {kind: [0, 0] for kind in sorted({mutant.kind for mutant in chosen})}
    for mutant, outcome in zip(chosen, outcomes):
        kinds[mutant.kind][0] += outcome == "noticed"
        kinds[mutant.kind][1] += 1
    return {
        "mutants": len(chosen),
        "noticed": len(chosen) - len(survivors),
        "share": 100 * (len(chosen) - len(survivors)) / len(chosen),
        "kinds": {kind: f"{noticed} of {of_all}" for kind, (noticed, of_all) in kinds.items()},
        "survivors": [
            {"place": f"{m.path}:{m.line}", "kind": m.kind, "outcome": outcome, "before": m.before, "after": m.text}
            for m, outcome in survivors
        ],
    }


def _outcome(copy: str, mutant: Mutant, timeout: float) -> str:
    path = os.path.join(copy, mutant.path)
    with open(path, encoding="utf-8") as file:
        source = file.read()
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(mutant.apply(source))
        tests = tests_of(copy, mutant.path)
        if not tests:
            return "no test imports it"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        environment = os.environ | {"PYTHONPATH": copy, "PYTHONDONTWRITEBYTECODE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return "timed out"
        return "survived" if done.returncode == 0 else "noticed"
    finally:
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)


def page(found: dict) -> str:
    """The survivors of a run as a Markdown table."""
    lines = [
        f"{found['noticed']} of {found['mutants']} faults were noticed ({found['share']:.1f} %).\n",
        "| survivor | kind | before | after |",
        "| --- | --- | --- | --- |",
    ]
    code = lambda text: "`" + " ".join(text.split())[:120].replace("|", "\\|") + "`"  # noqa: E731
    lines += [
        f"| {survivor['place']} | {survivor['kind']} ({survivor['outcome']}) | {code(survivor['before'])} | "
        f"{code(survivor['after'])} |"
        for survivor in found["survivors"]
    ]
    return "\n".join(lines) + "\n"
