"""Parallel text as the WMT translation task distributes it: two files, line n of one translates line n of the other."""

import html
import itertools
import os
import re
from collections.abc import Iterator, Sequence

from t2t_mm.corpora.corpus_files import SPLITS, check_split, iterate_lines, missing_corpus, read_lines, warn_of_count
from t2t_mm.corpora.example import CorpusError, Example, Report

_ENDINGS = ("", ".gz", ".sgm", ".sgm.gz")
_MARKUP = re.compile(r"\s*<(srcset|refset|tstset|mteval|!DOCTYPE mteval)\b", re.IGNORECASE)
_SEGMENT = re.compile(r"<seg\b[^>]*>(.*?)</seg>", re.IGNORECASE | re.DOTALL)
# Lines of the official sets that are dev and test by custom, under their own names or as these splits.
_LINES = {"newstest2013": 3000, "newstest2014": 3003, "dev": 3000, "test": 3003}
_END = object()  # of the shorter side of a parallel text


class ParallelText:
    """Translation from one language to another; the same files serve both directions.

    Reads `<name>.<language>`, plain or .gz, UTF-8. The .sgm files of official test sets, known by their ending or their
    first tag, are read by their <seg> texts.

    Args:
      root: the folder of all corpora.
      folder: the folder of the language pair in it, e.g. `wmt/en-de`.
      source_language: the ending of the files to translate from, e.g. `en`.
      target_language: the ending of the files to translate to.
      names: the file names of each split without their ending, where they are not train, dev and test, e.g.
        {"train": ("europarl-v7.de-en", "commoncrawl.de-en"), "dev": ("newstest2013",), "test": ("newstest2014",)}.
    """

    def __init__(
        self,
        root: str,
        folder: str,
        source_language: str,
        target_language: str,
        names: dict[str, Sequence[str]] | None = None,
    ):
        self.folder = os.path.join(root, folder)
        self.source_language = source_language
        self.target_language = target_language
        self.names = {split: (split,) for split in SPLITS} if names is None else names

    def examples(self, split: str, report: Report) -> list[Example]:
        """One example a line. Pairs with a blank side are left out of training, as is the custom, and counted.

        Raises:
          CorpusError: a file is absent, or the two sides of one differ in length, or there is no pair.
          TooManyBadExamples: more invalid UTF-8 than `report` allows; each is reported as `file:line`.
        """
        return list(self.stream(split, report))

    def stream(self, split: str, report: Report) -> Iterator[Example]:
        """`examples` one after the other, in the memory of a few of them; raises the same, lengths at the end."""
        check_split(split)
        if split not in self.names:
            raise CorpusError(f"{self.folder}: `names` has no files for {split}.")
        found = 0
        for name in self.names[split]:
            for found, example in enumerate(self._pairs(name, split == "train", report), start=found + 1):  # noqa: B007, B020
                yield example
        if not found:
            raise CorpusError(f"{self.folder}: split {split} ({', '.join(self.names[split])}) holds no sentence pair.")

    def _pairs(self, name: str, drop_blank: bool, report: Report) -> Iterator[Example]:
        source_path = self._find(name, self.source_language)
        target_path = self._find(name, self.target_language)
        sides = itertools.zip_longest(_sentences(source_path, report), _sentences(target_path, report), fillvalue=_END)
        counts = [0, 0]
        for number, (source, target) in enumerate(sides, start=1):
            counts[0] += source is not _END
            counts[1] += target is not _END
            origin = f"{source_path}:{number}"
            if None in (source, target) or _END in (source, target):
                continue
            if drop_blank and not (source and target):
                report.leave_out(origin, "a side is blank")
            else:
                yield Example(inputs=source, targets=target, origin=origin)
        if counts[0] != counts[1]:
            raise CorpusError(
                f"{source_path} has {counts[0]} lines and {target_path} has {counts[1]}; line n of one must "
                "translate line n of the other. Was one of them cut off or filtered alone?"
            )
        if name in _LINES:
            warn_of_count(f"{source_path}: lines", counts[0], _LINES[name])

    def _find(self, name: str, language: str) -> str:
        path = os.path.join(self.folder, f"{name}.{language}")
        for ending in _ENDINGS:
            if os.path.exists(path + ending):
                return path + ending
        raise missing_corpus(
            path,
            f"parallel text {name}.{self.source_language} and {name}.{self.target_language}, plain, .gz or .sgm",
            "the WMT shared task's training, dev and test data (statmt.org/wmt14)",
            "wmt/en-de or wmt/en-fr",
        )


def _sentences(path: str, report: Report) -> Iterator[str | None]:
    """The sentences of a file in order; None where one is not UTF-8."""
    lines = iterate_lines(path, report)
    first = list(itertools.islice(lines, 1))
    if ".sgm" in os.path.basename(path) or (first and first[0] and _MARKUP.match(first[0])):
        yield from _segments(path, report)
        return
    for line in itertools.chain(first, lines):
        yield line and line.strip()


def _segments(path: str, report: Report) -> Iterator[str]:
    """The texts of the <seg> elements of an official test set, which may go over several lines."""
    lines = read_lines(path, report)
    if None in lines:
        raise CorpusError(f"{path}:{lines.index(None) + 1}: not UTF-8; segments of a test set cannot be left out.")
    text = "\n".join(lines)
    found = [" ".join(html.unescape(segment).split()) for segment in _SEGMENT.findall(text)]
    begun = len(re.findall(r"<seg\b", text, re.IGNORECASE))
    if begun != len(found):
        raise CorpusError(f"{path}: {begun} segments begin and {len(found)} end; the file is cut off or damaged.")
    yield from found
