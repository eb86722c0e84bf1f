"""Files and folders that are there whole or not at all."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any


def write_whole(path: str, content: str | bytes) -> None:
    """Writes aside, then renames: a reader, or a process that is killed, never sees a part. Text is UTF-8.

    Raises:
      OSError: the folder is not there, not writable, or full.
    """
    with open(path + ".part", "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    os.replace(path + ".part", path)


@contextlib.contextmanager
def whole_folder(folder: str) -> Iterator[str]:
    """A folder aside to write into, which becomes `folder` at the end; whatever ends it before leaves nothing behind.

    Args:
      folder: it must be absent or empty.
    """
    part = folder.rstrip("/") + ".part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        os.makedirs(part)
        yield part
        if os.path.isdir(folder):
            os.rmdir(folder)
        os.replace(part, folder)
    except BaseException:  # Ctrl-C, a full disk
        shutil.rmtree(part, ignore_errors=True)
        raise


def size_on_disk(folder: str) -> int:
    """Bytes of all files in a folder and those below it."""
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def write_json(path: str, content: Any, indent: int | None = None) -> None:
    """`content` as JSON and a line break, likewise; with `indent`, an array of numbers stays on one line."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    # No string holds the line breaks that this looks for: JSON escapes them.
    write_whole(path, re.sub(r"\[\n\s+([-\d][^][{}\"]*)\n\s+\]", _on_one_line, text) + "\n")


def _on_one_line(array: re.Match) -> str:
    return "[" + re.sub(r",\s+", ", ", array[1]) + "]"
