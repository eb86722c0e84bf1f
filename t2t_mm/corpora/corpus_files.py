"""What the corpus readers share: the message for a missing corpus, and the lines of text files."""

import fnmatch
import functools
import glob
import gzip
import io
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator

from absl import logging

from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.plain_text import TextError, decode_line, first_line
from t2t_mm.corpora.source import LineSource, Source
from t2t_mm.spelling import near

SPLITS = ("train", "dev", "test")
LONGEST_LINE = 1 << 20  # bytes; no sentence is as long
# Limit for unpacking a .gz file: text is compressed to a third or a tenth, but endless zeros to a thousandth.
_LARGEST_RATIO = 200
_ALWAYS_UNPACKED = 1 << 26


class MissingCorpus(CorpusError):
    """A corpus, or a split of one, is missing."""


def missing_corpus(looked_at: str, expected: str, catalogue: str = "", mini: str = "") -> MissingCorpus:
    """Returns the error for a missing corpus or a missing split.

    Args:
      looked_at: the path or pattern that was tried.
      expected: what was expected there.
      catalogue: the source of the corpus, such as its LDC catalogue number. Without it, the data are the user's own.
      mini: the folder of its mini corpus below the root of the mini corpora.
    """
    state = "holds none" if os.path.exists(looked_at) else f"no such path{_what_exists(looked_at)}"
    if not catalogue:
        return MissingCorpus(f"Looked for {expected} at {looked_at}: {state}. Correct the `root` or `folder` of the problem.")
    source = f" It is published as {catalogue}."
    folder = f", {mini}/," if mini else ""
    return MissingCorpus(
        f"Looked for {expected} at {looked_at}: {state}.{source} Without it, train on its mini corpus{folder} which has "
        "the same layout: `python bin/make_mini.py --root=corpora/mini` writes it, `corpora = 'corpora/mini'` reads it."
    )


_LISTED = 5  # entries of a folder in a message


def _what_exists(path: str) -> str:
    """Returns the part of a message that names the last existing folder of a path, and what it has instead."""
    folder, lacking = os.path.abspath(path), ""
    while not os.path.isdir(folder):
        folder, lacking = os.path.split(folder)
    instead = near(lacking, os.listdir(folder)) or f"; it has {listed(folder)}"
    return f", because {folder} has no {lacking}{instead}"


def listed(folder: str) -> str:
    """Returns the first entries of a folder for a message, or "nothing"."""
    there = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    return (", ".join(there[:_LISTED]) or "nothing") + (f" and {len(there) - _LISTED} more" if len(there) > _LISTED else "")


