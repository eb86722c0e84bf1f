"""What the corpus readers share: the message for a corpus that is not there, and lines of text files."""

import gzip
import os

from t2t_mm.data.example import CorpusError, Report

SPLITS = ("train", "dev", "test")


def missing_corpus(looked_at: str, expected: str, catalogue: str = "") -> CorpusError:
    """The error for a corpus, or a split of one, that is not where it should be.

    Args:
      looked_at: the path or pattern that was tried.
      expected: what should lie there.
      catalogue: where the corpus is to be had, e.g. its LDC catalogue number.
    """
    state = "holds none" if os.path.exists(looked_at) else "no such path"
    source = f" It is published as {catalogue}." if catalogue else ""
    return CorpusError(
        f"Looked for {expected} at {looked_at}: {state}.{source} Without it, train on its mini corpus, which has the "
        "same layout: `python bin/make_mini.py` writes one."
    )


def check_split(split: str) -> None:
    """Raises ValueError if `split` is none of train, dev and test."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}.")


def read_lines(path: str, report: Report) -> list[str | None]:
    """The lines of a UTF-8 text file, plain or .gz, without line ends; None stands for a line that is not UTF-8.

    Only a line feed ends a line: Unicode's other separators occur inside the sentences of web corpora, and splitting
    at them would shift every later line of one side of a parallel text.

    Raises:
      CorpusError: the file cannot be read or unpacked.
      TooManyBadExamples: more invalid lines than `report` allows; each is reported as `path:line`.
    """
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError) as error:
        raise CorpusError(f"{path}: cannot be read: {error}") from error
    raw_lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if raw_lines[-1] == b"":  # the text ended with a line feed, or is empty
        raw_lines.pop()
    return [_decode(line, f"{path}:{number}", report) for number, line in enumerate(raw_lines, start=1)]


def _decode(line: bytes, origin: str, report: Report) -> str | None:
    try:
        return line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        report.skip(origin, f"not UTF-8: byte 0x{line[error.start]:02x} at position {error.start} of the line")
        return None
