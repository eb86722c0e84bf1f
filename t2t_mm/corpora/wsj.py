"""Read speech in the format of the WSJ corpora: .ndx lists, .dot transcripts and .wv1 recordings."""

import os
import re

from t2t_mm.corpora.corpus_files import check_split, missing_corpus, read_lines, walk, warn_of_count
from t2t_mm.corpora.example import CorpusError, DeclarationError, Example, Report

_CATALOGUE = "LDC93S6B (WSJ0) and LDC94S13B (WSJ1)"
# Split -> (list below the root of the merged layout, utterances in the full release). Train needs at least one of them.
_LISTS = {
    "train": (("wsj1/doc/indices/si_tr_s.ndx", 30278), ("wsj0/doc/indices/train/tr_s_wv1.ndx", 7138)),
    "dev": (("wsj1/doc/indices/h1_p0.ndx", 503),),
    "test": (("wsj0/doc/indices/test/nvp/si_et_20.ndx", 333),),
}
_EVAL93 = (("wsj1/doc/indices/wsj1/eval/h1_p0.ndx", 213),)
_LEFT_OUT = "wsj0/si_tr_s/401/"  # a speaker on disc 11-2.1 who is not in the usual training set
_DOT_LINE = re.compile(r"^(.*)\(([0-9a-zA-Z]{8})\)\s*$")
_NOISE = re.compile(r"\[[^\]\s]*\]")


class WSJSpeech:
    """WSJ0 and WSJ1: si284 for training (or the available part), dev93, and eval92 or eval93.

    There are two layouts: `wsj0/` and `wsj1/` merged in one folder, or the folders of the discs (`11-1.1/wsj0/...`). File
    names may be in upper or lower case.

    Args:
      root: the folder of all corpora.
      folder: the folder of WSJ in `root`.
      lower_case: whether to convert transcripts to lower case, so that they share the words of the vocabulary with other
        text.
      test: "eval92" or "eval93", the test set that is used as the split "test".

    Raises:
      DeclarationError: `test` has another value.
    """

    def __init__(self, root: str, folder: str = "wsj", lower_case: bool = True, test: str = "eval92"):
        if test not in ("eval92", "eval93"):
            raise DeclarationError(f"test is {test!r}; it must be eval92 or eval93.")
        self.folder = os.path.join(root, folder)
        self.lower_case = lower_case
        self.lists = _LISTS | ({"test": _EVAL93} if test == "eval93" else {})

    def examples(self, split: str, report: Report) -> list[Example]:
        """Returns one example per utterance, with the path of the recording as input and the cleaned transcript as target.

        An utterance without a recording or a transcript is reported and left out.

        Raises:
          CorpusError: there is no list of the split, or nothing in it is usable.
          TooManyBadExamples: there are more unusable utterances than `report` allows.
        """
        check_split(split)
        paths = self._paths()
        lists = [(paths[name], count) for name, count in self.lists[split] if name in paths]
        if not lists:
            wanted = " or ".join(name for name, _ in self.lists[split])
            expected = f"the {split} list {wanted} of WSJ speech (merged, or below the folders of the discs)"
            raise missing_corpus(self.folder, expected, _CATALOGUE, "wsj")
        transcripts = self._transcripts(paths, report)
        examples = []
        for list_path, count in lists:
            entries = self._entries(list_path, report)
            warn_of_count(list_path, "utterances listed", len(entries), count)
            for origin, name in entries:
                example = self._example(origin, name, paths, transcripts, report)
                if example:
                    examples.append(example)
        if not examples:
            raise CorpusError(f"{self.folder}: no utterance of the {split} list has both a recording and a transcript.")
        return examples

    def _paths(self) -> dict[str, str]:
        """Returns all files by their lower-case paths from `wsj0/` or `wsj1/` on, regardless of the disc."""
        found = {}
        # If several discs have a list, the last disc is used, for instance 13-34.1 for h1_p0.ndx.
        for folder, names in walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)
                parts = os.path.relpath(path, self.folder).lower().split(os.sep)
                starts = [index for index, part in enumerate(parts) if part in ("wsj0", "wsj1")]
                if starts:
                    found["/".join(parts[starts[0] :])] = path
        return found

    def _entries(self, path: str, report: Report) -> list[tuple[str, str]]:
        """Returns (origin, lower-case path of the recording) of each line of a list."""
        entries = []
        for number, line in enumerate(read_lines(path, report), start=1):
            if line is None or not line.strip() or line.startswith(";"):
                continue
            origin, (_, colon, name) = f"{path}:{number}", line.partition(":")
            name = name.strip().lstrip("/").lower()
            if not colon or not name:
                report.skip(origin, f"{line!r} is not `disc_id:path`")
            elif not name.startswith(_LEFT_OUT):
                entries.append((origin, name if name.endswith(".wv1") else name + ".wv1"))
        return entries

    def _transcripts(self, paths: dict[str, str], report: Report) -> dict[str, str]:
        """Returns a dict of utterance id -> transcript from all .dot files."""
        transcripts = {}
        for path in sorted(path for name, path in paths.items() if name.endswith(".dot")):
            for number, line in enumerate(read_lines(path, report), start=1):
                if line is None or not line.strip():
                    continue
                match = _DOT_LINE.match(line)
                if match:
                    transcripts[match.group(2).lower()] = match.group(1)
                else:
                    report.skip(f"{path}:{number}", f"{line[:60]!r} is not `text (utterance id)`")
        return transcripts

    def _example(self, origin, name, paths, transcripts, report) -> Example | None:
        utterance = os.path.basename(name).removesuffix(".wv1")
        if name not in paths:
            report.skip(origin, f"no recording {name} below {self.folder}")
        elif utterance not in transcripts:
            report.skip(origin, f"no transcript of {utterance} in any .dot file below {self.folder}")
        else:
            text = clean_transcript(transcripts[utterance])
            if text:
                return Example(paths[name], text.lower() if self.lower_case else text, paths[name])
            report.skip(origin, f"the transcript of {utterance} is blank")
        return None


def clean_transcript(text: str) -> str:
    """Returns a .dot transcript in the form that is used for training (as in the usual Kaldi preparation).

    The text is upper case. `%PERCENT` becomes `PERCENT`, `--DASH` becomes `-DASH`, and `<WORD>` becomes `WORD`. Overlap
    marks, `~` and isolated full stops are dropped, and any other `[noise]` becomes `<NOISE>`. Spoken punctuation (`,COMMA`)
    is kept.

    There are three differences from Kaldi's `normalize_transcript.pl`. For `WORD[noise]`, the word is kept next to
    `<NOISE>`, while Kaldi only keeps the noise. `<MISS-PRONOUNCED>` loses its brackets like `<WORD>`, while Kaldi only
    removes them around letters and apostrophes. `WORD~` loses its mark, while Kaldi only drops an isolated `~`.
    """
    words = []
    for word in text.upper().replace("\\", "").split():
        if re.fullmatch(r"\[<[^\]]*\]|\[[^\]]*>\]|\[[^\]]*/\]|\[/[^\]]*\]|~|\.", word):
            continue
        word = _NOISE.sub("<NOISE>", word)
        if word != "<NOISE>":
            word = re.sub(r"^<([^<>]+)>$", r"\1", word)
        word = {"%PERCENT": "PERCENT", ".POINT": "POINT", "--DASH": "-DASH"}.get(word, word.replace("~", ""))
        if word:
            words.append(word)
    return " ".join(words)
