"""Read speech in open layouts: LibriSpeech, tables of file and text, Festvox prompts, Sphinx transcriptions."""

import os
import re
from collections.abc import Iterator, Sequence

from t2t_mm.corpora.corpus_files import (  # fmt: skip
    MissingCorpus,
    check_split,
    matching_files,
    missing_corpus,
    read_lines,
    walk,
    warn_of_count,
)
from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.plain_text import not_text
from t2t_mm.corpora.sounds import ENDINGS

_SPLITS = {  # LibriSpeech's folders, and tables of split names
    "train": ("train-clean-100/**/*.trans.txt", "train.tsv"),
    "dev": ("dev-clean/**/*.trans.txt", "dev.tsv"),
    "test": ("test-clean/**/*.trans.txt", "test.tsv"),
}
_LIBRISPEECH = {"train": 28539, "dev": 2703, "test": 2620}
# Suffix of a transcript file, description of its lines, and their pattern with the groups of the id and the text.
_FORMATS = (
    (".trans.txt", "`id text`", re.compile(r"(?P<id>\S+)\s+(?P<text>.+)")),
    (".tsv", "`file<tab>text`", re.compile(r"(?P<id>[^\t]+)\t(?P<text>[^\t]+)")),
    ("txt.done.data", '`( id "text" )`', re.compile(r'\(\s*(?P<id>\S+)\s+"(?P<text>.*)"\s*\)')),
    ("transcription", "`text (id)`", re.compile(r"(?:<s>)?\s*(?P<text>.*?)\s*(?:</s>)?\s*\((?P<id>[^()\s]+)\)")),
)


class SpeechFolders:
    """Recordings (WAV, FLAC, SPHERE, MP3, Ogg), and the transcript files that name them.

    The suffix of a transcript file determines its format: `*.trans.txt` (LibriSpeech: `id TEXT`), `*.tsv` (`file<tab>text`,
    without a header), `txt.done.data` (Festvox: `( id "text" )`), `*transcription` (Sphinx: `text (id)`). A name that
    contains a folder is a path relative to the folder of the transcript file. A bare name refers to a file in that folder,
    or to the only file with this name below it. If there are several codings of the same name, the first of WAV, FLAC,
    SPHERE, MP3 and Ogg is read.

    Args:
      root: the folder of all corpora.
      folder: the folder of this corpus in `root`.
      splits: split -> glob patterns of its transcript files below the folder. Default: those of LibriSpeech, and
        `train.tsv`, `dev.tsv` and `test.tsv`.
      lower_case: whether to convert transcripts to lower case.
    """

    def __init__(self, root: str, folder: str, splits: dict[str, Sequence[str]] | None = None, lower_case: bool = True):
        self.folder = os.path.join(root, folder)
        self.splits = _SPLITS if splits is None else splits
        self.lower_case = lower_case

    def examples(self, split: str, report: Report) -> list[Example]:
        """Returns one example per utterance. Utterances without a recording and lines in another format are reported.

        Raises:
          CorpusError: there is no transcript file of the split, one has an unknown suffix, or nothing is usable.
          TooManyBadExamples: there are more unusable lines than `report` allows.
        """
        check_split(split)
        if split not in self.splits:
            raise MissingCorpus(f"{self.folder}: `splits` has no patterns for {split}.")
        files = matching_files(self.folder, self.splits[split])
        if not files:
            wanted = " or ".join(self.splits[split])
            raise missing_corpus(self.folder, f"transcripts {wanted}", "LibriSpeech (openslr.org/12)", "wsj")
        examples = [example for path in files for example in self._examples(path, report)]
        if self.splits[split][0] == _SPLITS[split][0] and files[0].endswith(".trans.txt"):
            warn_of_count(self.folder, f"utterances of {split}", len(examples), _LIBRISPEECH[split])
        if not examples:
            raise CorpusError(f"{self.folder}: no utterance of {', '.join(files)} has a recording.")
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
            try:
                sound = _sound(match["id"], os.path.dirname(path), sounds)
            except LookupError as error:
                report.skip(origin, error.args[0])
                continue
            text = " ".join(match["text"].split())
            yield Example(sound, text.lower() if self.lower_case else text, sound)


def _sound(name: str, folder: str, sounds: dict[str, list[str]]) -> str:
    """Returns the path of the recording that a line names.

    Raises:
      LookupError: there is none or more than one; the message states the reason.
    """
    written = os.path.join(folder, name.replace("\\", "/"))
    stem = written[: -len(_ending(written))] if _ending(written) else written
    for path in (written, *(stem + ending for ending in ENDINGS)):
        if _ending(path) and "\0" not in path and os.path.isfile(path):
            return path
    if os.path.basename(written) != name:
        raise LookupError(f"no recording {written} ({', '.join(ENDINGS)}); the path is used as it is written")
    found = sounds.get(os.path.basename(stem), [])
    if not found:
        raise LookupError(f"no recording {os.path.basename(stem)} ({', '.join(ENDINGS)}) below {folder}")
    best = [path for path in found if _rank(path) == _rank(found[0])]
    if len(best) > 1:
        places = ", ".join(os.path.relpath(path, folder) for path in best[:5])
        raise LookupError(f"{len(best)} recordings have the name {name} ({places}); write the path of the right one")
    if not_text(found[0]):
        raise LookupError(f"the recording {found[0]!a} has a name that is not UTF-8; rename it")
    return found[0]


def _sounds(folder: str) -> dict[str, list[str]]:
    """Returns a dict of name without extension -> paths of the recordings below a folder, in the order of ENDINGS."""
    found: dict[str, list[str]] = {}
    for where, names in walk(folder):
        for name in names:
            if _ending(name):
                found.setdefault(name[: -len(_ending(name))], []).append(os.path.join(where, name))
    return {stem: sorted(paths, key=lambda path: (_rank(path), path)) for stem, paths in found.items()}


def _rank(path: str) -> int:
    return ENDINGS.index(_ending(path).lower())


def _ending(name: str) -> str:
    """Returns the extension of a recording as it is written, or an empty string for other names."""
    ending = os.path.splitext(name)[1]
    return ending if ending.lower() in ENDINGS else ""


def _format(path: str) -> tuple[str, re.Pattern]:
    for ending, description, pattern in _FORMATS:
        if path.endswith(ending):
            return description, pattern
    endings = ", ".join(f"*{ending}" for ending, _, _ in _FORMATS)
    raise CorpusError(f"{path}: a transcript file is one of {endings}.")
