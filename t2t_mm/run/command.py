"""What every command of bin/ has in common: how it starts, what it is called, and how it says that it failed.

Nothing here imports TensorFlow, so that `--help`, a misspelt flag and a missing file are answered at once.
"""

import contextlib
import difflib
import errno
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from absl import app, logging

from t2t_mm.corpora.example import CorpusError
from t2t_mm.run import config
from t2t_mm.run.errors import RunError

# The paper's problems (t2t_mm/problems/paper.py), for the help of --problem; a run may have others.
PROBLEMS = ("wsj_speech", "imagenet", "coco", "wsj_parsing", "wmt_en_de", "wmt_de_en", "wmt_en_fr", "wmt_fr_en")
PROBLEM_HELP = f"the paper's are {', '.join(PROBLEMS)}"

# Errors of the system that the user can mend: a full disk, a folder that cannot be written to.
_MENDABLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR,
)  # fmt: skip
CONSOLE = "T2T_MM_CONSOLE_COMMAND"  # the name of the console command, where it started this process


def name() -> str:
    """What this command is called in messages: "train.py", or "t2t-mm train"."""
    script = os.path.basename(sys.argv[0])
    console = os.environ.get(CONSOLE)
    return f"{console} {script.removesuffix('.py')}" if console else script


def line() -> str:
    """The command line of this process, as someone would type it again."""
    start = [os.environ[CONSOLE], name().split()[-1]] if os.environ.get(CONSOLE) else ["python", sys.argv[0]]
    return shlex.join([*start, *sys.argv[1:]])


def run(main: Callable) -> None:
    """Parses the flags and calls `main`; errors that the user can mend become one line on standard error.

    Any other error keeps its traceback, since it is a defect of the package.
    """

    def wrapped(arguments):
        with errors_in_one_line():
            return main(arguments)

    app.run(wrapped)


def load_tensorflow() -> None:
    """Imports TensorFlow without what its native code says about itself; call it when flags and files are checked.

    The messages are shown where the import fails; TF_CPP_MIN_LOG_LEVEL=0 in the environment shows them always.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with _without_native_messages() if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0" else contextlib.nullcontext():
        import tensorflow as tf

        # Looks for accelerators, which is where the rest of the messages comes from; no device is initialised yet.
        tf.config.list_physical_devices()
    tf.get_logger().setLevel("ERROR")
    # TensorFlow's own Python modules report to the same log as this package, for instance how long each save took.
    logging.get_absl_handler().addFilter(
        lambda record: record.levelname != "INFO" or "/tensorflow/" not in record.pathname
    )


@contextlib.contextmanager
def _without_native_messages() -> Iterator[None]:
    """Holds back what is written to the file of standard error; native code does not go through `sys.stderr`.

    Some of these messages are written before TensorFlow has read its own log level.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(screen, held_back.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Ends the process with one line and exit code 1 (130 after Ctrl-C) where the error is not a defect."""
    try:
        yield
    except (config.ConfigError, CorpusError, RunError) as error:
        raise SystemExit(f"{name()}: {config.without_calls(str(error))}") from error
    except KeyboardInterrupt:
        print(f"\n{name()}: interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"{name()}: {where}{error.strerror}.") from error


def check_model_dir(model_dir: str) -> dict:
    """The description of a trained run, before anything slow is imported.

    Raises:
      RunError: the folder holds no run.
    """
    path = os.path.join(model_dir, "model.json")
    if not os.path.isfile(path):
        raise RunError(f"{path}: not there, so {model_dir} holds no trained model. Train one with bin/train.py.")
    if not os.path.isfile(os.path.join(model_dir, "config.gin")):
        raise RunError(f"{model_dir}: holds no config.gin, the configuration that the model was trained with.")
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def check_problems(names: Sequence[str], description: dict) -> None:
    """RunError where a run has none of these problems; runs made before 0.1 do not say, and are let through."""
    known = list(description.get("problems", ()))
    for wanted in names:
        if known and wanted not in known:
            raise RunError(f"Unknown problem {wanted!r}{near(wanted, known)}; this run has {', '.join(known)}.")


def near(wanted: str, known: Sequence[str]) -> str:
    """The part of a message that names what a misspelt word may have been meant for."""
    found = difflib.get_close_matches(wanted, known, n=3)
    return f" (did you mean {' or '.join(found)}?)" if found else ""
