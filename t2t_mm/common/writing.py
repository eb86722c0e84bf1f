"""Errors of TensorFlow and of the operating system while a file is written, in words that a user can act on."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from t2t_mm.common.errors import RunError

_OF_A_DISK = (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError, tf.errors.UnknownError)
_TOO_LARGE = "File too large"  # the end of the message; TensorFlow makes an OutOfRangeError of it


@contextlib.contextmanager
def writing(path: str, what_remains: str = "") -> Iterator[None]:
    """Turns an error while writing `path` (for instance because the disk is full) into a RunError.

    Args:
      what_remains: a sentence for the message, which ends in a space.
    """
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        reason = reason_of(error)
        mend = "Free some space" if re.search(r"no space|quota|too large", reason) else "Remove the cause"
        raise RunError(
            f"{path}: cannot be written: {reason}. {what_remains}{mend} and start the same command again."
        ) from error


def is_of_a_disk(error: Exception) -> bool:
    """Returns whether an error says that a file cannot be written. Other errors of TensorFlow are faults of a graph."""
    too_large = isinstance(error, tf.errors.OutOfRangeError) and _TOO_LARGE in error.message
    return too_large or isinstance(error, (OSError, *_OF_A_DISK))


def without_nodes(message: str) -> str:
    """Returns a message of TensorFlow in one line and without the names of the operation and its node."""
    return re.sub(r"\{\{.*?\}\} ?| ?\[Op:\w+\]( name:)?$", "", " ".join(message.split()))


def reason_of(error: tf.errors.OpError | OSError) -> str:
    """Returns why a file cannot be written, such as "no space left on the device".

    TensorFlow's own message names the operation and a temporary file, and the reason comes last.
    """
    text = without_nodes(getattr(error, "strerror", None) or str(error)).rpartition("; ")[2].rstrip(".")
    if text.startswith("No space left"):
        return "no space left on the device"
    return text if "/" in text.split(" ")[0] else text[:1].lower() + text[1:]
