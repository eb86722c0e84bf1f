"""Tests rules of this project that no linter checks: class names are unique, imports have one direction, and others."""

import ast
import collections
import glob
import graphlib
import os

import t2t_mm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def modules():
    for path in sorted(glob.glob(os.path.join(ROOT, "t2t_mm", "**", "*.py"), recursive=True)):
        with open(path) as file:
            yield os.path.relpath(path, ROOT), ast.parse(file.read())


def test_every_class_has_a_name_of_its_own():
    places = collections.defaultdict(list)
    for path, module in modules():
        for node in module.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path)
    assert len(places) > 100 and {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_the_folders_of_the_package_import_each_other_in_one_direction():
    """Without imports in functions, which avoid loading what is rarely needed, and imports of types only."""
    uses = collections.defaultdict(set)
    for path, module in modules():
        here = path.split(os.sep)[1].removesuffix(".py")
        for node in module.body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            uses[here] |= {name.split(".")[1] for name in names if name.startswith("t2t_mm.")} - {here}
    order = list(graphlib.TopologicalSorter(uses).static_order())  # raises CycleError with the circle
    assert order.index("corpora") < order.index("input") < order.index("training") < order.index("lab")


def test_nothing_rewrites_a_frozen_object_or_hangs_on_a_function():
    found = []
    for path, module in modules():
        functions = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and node.attr == "__setattr__":
                found.append(f"{path}:{node.lineno} {ast.unparse(node)}")
            targets = node.targets if isinstance(node, ast.Assign) else ()
            for part in (part for target in targets for part in getattr(target, "elts", [target])):
                on_name = isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)
                if on_name and part.value.id in functions and part.attr != "__name__":
                    found.append(f"{path}:{part.lineno} {ast.unparse(part)}")
    assert found == []


def test_every_public_function_is_annotated():
    found = []
    for path, module in modules():
        bodies = [(module.body, 0)]
        bodies += [(node.body, 1) for node in module.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
        for body, skipped in bodies:
            for node in body:
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                if node.name.startswith("_") and node.name not in ("__init__", "__call__", "__enter__", "__exit__"):
                    continue
                static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in node.decorator_list)
                arguments = [*node.args.posonlyargs, *node.args.args][0 if static else skipped :]
                arguments += [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
                untyped = [one.arg for one in arguments if one.annotation is None]
                if node.returns is None and node.name != "__init__":
                    untyped.append("return")
                found += [f"{path}:{node.lineno} {node.name}({name})" for name in untyped]
    assert found == []


def test_what_is_near_a_misspelt_name_is_found_in_one_place():
    """So that all messages suggest names in the same words."""
    found = [path for path, module in modules() if "get_close_matches" in ast.unparse(module)]
    assert found == [os.path.join("t2t_mm", "spelling.py")]


def test_the_citation_has_the_version_of_the_package():
    with open(os.path.join(ROOT, "CITATION.cff")) as file:
        (version,) = [line.split()[1] for line in file if line.startswith("version:")]
    assert version == t2t_mm.__version__
