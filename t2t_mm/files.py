"""Files that are there whole or not at all."""

import json
import os


def write_whole(path: str, content: str | bytes) -> None:
    """Writes aside, then renames: a reader, or a process that is killed, never sees a part. Text is UTF-8.

    Raises:
      OSError: the folder is not there, not writable, or full.
    """
    with open(path + ".part", "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    os.replace(path + ".part", path)


def write_json(path: str, content, indent: int | None = None) -> None:
    """`content` as JSON and a line break, likewise."""
    write_whole(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")
