"""Parallel text as the WMT translation task distributes it: two files, line n of one translates line n of the other."""

from collections.abc import Sequence
import os
import re

from t2t_mm.data.corpus_files import SPLITS, check_split, missing_corpus, read_lines
from t2t_mm.data.example import CorpusError, Example, Report

_ENDINGS = ("", ".gz", ".sgm", ".sgm.gz")
_MARKUP = re.compile(r"\s*<(srcset|refset|tstset|mteval|!DOCTYPE mteval)\b", re.IGNORECASE)
_SEGMENT = re.compile(r"<seg\b[^>]*>(.*?)</seg>", re.IGNORECASE)


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
        """One example a line. Pairs with a blank side are left out of training, as is the custom, without a report.

        Raises:
          CorpusError: a file is absent, or the two sides of one differ in length, or there is no pair.
          TooManyBadExamples: more invalid UTF-8 than `report` allows; each is reported as `file:line`.
        """
        check_split(split)
        if split not in self.names:
            raise CorpusError(f"{self.folder}: `names` has no files for {split}.")
        examples = [example for name in self.names[split] for example in self._pairs(name, split == "train", report)]
        if not examples:
            raise CorpusError(f"{self.folder}: split {split} ({', '.join(self.names[split])}) holds no sentence pair.")
        return examples

    def _pairs(self, name: str, drop_blank: bool, report: Report) -> list[Example]:
        source_path = self._find(name, self.source_language)
        target_path = self._find(name, self.target_language)
        sources, targets = _sentences(source_path, report), _sentences(target_path, report)
        if len(sources) != len(targets):
            raise CorpusError(
                f"{source_path} has {len(sources)} lines and {target_path} has {len(targets)}; line n of one must "
                "translate line n of the other. Was one of them cut off or filtered alone?"
            )
        return [
            Example(inputs=source, targets=target, origin=f"{source_path}:{number}")
            for number, (source, target) in enumerate(zip(sources, targets), start=1)
            if source is not None and target is not None and not (drop_blank and not (source and target))
        ]

    def _find(self, name: str, language: str) -> str:
        path = os.path.join(self.folder, f"{name}.{language}")
        for ending in _ENDINGS:
            if os.path.exists(path + ending):
                return path + ending
        raise missing_corpus(
            path,
            f"parallel text {name}.{self.source_language} and {name}.{self.target_language}, plain, .gz or .sgm",
            "the WMT shared task's training, dev and test data (statmt.org/wmt14)",
        )


def _sentences(path: str, report: Report) -> list[str | None]:
    """The sentences of a file in order; None where one is not UTF-8."""
    lines = read_lines(path, report)
    if not (".sgm" in os.path.basename(path) or (lines and lines[0] and _MARKUP.match(lines[0]))):
        return [line and line.strip() for line in lines]
    if None in lines:
        raise CorpusError(f"{path}:{lines.index(None) + 1}: not UTF-8; segments of a test set cannot be left out.")
    return [" ".join(segment.split()) for line in lines for segment in _SEGMENT.findall(line)]
