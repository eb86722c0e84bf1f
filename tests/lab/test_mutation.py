"""Runs mutation testing on a package of one module, with a test that detects faults and one that does not."""

import ast
import os
import signal
import time

import pytest

from t2t_mm.lab.mutation import faults
from t2t_mm.lab.mutation import run as runs
from t2t_mm.lab.mutation import worker as workers
from t2t_mm.lab.mutation.traces import Traces

MODULE = '''"""A docstring 1."""

def area(width: int = 3, height=4):
    """Never changed: 5."""
    if width < 0:
        raise ValueError("negative: 7")
    return width * height

def unseen(x, y):
    return max(x, y + 2)
'''
TEST = """from t2t_mm.shapes import area

def test_area():
    assert area(2, 5) == 10 and area() == 12 and area(0, 1) == 0
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "t2t_mm").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "t2t_mm" / "__init__.py").touch()
    (tmp_path / "t2t_mm" / "shapes.py").write_text(MODULE)
    (tmp_path / "tests" / "test_shapes.py").write_text(TEST)
    return str(tmp_path)


def test_each_mutant_is_another_program_and_no_text_is_changed():
    found = list(faults.mutants_of("t2t_mm/shapes.py", MODULE))
    assert {m.kind for m in found} >= {"off by one", "turned condition", "wrong operator", "swapped arguments", "dropped term"}
    for mutant in found:
        changed = ast.parse(mutant.apply(MODULE))
        assert ast.dump(changed) != ast.dump(ast.parse(MODULE))
        for text in ("A docstring 1.", "Never changed: 5.", "negative: 7"):
            assert text in mutant.apply(MODULE)


def test_lines_that_importing_runs_are_met_by_all_tests_of_the_module():
    source = "import os\n\nclass A:\n    size: int = 3\n\n    def f(self, x=1):\n        return x\n\nB = 4\n"
    assert [line for line in range(1, 10) if not faults.runs_at_import(source, line)] == [7]
    traces = Traces("nowhere.json")
    tests = {"a": {"seconds": 1.0, "lines": {"m.py": [4, 7]}}, "b": {"seconds": 2.0, "lines": {"m.py": [7]}}}
    traces.files = {"t.py": {"tests": tests | {"c": {"seconds": 3.0, "lines": {}}}}}
    assert traces.plan("m.py", 4, 4, 1.5) == ({"a": 1.0}, 0)
    assert traces.plan("m.py", 4, 4, 1.5, at_import=True) == ({"a": 1.0}, 1)
    assert list(traces.plan("m.py", 4, 4, 9.0, at_import=True)[0])[:2] == ["a", "b"]


def test_a_sample_is_the_same_for_the_same_seed(checkout):
    first, second, other = (faults.sample(checkout, ["t2t_mm"], 3, seed) for seed in (1, 1, 2))
    assert first == second and first != other and len({(m.path, m.line) for m in first}) == 3


def test_faults_are_planted_and_the_survivors_are_those_that_no_test_meets(checkout, tmp_path):
    lines = []
    state = str(tmp_path / "state")
    settings = {"root": checkout, "parts": ["t2t_mm/shapes.py"], "count": 20, "state": state, "progress": lines.append}
    found = runs.run(**settings)
    assert found["mutants"] >= 4 and len([line for line in lines if "noticed" in line]) == found["noticed"]
    (survivor,) = found["survivors"]
    assert survivor["code"] == "return max(x, y + 2)" and survivor["outcome"] == "survived"
    assert found["noticed"] == found["mutants"] - 1 and "shapes.py:10" in runs.page(found)
    with open(f"{checkout}/t2t_mm/shapes.py") as file:
        assert file.read() == MODULE, "the checkout itself was changed"

    # A run that was killed while it wrote goes on with what is whole; what is named as equivalent is not tried.
    with open(f"{state}/outcomes.jsonl", "r+") as file:
        whole = file.read()
        file.truncate(len(whole) - 5)
    named = {"path": "t2t_mm/shapes.py", "line": survivor["code"], "after": survivor["after"], "reason": "max is symmetric"}
    with open(f"{checkout}/tests/equivalent_mutants.toml", "w") as file:
        file.write("[[mutant]]\n" + "".join(f"{key} = {value!r}\n" for key, value in named.items()))
    lines.clear()
    again = runs.run(**settings)
    assert lines[0] == f"{found['mutants']} mutants, of which {found['mutants']} are known" and len(lines) == 1
    assert again["noticed"] == found["noticed"] and again["equivalent"] == 1 and "max is symmetric" in runs.page(again)


def test_a_fault_that_hangs_is_noticed_and_a_module_without_tests_is_named(checkout, tmp_path_factory):
    source = "def count(n):\n    while n > 0:\n        n -= 3\n    return n\n"
    with open(f"{checkout}/t2t_mm/shapes.py", "w") as file:
        file.write(source)
    with open(f"{checkout}/tests/test_shapes.py", "w") as file:
        file.write("from t2t_mm.shapes import count\n\n\ndef test_count():\n    assert count(6) == 0\n")
    with open(f"{checkout}/tests/test_slow.py", "w") as file:
        file.write("from t2t_mm.shapes import count\n\n\ndef test_nothing():\n    assert count(0) == 0\n")
    with open(f"{checkout}/t2t_mm/unknown.py", "w") as file:
        file.write("def area():\n    return 3 * 4\n")
    hang = next(m for m in faults.mutants_of("t2t_mm/shapes.py", source) if m.text == "pass")
    folder = str(tmp_path_factory.mktemp("copies"))
    with runs._workers(checkout, folder, 1) as (worker,):
        traces = Traces(f"{folder}/traces.json")
        traces.update(worker.copy, ["tests/test_shapes.py", "tests/test_slow.py"], worker.ask, lambda line: None)
        # A slow test of another file gives this one no more time.
        traces.files["tests/test_slow.py"]["tests"]["tests/test_slow.py::test_nothing"]["seconds"] = 99.0
        found = runs._outcome(worker, hang, traces, 200.0, least=3)
    assert found["outcome"] == "hung" and found["outcome"] in runs.NOTICED and float(found["by"].split()[0]) < 20
    found = runs.run(checkout, ["t2t_mm/unknown.py"], count=1, progress=lambda line: None)
    assert found["survivors"][0]["outcome"] == "no test runs it"


def test_a_fault_in_a_constant_is_met_by_the_tests_that_run_its_module(checkout):
    with open(f"{checkout}/t2t_mm/shapes.py", "w") as file:
        file.write("SIDES = 4\n\n\ndef corners():\n    return SIDES\n")
    with open(f"{checkout}/tests/test_shapes.py", "w") as file:
        file.write("from t2t_mm import shapes\n\n\ndef test_corners():\n    assert shapes.corners() == 4\n")
    found = runs.run(checkout, ["t2t_mm/shapes.py"], count=1, progress=lambda line: None)
    assert found["noticed"] == found["mutants"] == 1 and not found["survivors"]


def answer(signal=None, cpu=1.0, failed=None, code=0, late=False):
    found = None if signal or late or code is None else {"code": code, "failed": failed, "stopped": False}
    return {"late": late, "signal": signal, "cpu": cpu, "found": found}


@pytest.mark.parametrize(
    "given, outcome",
    [
        (answer(failed="test_area", code=1), "noticed"), (answer(failed="tests/test_shapes.py", code=2), "noticed"),
        (answer(signal=signal.SIGSEGV), "crashed"), (answer(signal=signal.SIGXCPU, cpu=12.0), "hung"),
        (answer(signal=signal.SIGKILL, cpu=45.1), "hung"), (answer(signal=signal.SIGKILL, cpu=12.0), "no result"),
        (answer(code=3), "no result"), (answer(code=4), "no result"), (answer(code=5), "no result"),
        (answer(code=None), "no result"), (answer(late=True), "timed out"), (answer(), "survived"),
    ],
)  # fmt: skip
def test_only_what_the_tests_noticed_counts(given, outcome):
    assert runs._judged(given, cpu=40.5, note="")[0] == outcome
    assert (outcome in runs.NOTICED) == (outcome in ("noticed", "crashed", "hung"))


def test_mutants_without_a_result_are_told_and_tried_again(checkout, tmp_path):
    mutant = faults.sample(checkout, ["t2t_mm"], 1, 0)[0]
    nothing = {"outcome": runs.NO_RESULT, "seconds": 90.0, "by": "killed"}
    found = runs._summary([mutant], [nothing])
    assert found["noticed"] == 0 and found["no result"] == 1 and found["test_minutes"] == 1.5
    page = runs.page(found)
    assert "The tests of 1 could not be run" in page and "(no result)" in page and "killed" in page
    outcomes = runs.Outcomes(str(tmp_path / "outcomes.jsonl"), "the same tests")
    outcomes.add("one", nothing)
    outcomes.add("other", nothing | {"outcome": "survived"})
    assert outcomes.get("one") is None and outcomes.get("other")["outcome"] == "survived"


def test_ctrl_c_ends_the_tests_of_the_child(tmp_path, monkeypatch):
    children, fork = [], os.fork

    def forked():
        children.append(fork())
        return children[-1]

    def interrupted(pipe, until):
        os.close(pipe)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fork", forked)
    monkeypatch.setattr(workers, "_read", interrupted)
    monkeypatch.setattr(workers, "_run", lambda task: time.sleep(60))
    task = {"log": str(tmp_path / "log"), "cpu": 60, "gigabytes": 1000, "wall": 60}
    with pytest.raises(KeyboardInterrupt):
        workers._in_child(task)
    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)
