"""Files that are there whole or not at all."""

import json
import os
import re
from typing import Any


def write_whole(path: str, content: str | bytes) -> None:
    """Writes aside, then renames: a reader, or a process that is killed, never sees a part. Text is UTF-8.

    Raises:
      OSError: the folder is not there, not writable, or full.
    """
    with open(path + ".part", "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    os.replace(path + ".part", path)


def write_json(path: str, content: Any, indent: int | None = None) -> None:
    """`content` as JSON and a line break, likewise; with `indent`, an array of numbers stays on one line."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    # No string holds the line breaks that this looks for: JSON escapes them.
    write_whole(path, re.sub(r"\[\n\s+([-\d][^][{}\"]*)\n\s+\]", _on_one_line, text) + "\n")


def _on_one_line(array: re.Match) -> str:
    return "[" + re.sub(r",\s+", ", ", array[1]) + "]"
