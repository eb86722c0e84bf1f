"""Examples in the rows of a table: a CSV, TSV or JSON-lines file with a header, such as Common Voice's."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence

from t2t_mm.corpora.corpus_files import (
    SPLITS,
    MissingCorpus,
    check_split,
    iterate_lines,
    listed,
    matching_files,
    missing_corpus,
)
from t2t_mm.corpora.example import CorpusError, DeclarationError, Example, Report
from t2t_mm.corpora.plain_text import not_text
from t2t_mm.spelling import near

_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
# A field of a CSV file may span lines. Without a limit, an unclosed quotation mark would swallow the rest of the file.
_MOST_LINES_OF_A_ROW = 1000


class Table:
    """A table with a column for each input (usually one) and a column for the target. All other columns are ignored.

    The file extension determines the format, and the file may be compressed (`.gz`): `.csv` has quoted fields, `.tsv` has
    plain fields separated by tabs (as in Common Voice), and `.jsonl` has one JSON object per line. The first line of a CSV
    or TSV file contains the names of the columns.

    Args:
      root: the folder of all corpora.
      folder: the folder of this corpus in `root`.
      files: split -> glob patterns of its tables below the folder. If a split is missing, the fraction `held_out` of the
        training rows is held out for it. The (first) input determines the choice, so that rows with the same input stay
        together, and adding rows does not change the choice.
      input: the name of the input column, or a list of names if there are several inputs.
      target: the name of the target column.
      media: the folder, below `folder`, of the images or recordings in the input column; None if the column contains text.
        If there are several inputs, a list with one element per input.
      classes: whether the target is one of a set of classes. Their order is that of their sorted names in the training
        tables.
      delimiter: the character between two fields of a CSV file. Default: a comma.
      held_out: the fraction of the training rows to hold out for each missing split.

    Raises:
      DeclarationError: an argument is out of range, or the number of `media` is not that of the inputs.
    """

    def __init__(
        self,
        root: str,
        folder: str,
        input: str | Sequence[str],
        target: str,
        files: dict[str, Sequence[str]] | None = None,
        media: str | None | Sequence[str | None] = None,
        classes: bool = False,
        delimiter: str = ",",
        held_out: float = 0.1,
    ):
        self.folder = os.path.join(root, folder)
        self.inputs = (input,) if isinstance(input, str) else tuple(input)
        self.media = (media,) if media is None or isinstance(media, str) else tuple(media)
        if len(self.media) != len(self.inputs):
            raise DeclarationError(
                f"input has {len(self.inputs)} columns, {input!r}; media must have as many elements, not {media!r}."
            )
        self.target, self.classes, self.delimiter = target, classes, delimiter
        self.files = {split: (f"{split}.*",) for split in SPLITS} if files is None else dict(files)
        for split, patterns in self.files.items():
            if isinstance(patterns, str):
                raise DeclarationError(f"files has {patterns!r} for {split}; it must be a list, as in ['{patterns}'].")
        unknown = sorted(set(self.files) - set(SPLITS))
        if unknown or "train" not in self.files:
            raise DeclarationError(f"files has the splits {sorted(self.files)}; it needs train and may have dev and test.")
        if not 0 < held_out < 0.5:
            raise DeclarationError(f"held_out is {held_out}; it must be more than 0 and less than 0.5.")
        self.held_out = held_out
        self._class_names: list[str] | None = None

    def class_names(self) -> list[str]:
        """Returns the sorted names of the classes that occur in the training tables.

        Raises:
          CorpusError: see `examples`.
        """
        if self._class_names is None:
            # Unusable rows are not reported here, because they are reported when the examples are read.
            rows = self._rows(self._paths("train"), Report(self.folder, max_bad=1 << 60))
            self._class_names = sorted({target for _, _, target in rows})
        return self._class_names

    def examples(self, split: str, report: Report) -> list[Example]:
        """Returns one example per row. An unusable row is reported as `file:line`.

        Raises:
          CorpusError: there is no table of the split, a table lacks a column, the folder `media` does not exist, or no row is
            usable.
          TooManyBadExamples: there are more unusable rows than `report` allows.
        """
        return list(self.stream(split, report))

    def stream(self, split: str, report: Report) -> Iterator[Example]:
        """Yields the same examples, and raises the same errors, as `examples`."""
        check_split(split)
        indices = {name: index for index, name in enumerate(self.class_names())} if self.classes else None
        for media in {media for media in self.media if media is not None}:
            if not os.path.isdir(path := os.path.join(self.folder, media)):
                raise MissingCorpus(f"{path}: no such folder, so `media` of the table is wrong.")
        own = split in self.files
        paths = self._paths(split if own else "train")
        found = False
        for origin, texts, target in self._rows(paths, report):
            if not (own and split != "train") and self._split_of(texts[0]) != split:
                continue
            sources = [
                text if media is None else os.path.join(self.folder, media, text) for text, media in zip(texts, self.media)
            ]
            gone = [one for one, media in zip(sources, self.media) if media is not None and not os.path.isfile(one)]
            if gone:
                report.skip(origin, f"its file {gone[0]} does not exist; is `media` the right folder?")
                continue
            if indices is not None and target not in indices:
                report.skip(origin, f"the class {target!r} does not occur in the training tables{near(target, indices)}")
                continue
            found = True
            inputs = tuple(sources) if len(sources) > 1 else sources[0]
            yield Example(inputs, target if indices is None else indices[target], origin)
        if not found:
            first = next((f"; the first problem is {origin}: {reason}" for origin, reason in report.skipped.items()), "")
            if not first and split not in self.files:
                raise CorpusError(
                    f"{self.folder}: too few rows in {', '.join(paths)} to hold out some for {split}, with held_out = "
                    f"{self.held_out}. Increase `held_out`, or give {split} a table of its own in `files`."
                )
            raise CorpusError(f"{self.folder}: no row for {split} in {', '.join(paths)} is usable{first}.")

    def _split_of(self, text: str) -> str:
        """Returns the split of a row of the training tables, which a hash of its input determines."""
        place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
        for split in ("dev", "test"):
            if split not in self.files:
                if place < self.held_out:
                    return split
                place -= self.held_out
        return "train"

    def _paths(self, split: str) -> list[str]:
        paths = matching_files(self.folder, self.files[split])
        # A file and its compressed copy are one table, whose rows must not count twice.
        paths = [path for path in paths if not path.endswith(".gz") or path.removesuffix(".gz") not in paths]
        if not paths:
            expected = f"a table {' or '.join(self.files[split])} ({', '.join(_ENDINGS)}, with or without .gz)"
            if not os.path.isdir(self.folder):
                raise missing_corpus(self.folder, expected)
            held = "" if split == "train" else f" Leave {split} out of `files` to hold out rows of the training tables for it."
            raise MissingCorpus(f"Looked for {expected} in {self.folder}, which has {listed(self.folder)}.{held}")
        for path in paths:
            if not path.removesuffix(".gz").endswith(_ENDINGS):
                raise CorpusError(f"{path}: a table must have the extension {' or '.join(_ENDINGS)}, optionally with .gz.")
        return paths

    def _rows(self, paths: Sequence[str], report: Report) -> Iterator[tuple[str, list[str], str]]:
        """Yields (origin, inputs, target) of every complete row."""
        columns = (*self.inputs, self.target)
        for path in paths:
            read = _json_rows if path.removesuffix(".gz").endswith((".jsonl", ".ndjson")) else self._delimited_rows
            for line, row in read(path, report):
                origin = f"{path}:{line}"
                self._check_columns(origin, row)
                values = [_text(row[column]) for column in columns]
                for column, value in zip(columns, values):
                    if not value:
                        report.skip(origin, f"the column {column!r} contains {row[column]!r}, which is not text")
                        break
                    if wrong := not_text(value):
                        report.skip(origin, f"the column {column!r} contains {wrong}")
                        break
                else:
                    yield origin, values[:-1], values[-1]

    def _check_columns(self, origin: str, row: dict) -> None:
        for column in (*self.inputs, self.target):
            if column not in row:
                raise CorpusError(
                    f"{origin}: no column {column!r}{near(column, row)}. The table has {', '.join(map(repr, row))}."
                    + _other_delimiter(row, self.delimiter)
                )

    def _delimited_rows(self, path: str, report: Report) -> Iterator[tuple[int, dict]]:
        lines = _Lines(path, report)
        if path.removesuffix(".gz").endswith(".tsv"):
            reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        header = None
        while True:
            lines.begin_row()
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                report.skip(f"{path}:{lines.begun}", f"not a row of a CSV file: {error}")
                continue
            if lines.damaged or not fields:  # a damaged line has already been reported
                continue
            if header is None:
                header = [name.strip() for name in fields]
                if len(set(header)) < len(header):
                    raise CorpusError(f"{path}:{lines.begun}: a column occurs twice in {', '.join(header)}.")
                self._check_columns(f"{path}:{lines.begun}", dict.fromkeys(header))
            elif len(fields) != len(header):
                report.skip(f"{path}:{lines.begun}", f"{len(fields)} fields, but the header has {len(header)} columns")
            else:
                yield lines.begun, dict(zip(header, fields))


def _other_delimiter(header: Iterable[str], delimiter: str) -> str:
    """Returns a hint if the names of a header show that its fields are separated by another character."""
    for other in (";", "\t", ",", "|"):
        if other != delimiter and any(other in name for name in header):
            return f" If {other!r} separates its fields, set `delimiter` to it; only .csv files have one."
    return ""


class _Lines:
    """The lines of a file for `csv.reader`, which does not report where a row begins."""

    def __init__(self, path: str, report: Report):
        self._lines = iterate_lines(path, report)
        self._number = 0
        self.begin_row()

    def begin_row(self) -> None:
        self.begun, self.damaged = self._number + 1, False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._number += 1
        if self._number - self.begun >= _MOST_LINES_OF_A_ROW:
            raise csv.Error(f"it spans more than {_MOST_LINES_OF_A_ROW} lines; a quotation mark may not be closed")
        self.damaged = self.damaged or line is None
        return (line or "") + "\n"


def _json_rows(path: str, report: Report) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(iterate_lines(path, report), start=1):
        if line is None or not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            report.skip(f"{path}:{number}", f"not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            report.skip(f"{path}:{number}", f"a JSON {type(row).__name__}; each line must be an object")


def _text(value) -> str:
    """Returns a field as text on one line. Numbers are allowed (classes are often numbers), but not other JSON values."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    return " ".join(value.split()) if isinstance(value, str) else ""
