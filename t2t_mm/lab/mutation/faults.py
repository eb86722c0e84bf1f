"""Mutants with the faults that people make in code with arrays.

These are constants that are off by one, wrong axes, dropped masks, swapped arguments, inverted conditions and missing
statements.
"""

import ast
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

PARTS = (
    "t2t_mm/layers", "t2t_mm/modalities", "t2t_mm/training", "t2t_mm/evaluation", "t2t_mm/metrics", "t2t_mm/corpora",
    "t2t_mm/input", "t2t_mm/model.py", "t2t_mm/losses.py", "t2t_mm/inference/search.py", "t2t_mm/export/answers.py",
)  # fmt: skip
# Calls that apply a mask. The mutant replaces the call with its argument at this index.
_MASKED = {"zero_padding": 0, "where": 2, "logical_or": 0, "logical_and": 0, "maximum": 0, "minimum": 0, "clip": 0}
_TURNED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
_SWAPPED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*"}
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//"}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault: the characters from `start` to `end` of the file `path` are replaced with `text`.

    Attributes:
      kind: description of the kind of fault.
      line: number of its line, from 1.
      before: the source that is replaced.
      code: the line of source without indentation.
      first, last: the lines of the statement that contains the fault. A test must run one of them to detect it. If the fault is
        in the head of a function, these are the lines of the whole function.
    """

    path: str
    kind: str
    line: int
    start: int
    end: int
    before: str
    text: str
    code: str
    first: int
    last: int

    def apply(self, source: str) -> str:
        """Returns the source of the file with the fault."""
        return source[: self.start] + self.text + source[self.end :]


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Yields every fault that can be planted in a file. Docstrings, annotations and messages of errors remain unchanged."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    data = source.encode()

    def place(line: int, column: int) -> int:  # positions of `ast` are in bytes, those of strings in characters
        return len(data[: starts[line - 1] + column].decode())

    def mutant(node: Any, kind: str, text: str) -> Mutant:
        assert node.end_lineno is not None and node.end_col_offset is not None  # every parsed node has them
        start, end = place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)
        code = lines[node.lineno - 1].strip()
        return Mutant(path, kind, node.lineno, start, end, source[start:end], text, code, *around[node.lineno])

    around, lines = _statements(tree), source.splitlines()
    for node in _code(tree):
        yield from _mutants_at(node, mutant)


def runs_at_import(source: str, line: int) -> bool:
    """Returns whether a line is outside the body of every function, so that importing the module runs it."""
    return not any(
        node.body[0].lineno <= line <= (node.end_lineno or line)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )


def _statements(tree: ast.AST) -> dict[int, tuple[int, int]]:
    """Returns the first and last line of the statement on each line, without the statements that it contains."""
    around: dict[int, tuple[int, int]] = {}
    for node in ast.walk(tree):  # outer statements come before inner ones
        if not isinstance(node, ast.stmt):
            continue
        assert node.end_lineno is not None
        inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.excepthandler))]
        head = (node.lineno, min((child.lineno for child in inner), default=node.end_lineno + 1) - 1)
        if head[1] < head[0]:  # a body on the same line
            head = node.lineno, node.end_lineno
        known = (node.lineno, node.end_lineno) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else head
        around |= dict.fromkeys(range(head[0], head[1] + 1), known)
    return around


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes whose change is a fault, without annotations, raised errors, logging and docstrings."""
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
    """Returns a sample of mutants of the parts, with at most one per line, and equally many of each kind if there are enough.

    The choice depends on the code of each mutant itself, so that changes elsewhere do not remove it from the sample.

    Args:
      root: the top folder of the checkout.
      parts: files and folders, relative to `root`.
      count: number of mutants.
      seed: random seed of the choice.
    """
    by_kind: dict[str, dict[str, Mutant]] = {}
    for path in _files(root, parts):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            for mutant in mutants_of(path, file.read()):
                same = by_kind.setdefault(mutant.kind, {})
                draw = f"{seed} {path} {mutant.kind} {mutant.code} {mutant.before} {mutant.text}"
                nth = 0
                while (key := hashlib.sha256(f"{draw} {nth}".encode()).hexdigest()) in same:
                    nth += 1
                same[key] = mutant
    left = {kind: [of_kind[key] for key in sorted(of_kind, reverse=True)] for kind, of_kind in sorted(by_kind.items())}
    chosen: dict[tuple[str, int], Mutant] = {}
    while len(chosen) < count and any(left.values()):
        for mutants in left.values():
            while mutants:
                mutant = mutants.pop()
                if (mutant.path, mutant.line) not in chosen and len(chosen) < count:
                    chosen[mutant.path, mutant.line] = mutant
                    break
    return [chosen[place] for place in sorted(chosen)]


def _files(root: str, parts: Sequence[str]) -> list[str]:
    found = []
    for part in parts:
        if part.endswith(".py"):
            found.append(part)
            continue
        for folder, _, names in os.walk(os.path.join(root, part)):
            found += [os.path.relpath(os.path.join(folder, n), root) for n in names if n.endswith(".py")]
    return sorted(path for path in found if not path.endswith("__init__.py"))
