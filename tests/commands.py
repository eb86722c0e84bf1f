"""Runs scripts as a user does, but without the seconds in which each process imports TensorFlow.

Each script runs in a process of its own, forked from one that has imported the libraries, but neither the package nor a
test. Tests of the start of a process (how long it takes, what is imported) use `subprocess` instead.
"""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import reduction
from unittest import mock

CHECKOUT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tensorflow", "tensorflow_text", "tensorflow_datasets", "keras", "sacrebleu", "jiwer"])


def command(name, *flags, stdin=""):
    """Runs `bin/name` in the checkout, with `stdin` as its standard input, and returns a subprocess.CompletedProcess."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        given.write(stdin.encode())
        given.seek(0)
        process = start(os.path.join("bin", name), *flags, files=(given, output, errors))
        process.join()
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode().replace("\r\n", "\n"))
    return subprocess.CompletedProcess([name, *flags], process.exitcode, *texts)


def start(script, *arguments, files, environment=None):
    """Starts a Python script in the checkout and returns its multiprocessing.Process.

    Args:
      script: its path, relative to the checkout.
      arguments: its arguments.
      files: the open files for standard input, output and errors.
      environment: environment variables, besides those of this process.
    """
    environment = {**os.environ, "PYTHONPATH": CHECKOUT, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
    given = [reduction.DupFd(file.fileno()) for file in files]
    process = _FORKS.Process(target=_run, args=(script, arguments, given, environment))
    # TensorFlow's native code reads the level when it is imported, by the process that the first start begins.
    with mock.patch.dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"):
        process.start()
    return process


def _run(script, arguments, files, environment):
    for standard, file in enumerate(files):
        os.dup2(file.detach(), standard)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # multiprocessing has closed the one of the parent
    gc.freeze()  # as `command.load_tensorflow` does, for the imports that the fork has saved
    os.chdir(CHECKOUT)
    os.environ.update(environment)
    sys.path[:] = [os.path.join(CHECKOUT, os.path.dirname(script)), CHECKOUT, *sys.path]
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
