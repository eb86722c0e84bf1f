"""Writes files and folders atomically: they exist completely or not at all. Also measures and hashes them."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any


def write_whole(path: str, content: str | bytes) -> None:
    """Writes to a temporary file and renames it, so that a partly written file is never visible. Text is UTF-8.

    Raises:
      OSError: the folder does not exist or is not writable, `path` is itself a folder, or the disk is full.
    """
    part = path + ".part"
    try:
        with _named_in_errors(path), open(part, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(part)
        raise


@contextlib.contextmanager
def _named_in_errors(path: str) -> Iterator[None]:
    """Adds `path` to an error of the operating system without a file, such as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


@contextlib.contextmanager
def whole_folder(folder: str) -> Iterator[str]:
    """Yields a temporary folder, which is renamed to `folder` at the end. After an error, nothing is left behind.

    Args:
      folder: a folder that does not exist or is empty.
    """
    part = folder.rstrip("/") + ".part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        os.makedirs(part)
        with _named_in_errors(folder):
            yield part
        if os.path.isdir(folder):
            os.rmdir(folder)
        os.replace(part, folder)
    except BaseException:  # including Ctrl-C
        shutil.rmtree(part, ignore_errors=True)
        raise


def size_on_disk(folder: str) -> int:
    """Returns the size in bytes of all files in a folder and its subfolders."""
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def file_digest(path: str) -> str:
    """Returns the SHA-256 hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str, content: Any, indent: int | None = None) -> None:
    """Writes `content` as JSON with a final line break, like `write_whole`. With `indent`, arrays of numbers stay on one line.

    Raises:
      OSError: see `write_whole`.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    # This cannot match inside a string, because JSON escapes line breaks.
    write_whole(path, re.sub(r"\[\n\s+([-\d][^][{}\"]*)\n\s+\]", _on_one_line, text) + "\n")


def _on_one_line(array: re.Match) -> str:
    return "[" + re.sub(r",\s+", ", ", array[1]) + "]"
