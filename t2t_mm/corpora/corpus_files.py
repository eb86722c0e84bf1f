"""What the corpus readers share: the message for a corpus that is not there, and lines of text files."""

import functools
import gzip
import io
import itertools
import os
import zlib
from collections.abc import Iterator

from absl import logging

from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.plain_text import TextError, decode_line, first_line
from t2t_mm.corpora.source import LineSource, Source

SPLITS = ("train", "dev", "test")
LONGEST_LINE = 1 << 20  # bytes; no sentence has as many
# What a .gz file may unpack to: text shrinks to a third or a tenth, an endless row of zeros to a thousandth.
_LARGEST_RATIO = 200
_ALWAYS_UNPACKED = 1 << 26


class MissingCorpus(CorpusError):
    """A corpus, or a split of one, is not where it should be."""


def missing_corpus(looked_at: str, expected: str, catalogue: str = "", mini: str = "") -> MissingCorpus:
    """The error for a corpus, or a split of one, that is not where it should be.

    Args:
      looked_at: the path or pattern that was tried.
      expected: what should lie there.
      catalogue: where the corpus is to be had, e.g. its LDC catalogue number.
      mini: the folder of its mini corpus below the root of the mini corpora.
    """
    state = "holds none" if os.path.exists(looked_at) else "no such path"
    source = f" It is published as {catalogue}." if catalogue else ""
    folder = f", {mini}/," if mini else ""
    return MissingCorpus(
        f"Looked for {expected} at {looked_at}: {state}.{source} Without it, train on its mini corpus{folder} which has "
        "the same layout: `python bin/make_mini.py --root=corpora/mini` writes it, `corpora = 'corpora/mini'` reads it."
    )


def check_split(split: str) -> None:
    """Raises ValueError if `split` is none of train, dev and test."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}.")


_RELEASE_SHARE = 0.5  # a folder with less of it than this is no damaged copy of a release
MINI_RECORD = "mini.json"  # at the top of finished mini corpora, with their seed and sizes


@functools.cache  # a split is read more than once, and one warning of it is enough
def warn_of_count(path: str, what: str, found: int, expected: int) -> None:
    """Names a release of which a part seems to be missing.

    Far fewer or more examples are another corpus, not a loss, and so are the mini corpora, whatever their sizes.

    Args:
      path: a file or folder of the corpus. what: of what there are `found` instead of `expected`.
    """
    if found != expected and _RELEASE_SHARE * expected < found < 2 * expected and not _is_mini(path):
        logging.warning("%s: %s: %d; the full release has %d.", path, what, found, expected)


def _is_mini(path: str) -> bool:
    """Whether a path lies below the top of mini corpora."""
    folder = os.path.abspath(path)
    while folder != (above := os.path.dirname(folder)):
        if os.path.isfile(os.path.join(above, MINI_RECORD)):
            return True
        folder = above
    return False


def stream(source: Source, split: str, report: Report) -> Iterator[Example]:
    """The examples of a source one after the other; in bounded memory where it is a `LineSource`."""
    if isinstance(source, LineSource):
        return source.stream(split, report)
    return iter(source.examples(split, report))


def encodes(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON can spell half of a surrogate pair, which cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_lines(path: str, report: Report) -> list[str | None]:
    """`iterate_lines`, all at once."""
    return list(iterate_lines(path, report))


def iterate_lines(path: str, report: Report) -> Iterator[str | None]:
    """The lines of a UTF-8 text file, plain or .gz, without line ends; None stands for one that cannot be used.

    What a line is, `plain_text` says. Lines that are not UTF-8, or longer than LONGEST_LINE, are reported as `path:line`.

    Raises:
      CorpusError: the file cannot be read or unpacked, unpacks to what no text would, or is no text (UTF-16, say).
      TooManyBadExamples: more such lines than `report` allows.
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
                        return  # a byte order mark, and nothing after it
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
    """(folder, names of its files, sorted) of a folder and all below it, sorted; links to folders are followed, to each
    folder once."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield where, sorted(names)


class _Unpacked(io.RawIOBase):
    """What is in an open .gz file, as long as that can be text."""

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
                f"{self._path}: unpacks to more than {_LARGEST_RATIO} times its size, which no text does; a decompression "
                "bomb? Unpack it by hand if it is sound."
            )
        buffer[: len(data)] = data
        return len(data)


def _decode(line: bytes, origin: str, report: Report) -> str | None:
    try:
        return decode_line(line)
    except TextError as error:
        report.skip(origin, str(error))
        return None
