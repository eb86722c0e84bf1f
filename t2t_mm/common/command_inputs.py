"""The inputs that a command gets from --input, standard input and files with one input per line."""

import dataclasses
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from t2t_mm.corpora import plain_text
from t2t_mm.corpora.example import CorpusError


@dataclasses.dataclass(frozen=True)
class Given:
    """One input of a problem.

    Attributes:
      origin: where it comes from, for instance "lines.txt:3".
      values: one text for each name of `given`, which may be empty if there is only one name; () for a blank line.
    """

    origin: str
    values: tuple[str, ...]


def given(inputs: Sequence[str], files: Sequence[str], names: Sequence[str]) -> Iterator[Given]:
    """Yields all inputs in order, and reads each line only when it is needed.

    Args:
      inputs: the values of --input: texts or paths, one for each of `names` in this order, or "-" for the lines of standard
        input. Several values in a line are separated by tabs.
      files: the values of --input_file: paths of files with such lines.
      names: the names of the inputs that belong together.

    Raises:
      CorpusError: there is no input, a file cannot be read or is not text, or a value is missing or left over. Values of
        --input are checked before the first input is yielded.
    """
    if not inputs and not files:
        raise CorpusError("No input; give --input=..., --input=- or --input_file=...")
    numbered = [(number, _as_text(value)) for number, value in enumerate(inputs, start=1)]
    runs = [(lines, list(run)) for lines, run in itertools.groupby(numbered, lambda one: one[1] == "-")]
    for lines, run in runs:
        for start in range(0, 0 if lines or len(names) == 1 else len(run), len(names)):
            values = [value for _, value in run[start : start + len(names)]]
            _check(values, names, f"--input={values[-1]}")
    for lines, run in runs:
        if lines:
            for _ in run:
                yield from _lines(sys.stdin.buffer, "standard input", names)
        else:
            for start in range(0, len(run), len(names)):
                some = run[start : start + len(names)]
                yield Given(f"--input number {some[-1][0]}", tuple(value for _, value in some))
    for path in files:
        try:
            with open(path, "rb") as file:
                yield from _lines(file, path, names)
        except OSError as error:
            raise CorpusError(f"{path}: {error.strerror}") from error


def warn_of_path(text: str) -> None:
    """Warns on standard error if a text that is given with --input is also the path of a file."""
    if os.path.isfile(text):
        print(f"--input={text} is answered as a text. For the lines of this file, give --input_file={text}.", file=sys.stderr)


def _as_text(value: str) -> str:
    """Returns a value of --input by the rules for all text."""
    try:
        return plain_text.decode(os.fsencode(value))
    except plain_text.TextError as error:
        raise CorpusError(f"--input={value!r}: {error}") from error


def _lines(file: Iterable[bytes], origin: str, names: Sequence[str]) -> Iterator[Given]:
    for number, line in enumerate(file, start=1):
        here = f"{origin}:{number}"
        try:
            line = plain_text.first_line(line, line.endswith(b"\n")) if number == 1 else line
            text = plain_text.decode_line(line.removesuffix(b"\n")).strip()
        except plain_text.TextError as error:
            raise CorpusError(f"{here}: {error}") from error
        values = [value.strip() for value in text.split("\t")] if len(names) > 1 else [text]
        if text:
            _check(values, names, here)
        yield Given(here, tuple(values) if text else ())


def _check(values: Sequence[str], names: Sequence[str], where: str) -> None:
    if len(values) != len(names) or not all(values):
        raise CorpusError(
            f"{where}: {sum(map(bool, values))} input(s) instead of {len(names)}: {', '.join(names)} (give --input once for "
            "each in this order, or separate them by tabs in a line)."
        )