def check_split(split: str) -> None:
    """Checks the name of a split.

    Raises:
      ValueError: it is not train, dev or test.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}.")


_RELEASE_SHARE = 0.5  # a folder with a smaller fraction of a release is not treated as a damaged copy
MINI_RECORD = "mini.json"  # in the root of complete mini corpora, with their seed and sizes


@functools.cache  # because a split is read more than once, but one warning is enough
def warn_of_count(path: str, what: str, found: int, expected: int) -> None:
    """Warns if a part of a release seems to be missing.

    A very different number of examples indicates another corpus rather than a loss, and so do the mini corpora.

    Args:
      path: a file or folder of the corpus.
      what: what is counted.
      found: the number found.
      expected: the number in the full release.
    """
    if found != expected and _RELEASE_SHARE * expected < found < 2 * expected and not _is_mini(path):
        logging.warning("%s: %s: %d; the full release has %d.", path, what, found, expected)


def _is_mini(path: str) -> bool:
    """Returns whether a path is below the root of mini corpora."""
    folder = os.path.abspath(path)
    while folder != (above := os.path.dirname(folder)):
        if os.path.isfile(os.path.join(above, MINI_RECORD)):
            return True
        folder = above
    return False


def stream(source: Source, split: str, report: Report) -> Iterator[Example]:
    """Yields the examples of a source. If it is a `LineSource`, this needs only a bounded amount of memory."""
    if isinstance(source, LineSource):
        return source.stream(split, report)
    return iter(source.examples(split, report))


def read_lines(path: str, report: Report) -> list[str | None]:
    """Returns the lines of `iterate_lines` as a list."""
    return list(iterate_lines(path, report))


def iterate_lines(path: str, report: Report) -> Iterator[str | None]:
    """Yields the lines of a UTF-8 text file, plain or .gz, without line ends, and None for each unusable line.

    `plain_text` defines what a line is. Lines that are not UTF-8 or longer than LONGEST_LINE are reported as `path:line`.

    Raises:
      CorpusError: the file cannot be read or unpacked, expands too much for text, or is not text (but UTF-16, for instance).
      TooManyBadExamples: there are more unusable lines than `report` allows.
    """
    try:
        with open(path, "rb") as raw:
            file = io.BufferedReader(_Unpacked(raw, path)) if path.endswith(".gz") else raw
            for number in itertools.count(1):
                line = file.readline(LONGEST_LINE + 1)
                if not line:
                    return
                if number == 1:
                    line = first_line(line, line.endswith(b"\n"))
                    if not line:
                        return  # the file only contains a byte order mark
                too_long = len(line) > LONGEST_LINE
                while len(line) > LONGEST_LINE and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE + 1)
                if too_long:
                    report.skip(f"{path}:{number}", f"the line is longer than {LONGEST_LINE >> 20} MiB")
                    yield None
                else:
                    yield _decode(line.removesuffix(b"\n"), f"{path}:{number}", report)
    except TextError as error:
        raise CorpusError(f"{path}: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path}: cannot be read: {error}. Fetch it again.") from error


def walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yields (folder, sorted names of its files) for a folder and all folders below it, in sorted order.

    Links to folders are followed, but each folder is visited only once.
    """
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield where, sorted(names)


def matching_files(folder: str, patterns: Iterable[str]) -> list[str]:
    """Returns the sorted paths below a folder that match one of the glob patterns.

    "**" stands for any number of folders. Links to folders are followed as in `walk`, so that a link to a folder above
    does not multiply its files.
    """
    found: set[str] = set()
    for pattern in patterns:
        parts = pattern.split("/")
        if "**" not in parts:
            found.update(glob.glob(os.path.join(glob.escape(folder), pattern)))
            continue
        above, below = parts[: parts.index("**")], parts[parts.index("**") :]
        for begin in glob.glob(os.path.join(glob.escape(folder), *above)):
            for where, names in walk(begin):
                relative = [] if where == begin else os.path.relpath(where, begin).split(os.sep)
                found.update(os.path.join(where, name) for name in names if _matches([*relative, name], below))
    return sorted(found)


def _matches(parts: list[str], patterns: list[str]) -> bool:
    """Returns whether the parts of a path match the parts of a glob pattern, as `glob.glob` would do it."""
    if not patterns or not parts:
        return not parts and all(pattern == "**" for pattern in patterns)
    if patterns[0] == "**":
        return _matches(parts, patterns[1:]) or _matches(parts[1:], patterns)
    hidden = parts[0].startswith(".") and not patterns[0].startswith(".")
    return not hidden and fnmatch.fnmatchcase(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])


class _Unpacked(io.RawIOBase):
    """The content of an open .gz file, with a limit on its compression ratio."""

    def __init__(self, file, path: str):
        self._file, self._path = gzip.GzipFile(fileobj=file), path
        self._most = max(_ALWAYS_UNPACKED, _LARGEST_RATIO * os.path.getsize(path))
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._file.read(len(buffer))
        self._read += len(data)
        if self._read > self._most:
            raise CorpusError(
                f"{self._path}: unpacks to more than {_LARGEST_RATIO} times its size, which is too much for text. It may be "
                "a decompression bomb. If it is valid, unpack it by hand."
            )
        buffer[: len(data)] = data
        return len(data)


def _decode(line: bytes, origin: str, report: Report) -> str | None:
    try:
        return decode_line(line)
    except TextError as error:
        report.skip(origin, str(error))
        return None
