"""Parallel text as distributed by the WMT translation task: line n of one file translates line n of the other."""

import html
import itertools
import os
import re
from collections.abc import Iterator, Sequence

from t2t_mm.corpora.corpus_files import SPLITS, MissingCorpus, check_split, iterate_lines, missing_corpus, warn_of_count
from t2t_mm.corpora.example import CorpusError, Example, Report

_ENDINGS = ("", ".gz", ".sgm", ".sgm.gz")
_MARKUP = re.compile(r"\s*<(srcset|refset|tstset|mteval|!DOCTYPE mteval)\b", re.IGNORECASE)
_DOCUMENT_OR_SEGMENT = re.compile(
    r"<doc\b(?P<document>[^>]*)>|<seg\b(?P<segment>[^>]*)>(?P<text>.*?)</seg>", re.IGNORECASE | re.DOTALL
)
# Numbers of lines of the official sets that are commonly used as dev and test sets, by name or by split.
_LINES = {"newstest2013": 3000, "newstest2014": 3003, "dev": 3000, "test": 3003}
_END = object()  # marks the end of the shorter side of a parallel text


class ParallelText:
    """Translation from one language to another. Both directions use the same files.

    The files are `<name>.<language>`, plain or .gz, in UTF-8. The .sgm files of official test sets are recognised by their
    extension or their first tag; their <seg> texts are matched by document id and segment id.

    Args:
      root: the folder of all corpora.
      folder: the folder of the language pair in `root`, for instance `wmt/en-de`.
      source_language: the suffix of the files in the source language, for instance `en`.
      target_language: the suffix of the files in the target language.
      names: the file names of each split without suffix, for instance {"train": ("europarl-v7.de-en",
        "commoncrawl.de-en"), "dev": ("newstest2013",), "test": ("newstest2014",)}. Default: train, dev and test.
      own: whether the text is the user's own instead of that of the WMT tasks, which errors then do not mention.
    """

    def __init__(
        self,
        root: str,
        folder: str,
        source_language: str,
        target_language: str,
        names: dict[str, Sequence[str]] | None = None,
        own: bool = False,
    ):
        self.folder = os.path.join(root, folder)
        self.source_language = source_language
        self.target_language = target_language
        self._own = own
        self.names = {split: (split,) for split in SPLITS} if names is None else names

    def examples(self, split: str, report: Report) -> list[Example]:
        """Returns one example per line. Pairs with a blank side are left out of training, as is usual, and counted.

        Raises:
          CorpusError: a file is missing, the two sides have different lengths, or there is no sentence pair.
          TooManyBadExamples: more lines than `report` allows are not UTF-8. Each is reported as `file:line`.
        """
        return list(self.stream(split, report))

    def stream(self, split: str, report: Report) -> Iterator[Example]:
        """Yields the same examples with little memory.

        Raises:
          CorpusError, TooManyBadExamples: see `examples`. Lengths are compared at the end.
        """
        check_split(split)
        if split not in self.names:
            raise MissingCorpus(f"{self.folder}: `names` has no files for {split}.")
        found = 0
        for name in self.names[split]:
            for found, example in enumerate(self._pairs(name, split == "train", report), start=found + 1):  # noqa: B007, B020
                yield example
        if not found:
            raise CorpusError(f"{self.folder}: split {split} ({', '.join(self.names[split])}) has no sentence pairs.")

    def _pairs(self, name: str, drop_blank: bool, report: Report) -> Iterator[Example]:
        source_path = self._find(name, self.source_language)
        target_path = self._find(name, self.target_language)
        sides = _in_pairs(source_path, target_path, report)
        counts = [0, 0]
        for number, (source, target) in enumerate(sides, start=1):
            counts[0] += source is not _END
            counts[1] += target is not _END
            origin = f"{source_path}:{number}"
            if None in (source, target) or _END in (source, target):
                continue
            if drop_blank and not (source and target):
                report.leave_out(origin, "one side is blank")
            else:
                yield Example(inputs=source, targets=target, origin=origin)
        if counts[0] != counts[1]:
            raise CorpusError(
                f"{source_path} has {counts[0]} lines and {target_path} has {counts[1]}; line n of one must "
                "translate line n of the other. Perhaps one of them was truncated or filtered separately."
            )
        if name in _LINES:
            warn_of_count(source_path, "lines", counts[0], _LINES[name])

    def _find(self, name: str, language: str) -> str:
        path = os.path.join(self.folder, f"{name}.{language}")
        for ending in _ENDINGS:
            if os.path.exists(path + ending):
                return path + ending
        expected = f"parallel text {name}.{self.source_language} and {name}.{self.target_language}, plain, .gz or .sgm"
        raise missing_corpus(path, expected) if self._own else missing_corpus(
            path, expected, "the WMT shared task's training, dev and test data (statmt.org/wmt14)", "wmt/en-de or wmt/en-fr"
        )  # fmt: skip


