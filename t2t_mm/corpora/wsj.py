"""Read speech with transcripts as the WSJ corpora have it: .ndx lists, .dot transcripts, .wv1 sounds."""

import os
import re

from t2t_mm.corpora.corpus_files import check_split, missing_corpus, read_lines, walk, warn_of_count
from t2t_mm.corpora.example import CorpusError, Example, Report

_CATALOGUE = "LDC93S6B (WSJ0) and LDC94S13B (WSJ1)"
# Split -> (list below the root of the merged layout, utterances in the full release). Train needs either.
_LISTS = {
    "train": (("wsj1/doc/indices/si_tr_s.ndx", 30278), ("wsj0/doc/indices/train/tr_s_wv1.ndx", 7138)),
    "dev": (("wsj1/doc/indices/h1_p0.ndx", 503),),
    "test": (("wsj0/doc/indices/test/nvp/si_et_20.ndx", 333),),
}
_EVAL93 = (("wsj1/doc/indices/wsj1/eval/h1_p0.ndx", 213),)
_LEFT_OUT = "wsj0/si_tr_s/401/"  # speaker of disc 11-2.1 whom the usual training set leaves out
_DOT_LINE = re.compile(r"^(.*)\(([0-9a-zA-Z]{8})\)\s*$")
_NOISE = re.compile(r"\[[^\]\s]*\]")


class WSJSpeech:
    """WSJ0 and WSJ1: si284 to train (or the part of it that is there), dev93, eval92 or eval93.

    Both layouts are read, `wsj0/` and `wsj1/` merged under one folder or the folders of the discs (`11-1.1/wsj0/...`),
    with file names in either case.

    Args:
      root: the folder of all corpora. folder: that of WSJ in it.
      lower_case: transcripts in lower case, so that they share the vocabulary's words with other text.
      test: "eval92" or "eval93", which of the two usual test sets is the split "test".
    """

    def __init__(self, root: str, folder: str = "wsj", lower_case: bool = True, test: str = "eval92"):
        if test not in ("eval92", "eval93"):
            raise ValueError(f"test is {test!r}; it must be eval92 or eval93.")
        self.folder = os.path.join(root, folder)
        self.lower_case = lower_case
        self.lists = _LISTS | ({"test": _EVAL93} if test == "eval93" else {})

    def examples(self, split: str, report: Report) -> list[Example]:
        """One example an utterance: inputs the sound's path, targets its cleaned transcript.

        An utterance without sound or transcript is reported and left out.

        Raises:
          CorpusError: no list of the split is there, or nothing of it is usable.
          TooManyBadExamples: more bad utterances than `report` allows.
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
            raise CorpusError(f"{self.folder}: no utterance of the {split} list has both a sound and a transcript.")
        return examples

    def _paths(self) -> dict[str, str]:
        """Every file by its lower-case path from `wsj0/` or `wsj1/` on, whatever disc it lies on."""
        found = {}
        # Of a list that several discs have, the last disc's counts: h1_p0.ndx of 13-34.1.
        for folder, names in walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)
                parts = os.path.relpath(path, self.folder).lower().split(os.sep)
                starts = [index for index, part in enumerate(parts) if part in ("wsj0", "wsj1")]
                if starts:
                    found["/".join(parts[starts[0] :])] = path
        return found

    def _entries(self, path: str, report: Report) -> list[tuple[str, str]]:
        """(origin, lower-case path of the sound) of each line of a list."""
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
        """Utterance id -> transcript, from every .dot file."""
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
            report.skip(origin, f"no sound {name} below {self.folder}")
        elif utterance not in transcripts:
            report.skip(origin, f"no transcript of {utterance} in any .dot file below {self.folder}")
        else:
            text = clean_transcript(transcripts[utterance])
            if text:
                return Example(paths[name], text.lower() if self.lower_case else text, paths[name])
            report.skip(origin, f"the transcript of {utterance} is blank")
        return None


def clean_transcript(text: str) -> str:
    """A .dot transcript in the form in which systems are trained (as in the usual Kaldi preparation).

    Upper case; `%PERCENT` -> `PERCENT`, `--DASH` -> `-DASH`, `<WORD>` -> `WORD`; overlap marks, `~` and lone full stops are
    dropped, other `[noise]` becomes `<NOISE>`. Spoken punctuation (`,COMMA`) stays.

    It departs from Kaldi's `normalize_transcript.pl` in three things: of `WORD[noise]` the word stays beside `<NOISE>`,
    where Kaldi keeps the noise alone; `<MISS-PRONOUNCED>` loses its brackets like `<WORD>`, where Kaldi takes them off
    letters and apostrophes alone; and `WORD~` loses its mark, where Kaldi drops a `~` only where it stands alone.
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
