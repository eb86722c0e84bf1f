"""What all commands in bin/ have in common: how they start, their names, and how they report errors.

Nothing here imports TensorFlow, so the response to `--help`, a misspelt flag or a missing file is immediate.
"""

import contextlib
import errno
import fnmatch
import gc
import math
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from absl import app, flags, logging

from t2t_mm.common import config
from t2t_mm.common.description import load_description
from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import CorpusError
from t2t_mm.spelling import near

# The paper's problems (t2t_mm/problems/paper.py), for the help of --problem; a run may have others.
PROBLEMS = ("wsj_speech", "imagenet", "coco", "wsj_parsing", "wmt_en_de", "wmt_de_en", "wmt_en_fr", "wmt_fr_en")
PROBLEM_HELP = f"the paper's problems are {', '.join(PROBLEMS)}"

# Errors of the operating system that the user can fix, such as a full disk or a folder without write permission.
_MENDABLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR,
)  # fmt: skip
# The packages of the extras in setup.py that commands import when they need them -> the extra.
_EXTRAS = {"aiohttp": "serve", "psutil": "serve", "apache_beam": "beam", "mlcroissant": "tfds"}
CONSOLE = "T2T_MM_CONSOLE_COMMAND"  # environment variable: the name of the console command that started this process


def name() -> str:
    """Returns the name of this command for messages, such as "train.py" or "t2t-mm train"."""
    script = os.path.basename(sys.argv[0])
    console = os.environ.get(CONSOLE)
    return f"{console} {script.removesuffix('.py')}" if console else script


def line() -> str:
    """Returns the command line of this process, as one would type it again."""
    start = [os.environ[CONSOLE], name().split()[-1]] if os.environ.get(CONSOLE) else ["python", sys.argv[0]]
    return shlex.join([*start, *sys.argv[1:]])


def run(main: Callable, verbs: Sequence[str] = ()) -> None:
    """Parses the flags and calls `main`. Prints errors that the user can fix as one line on standard error.

    All other errors keep their traceback, because they are bugs in the package.

    Args:
      main: the function of the command. It is called with the list of arguments that are not flags, as absl does.
      verbs: the words of which the command takes one besides its flags. Without them, it only takes flags.
    """

    def wrapped(arguments):
        with errors_in_one_line():
            check_arguments(arguments[1:], verbs)
            return main(arguments)

    if os.environ.get(CONSOLE):
        module = sys.modules["__main__"]
        module.__doc__ = spelled(module.__doc__ or "")  # which absl shows as the help of the command
        logging.get_absl_handler().addFilter(_spell_record)
    app.run(wrapped, flags_parser=_parse)


def _parse(arguments: Sequence[str]) -> list[str]:
    """Parses the flags and returns the other arguments.

    Raises:
      SystemExit: a flag is unknown or has an invalid value (code 1), or the help was asked for (code 0, unlike absl).
    """
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        message = str(error) if str(error).endswith(("?", ".")) else f"{error}."
        raise SystemExit(f"{name()}: {message} The flags are listed by --help.") from error
    except SystemExit as end:  # only a flag for help ends the process here
        raise SystemExit(0) from end


def check_arguments(words: Sequence[str], verbs: Sequence[str] = ()) -> None:
    """Checks the arguments that are not flags, and that the numbers of the flags are finite.

    Args:
      words: the arguments.
      verbs: those of which the command takes one.

    Raises:
      RunError: there is another argument, or the only one is missing, or the value of a flag is infinite or not a number.
    """
    if verbs and (not words or words[0] not in verbs):
        wrong = f"{words[0]!r} is unknown{near(words[0], verbs)}. " if words else ""
        raise RunError(f"{wrong}Give one of {', '.join(verbs)}.")
    if extra := words[bool(verbs) :]:
        raise RunError(
            f"The argument {extra[0]!r} does not belong to a flag. A flag and its value are written --name=value; a value "
            'with spaces needs quotation marks, as in --input="The cat sleeps."'
        )
    for flag in flags.FLAGS:
        value = flags.FLAGS[flag].value
        if isinstance(value, float) and not math.isfinite(value):
            raise RunError(f"--{flag}={value} must be a finite number.")