def _in_pairs(source_path: str, target_path: str, report: Report) -> Iterator[tuple]:
    """Yields pairs of sentences, matched by id if both files have ids, otherwise by line; _END for the shorter side."""
    segments = [_segments(path, report) if _is_markup(path) else None for path in (source_path, target_path)]
    ids = [{key for key in side if key is not None} if side else set() for side in segments]
    if not all(ids):
        sides = [
            iter([text for found in side.values() for text in found]) if side is not None else _sentences(path, report)
            for path, side in zip((source_path, target_path), segments)
        ]
        yield from itertools.zip_longest(*sides, fillvalue=_END)
        return
    for path, other, lacking in (
        (target_path, source_path, ids[0] - ids[1]), (source_path, target_path, ids[1] - ids[0]),
    ):  # fmt: skip
        if lacking:
            document, segment = min(lacking)
            raise CorpusError(
                f"{path}: lacks {len(lacking)} segments of {other} (the first: segment {segment!r} of document "
                f"{document!r}). Perhaps one of them belongs to another test set or is truncated."
            )
    sources, targets = (side or {} for side in segments)  # both have ids, so neither is None
    for key, texts in sources.items():
        yield texts[0], targets[key][0]


def _sentences(path: str, report: Report) -> Iterator[str | None]:
    """Yields the lines of a file in order, with None for lines that are not UTF-8."""
    for line in iterate_lines(path, report):
        yield line and line.strip()


def _is_markup(path: str) -> bool:
    """Returns whether a file is an official .sgm set, judged by its name or its first line."""
    if ".sgm" in os.path.basename(path):
        return True
    first = next(iterate_lines(path, Report(path, max_bad=1)), None)
    return bool(first and _MARKUP.match(first))


def _segments(path: str, report: Report) -> dict[tuple[str, str] | None, list[str]]:
    """Returns a dict of (document id, segment id) -> texts of the <seg> elements of an official test set.

    If any segment has no id, all texts are under the key None.

    Raises:
      CorpusError: a segment is not UTF-8 or has no end, or an id occurs twice.
    """
    lines: list[str] = []
    for number, line in enumerate(iterate_lines(path, report), start=1):
        if line is None:
            raise CorpusError(f"{path}:{number}: not UTF-8; no segment of a test set may be left out.")
        lines.append(line)
    found: list[tuple[tuple[str, str] | None, str]] = []
    text, document = "\n".join(lines), None
    for part in _DOCUMENT_OR_SEGMENT.finditer(text):
        if part["document"] is not None:
            document = _attribute(part["document"], "docid")
        else:
            segment = _attribute(part["segment"], "id")
            key = None if document is None or segment is None else (document, segment)
            found.append((key, " ".join(html.unescape(part["text"]).split())))
    begun = len(re.findall(r"<seg\b", text, re.IGNORECASE))
    if begun != len(found):
        raise CorpusError(f"{path}: {begun} segments begin, but {len(found)} end; the file is truncated or damaged.")
    if any(key is None for key, _ in found):
        return {None: [text for _, text in found]}
    segments: dict[tuple[str, str] | None, list[str]] = {}
    for key, text in found:
        if key is not None and key in segments:
            raise CorpusError(
                f"{path}: segment {key[1]!r} of document {key[0]!r} occurs twice. If there are several references, keep one."
            )
        segments[key] = [text]
    return segments


def _attribute(tag: str, name: str) -> str | None:
    found = re.search(rf"""\b{name}\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""", tag, re.IGNORECASE)
    return found and next(value for value in found.groups() if value is not None).strip().lower()
