"""Tests the decisions of the shell scripts in a folder where Python is replaced by a script that records its arguments."""

import json
import os
import shutil
import subprocess
import sys

import pytest

BIN = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "bin"))
# Runs short programs with the real Python, and fails where FAIL_WHERE says so: text in the arguments -> exit status.
PYTHON = f"""#!{sys.executable} -SE
import json, os, sys
arguments = sys.argv[1:]
with open(os.environ["LOG"], "a") as file:
    file.write(json.dumps([os.environ.get("KERAS_BACKEND", ""), *arguments]) + "\\n")
if arguments[0] == "-c" and "json" in arguments[1] or arguments[0] == "-" and len(arguments) > 1:
    os.execv(sys.executable, ["python", *arguments])
line = " ".join([os.environ.get("KERAS_BACKEND", ""), *arguments])
sys.exit(next((code for text, code in json.loads(os.environ["FAIL_WHERE"]).items() if text in line), 0))
"""


@pytest.fixture
def checkout(tmp_path):
    top = tmp_path / "checkout"
    (top / "bin").mkdir(parents=True)
    for name in ("test.sh", "setup_env.sh", "quickstart.sh"):
        shutil.copy(os.path.join(BIN, name), top / "bin")
    (top / "setup.py").write_text("1")
    python = top / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return top


def run(top, script, *arguments, fail=None):
    """Runs a script and returns its exit status, its output, and the arguments of each call of Python."""
    log = top / "log"
    log.unlink(missing_ok=True)
    environment = {**os.environ, "LOG": str(log), "FAIL_WHERE": json.dumps(fail or {}), "KERAS_BACKEND": ""}
    done = subprocess.run(["bash", f"bin/{script}", *arguments], cwd=top, env=environment, capture_output=True, text=True)
    calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return done.returncode, done.stdout + done.stderr, calls


def installations(top, *arguments):
    code, output, calls = run(top, "setup_env.sh", *arguments)
    assert code == 0, output
    return sum(call[1:4] == ["-m", "pip", "install"] for call in calls)


def test_the_package_is_installed_once(checkout):
    assert installations(checkout, "test") == 1 and installations(checkout, "test") == 0
    assert installations(checkout) == 0  # the extra includes the package
    assert installations(checkout, "serve") == 1
    (checkout / "setup.py").write_text("2")
    assert installations(checkout) == 1 and installations(checkout, "test") == 1


def test_a_copied_checkout_installs_its_own_package(checkout, tmp_path):
    assert installations(checkout) == 1
    copy = tmp_path / "copy"
    shutil.copytree(checkout, copy)
    assert installations(copy) == 1 and installations(copy) == 0
    assert installations(checkout) == 0


@pytest.fixture
def tests(checkout):
    for folder in ("layers", "modalities", "lab", "jax_training"):
        (checkout / "tests" / folder).mkdir(parents=True)
    (checkout / "tests" / "layers" / "test_moe.py").touch()
    (checkout / "tests" / "test_model.py").touch()
    assert installations(checkout, "test") == 1
    return checkout


def on_jax(top, *arguments, fail=None):
    """Returns the exit status of bin/test.sh, and what it gives to pytest on JAX, if anything."""
    code, output, calls = run(top, "test.sh", *arguments, fail=fail)
    runs = [call for call in calls if call[1:3] == ["-m", "pytest"]]
    assert [call[-len(arguments) :] for call in runs if not call[0]] == [list(arguments)] or not arguments, output
    given = [call[call.index("--max-worker-restart=0") + 1 :] for call in runs if call[0] == "jax"]
    assert len(given) <= 1
    return code, given[0] if given else None


ALL = ["tests/layers", "tests/modalities", "tests/test_model.py", "tests/jax_training"]


@pytest.mark.parametrize(
    "arguments, given",
    [
        ([], ALL), (["-k", "moe"], [*ALL, "-k", "moe"]), (["-k", "tests", "-x"], [*ALL, "-k", "tests", "-x"]),
        (["tests/layers/", "-k", "moe"], ["tests/layers/", "-k", "moe"]),
        (["tests/layers/test_moe.py::test_one"], ["tests/layers/test_moe.py::test_one"]),
        (["./tests/test_model.py", "tests/lab"], ["./tests/test_model.py"]), (["tests"], ALL), (["."], ALL),
        (["tests/lab"], None), (["tests/lab", "-k", "moe"], None),
    ],
)  # fmt: skip
def test_the_run_on_jax_gets_the_paths_of_its_own_folders(tests, arguments, given):
    assert on_jax(tests, *arguments) == (0, given)


@pytest.mark.parametrize("status, code", [(0, 0), (5, 0), (1, 1), (4, 1)])
def test_a_run_on_jax_without_tests_is_no_failure(tests, status, code):
    assert on_jax(tests, "-k", "moe", fail={"jax -m pytest": status})[0] == code


def test_a_run_without_any_test_fails(tests):
    assert on_jax(tests, "-k", "nothing", fail={"-m pytest": 5})[0] == 1


@pytest.mark.parametrize("script", ["quickstart.sh", "setup_env.sh"])
def test_the_help_of_a_script_is_its_description_and_does_nothing(checkout, script):
    for flag in ("--help", "-h"):
        code, output, calls = run(checkout, script, flag)
        assert code == 0 and not calls and "environment" in output and "#" not in output and "set -" not in output
    code, output, calls = run(checkout, script, "--hepl")
    assert code == 2 and not calls and output.startswith(f"{script}: ") and "--hepl" in output
    assert script == "quickstart.sh" or "use an extra, --python" in output


def test_quickstart_takes_no_arguments(checkout):
    code, output, calls = run(checkout, "quickstart.sh", "--beam_size=2")
    assert code == 2 and not calls and output == "quickstart.sh: takes no arguments, but got --beam_size=2.\n"


@pytest.mark.parametrize("failed, evaluations", [({}, 0), ({"coco": "out of memory"}, 1)])
def test_quickstart_evaluates_again_what_could_not_be_evaluated(checkout, failed, evaluations):
    assert installations(checkout) == 1
    results = checkout / "runs" / "quickstart"
    (results / "checkpoints").mkdir(parents=True)
    (checkout / "corpora").mkdir()
    (checkout / "corpora" / "mini.model").touch()
    (checkout / "gin" / "runs").mkdir(parents=True)
    (checkout / "gin" / "runs" / "joint_mini.gin").write_text("steps = 2400\n")
    os.utime(results / "checkpoints", (0, 0))
    (results / "evaluation_test.txt").write_text("table")
    (results / "evaluation_test.json").write_text(json.dumps({"failed": failed, "training_minutes": 8.0, "step": 300}))
    code, output, calls = run(checkout, "quickstart.sh")
    assert code == 0 and "2400 steps, about 64 minutes" in output, output
    assert sum(call[1] == "bin/evaluate.py" for call in calls) == evaluations
    assert ("evaluation_test.txt already exists" in output) == (not evaluations)