def spelled(text: str) -> str:
    """Returns a text with the commands as the user has them: `t2t-mm train` instead of `python bin/train.py` in a wheel."""
    console = os.environ.get(CONSOLE)
    return re.sub(r"(?:python )?\bbin/(\w+)\.py", rf"{console} \1", text) if console else text


def _spell_record(record) -> bool:
    record.msg = spelled(str(record.msg))
    return True


def load_tensorflow() -> None:
    """Imports TensorFlow and suppresses the messages of its native code. Call this after checking flags and files.

    The messages are shown if the import fails. The environment variable TF_CPP_MIN_LOG_LEVEL=0 always shows them.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    hidden = _without_native_messages() if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0" else contextlib.nullcontext()
    with hidden, _without_garbage_collection():
        import tensorflow as tf

        # Searching for accelerators writes the remaining messages. This does not initialise a device yet.
        tf.config.list_physical_devices()
    tf.get_logger().setLevel("ERROR")
    # The Python modules of TensorFlow and tensorflow-datasets write to the same log as this package, for instance how long
    # each save took, or what is deprecated in their own code.
    logging.get_absl_handler().addFilter(
        lambda record: (
            not _OTHERS.search(record.pathname) or (record.levelname != "INFO" and "deprecated" not in str(record.msg))
        )
    )


_OTHERS = re.compile("/tensorflow(_datasets)?/")


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Spares Python from searching what is created in this context for reference cycles, now and later.

    TensorFlow's modules consist of more than half a million objects, which exist until the process ends. To search them again
    and again, while they are loaded and while graphs are traced, takes a seventh of the time of a short command.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@contextlib.contextmanager
def _without_native_messages() -> Iterator[None]:
    """Holds back what is written to file descriptor 2, because native code does not write to `sys.stderr`.

    A log level is not enough: some of these messages are written before TensorFlow has read its log level.
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
    """Exits with a one-line message and code 1 (130 after Ctrl-C) if the error is not a bug in the package.

    Raises:
      SystemExit: a ConfigError, CorpusError or RunError, Ctrl-C, an OSError that the user can fix, or a missing package that
        an extra installs.
    """
    try:
        yield
    except (config.ConfigError, CorpusError, RunError) as error:
        raise SystemExit(f"{name()}: {spelled(config.without_calls(str(error)))}") from error
    except KeyboardInterrupt:
        print(f"\n{name()}: interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        extra = _EXTRAS[package]
        raise SystemExit(
            f"{name()}: the package {package} is not installed. Install it with pip install 't2t_mm[{extra}]' (in a checkout: "
            f"pip install -e '.[{extra}]')."
        ) from error
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"{name()}: {where}{error.strerror}.") from error


def check_model_dir(model_dir: str) -> dict:
    """Returns the description of a trained run, without importing anything slow.

    Raises:
      RunError: the folder does not contain a run.
    """
    description = load_description(model_dir)
    if not os.path.isfile(os.path.join(model_dir, "config.gin")):
        raise RunError(f"{model_dir}: has no config.gin, the configuration that the model was trained with.")
    return description


def check_problems(names: Sequence[str], description: dict, other_configuration: bool = False) -> None:
    """Checks that a run has all of these problems.

    Args:
      other_configuration: whether flags change the configuration of the run. It may then have more problems, such as the
        zero-shot pairs, and is checked when it has been read.

    Raises:
      RunError: the run does not have one of the problems.
    """
    known = list(description["problems"])
    for wanted in () if other_configuration else names:
        if wanted not in known:
            raise RunError(f"Unknown problem {wanted!r}{near(wanted, known)}; this run has {', '.join(known)}.")


_SHOWN = 20  # names of runs in a message; the tables have hundreds of them


def matching_runs(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Returns the names of runs that match at least one of the shell-style patterns of --run, in their order.

    Without patterns, all names are returned.

    Raises:
      RunError: a pattern matches no name.
    """
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            choices = ", ".join(names[:_SHOWN])
            raise RunError(f"No run matches {pattern!r}{near(pattern, names)}; choose from {choices}{more}.")
    return [name for name in names if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
