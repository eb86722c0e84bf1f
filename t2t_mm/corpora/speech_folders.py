"""Read speech in the open layouts: LibriSpeech, tables of file and text, Festvox prompts, Sphinx transcriptions."""

import glob
import os
import re
from collections.abc import Iterator, Sequence

from t2t_mm.corpora.corpus_files import check_split, missing_corpus, read_lines, warn_of_count
from t2t_mm.corpora.example import CorpusError, Example, Report

_SOUNDS = (".wav", ".flac", ".sph", ".wv1")
_SPLITS = {  # LibriSpeech's folders, and tables of split names
    "train": ("train-clean-100/**/*.trans.txt", "train.tsv"),
    "dev": ("dev-clean/**/*.trans.txt", "dev.tsv"),
    "test": ("test-clean/**/*.trans.txt", "test.tsv"),
}
_LIBRISPEECH = {"train": 28539, "dev": 2703, "test": 2620}
# Ending of a transcript file -> what a line looks like, as (pattern, group of the sound's name, group of the text).
_FORMATS = (
    (".trans.txt", "`id text`", re.compile(r"(?P<id>\S+)\s+(?P<text>.+)")),
    (".tsv", "`file<tab>text`", re.compile(r"(?P<id>[^\t]+)\t(?P<text>[^\t]+)")),
    ("txt.done.data", '`( id "text" )`', re.compile(r'\(\s*(?P<id>\S+)\s+"(?P<text>.*)"\s*\)')),
    ("transcription", "`text (id)`", re.compile(r"(?:<s>)?\s*(?P<text>.*?)\s*(?:</s>)?\s*\((?P<id>[^()\s]+)\)")),
)


class SpeechFolders:
    """Sounds (WAV, FLAC, SPHERE) and the transcript files that name them.

    A transcript file is read by its ending: `*.trans.txt` (LibriSpeech: `id TEXT`), `*.tsv` (`file<tab>text`, no head),
    `txt.done.data` (Festvox: `( id "text" )`), `*transcription` (Sphinx: `text (id)`). Its sounds lie anywhere below
    the folder it is in.

    Args:
      root: the folder of all corpora. folder: that of this corpus in it.
      splits: split -> glob patterns of its transcript files below the folder; by default those of LibriSpeech and
        `train.tsv`, `dev.tsv`, `test.tsv`.
      lower_case: transcripts in lower case.
    """

    def __init__(
        self, root: str, folder: str, splits: dict[str, Sequence[str]] | None = None, lower_case: bool = True
    ):
        self.folder = os.path.join(root, folder)
        self.splits = _SPLITS if splits is None else splits
        self.lower_case = lower_case

    def examples(self, split: str, report: Report) -> list[Example]:
        """One example an utterance; one without a sound or with a line that is not in the format is reported.

        Raises:
          CorpusError: no transcript file of the split is there, one has an unknown ending, or nothing is usable.
          TooManyBadExamples: more bad lines than `report` allows.
        """
        check_split(split)
        if split not in self.splits:
            raise CorpusError(f"{self.folder}: `splits` has no patterns for {split}.")
        patterns = [os.path.join(glob.escape(self.folder), pattern) for pattern in self.splits[split]]
        files = sorted({path for pattern in patterns for path in glob.glob(pattern, recursive=True)})
        if not files:
            wanted = " or ".join(self.splits[split])
            raise missing_corpus(self.folder, f"transcripts {wanted}", "LibriSpeech (openslr.org/12)", "wsj")
        examples = [example for path in files for example in self._examples(path, report)]
        if self.splits[split][0] == _SPLITS[split][0] and files[0].endswith(".trans.txt"):
            warn_of_count(f"{self.folder}: utterances of {split}", len(examples), _LIBRISPEECH[split])
        if not examples:
            raise CorpusError(f"{self.folder}: no utterance of {', '.join(files)} has a sound.")
        return examples

    def _examples(self, path: str, report: Report) -> Iterator[Example]:
        sounds = _sounds(os.path.dirname(path))
        description, pattern = _format(path)
        for number, line in enumerate(read_lines(path, report), start=1):
            if line is None or not line.strip():
                continue
            origin, match = f"{path}:{number}", pattern.fullmatch(line.strip())
            if not match or not match["text"]:
                report.skip(origin, f"{line[:60]!r} is not {description}")
                continue
            name = os.path.basename(match["id"])
            stem = name.rsplit(".", 1)[0] if name.lower().endswith(_SOUNDS) else name
            if stem not in sounds:
                report.skip(origin, f"no sound {stem} ({', '.join(_SOUNDS)}) below {os.path.dirname(path)}")
                continue
            text = " ".join(match["text"].split())
            yield Example(sounds[stem], text.lower() if self.lower_case else text, sounds[stem])


def _sounds(folder: str) -> dict[str, str]:
    """Name without ending -> path, of every sound below a folder; of several formats the first of _SOUNDS."""
    found: dict[str, str] = {}
    for where, _, names in os.walk(folder):
        for name in sorted(names, key=lambda name: -_rank(name)):
            if _rank(name) >= 0:
                stem, path = name[: name.rindex(".")], os.path.join(where, name)
                if stem not in found or _rank(name) < _rank(found[stem]):
                    found[stem] = path
    return found


def _rank(name: str) -> int:
    """The place of a file's ending among _SOUNDS; -1 for other files."""
    ending = os.path.splitext(name)[1].lower()
    return _SOUNDS.index(ending) if ending in _SOUNDS else -1


def _format(path: str) -> tuple[str, re.Pattern]:
    for ending, description, pattern in _FORMATS:
        if path.endswith(ending):
            return description, pattern
    endings = ", ".join(f"*{ending}" for ending, _, _ in _FORMATS)
    raise CorpusError(f"{path}: a transcript file is one of {endings}.")
