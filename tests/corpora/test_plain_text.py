"""Tests which text is read and which is rejected, and that every reader follows this rule."""

import numpy as np
import pytest

from t2t_mm.corpora.corpus_files import read_lines
from t2t_mm.corpora.example import CorpusError, Report
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.plain_text import TextError, decode
from t2t_mm.corpora.speech_folders import SpeechFolders
from t2t_mm.corpora.treebank import Treebank
from tests.corpora.test_sounds import wav
from tests.corpora.test_speech_readers import write

READ = {
    b"a\nb\n": ["a", "b"],
    b"\xef\xbb\xbfa\r\nb": ["a", "b"],
    b"\xef\xbb\xbf\n\nb\n": ["", "", "b"],
    "a\u2028b\u0085c\x0bd\n".encode(): ["a\u2028b\u0085c\x0bd"],
    b"The dog\rruns.\r\nx": ["The dog runs.", "x"],
    b"a\xef\xbb\xbf\n\xef\xbb\xbfb": ["a\ufeff", "\ufeffb"],  # beyond the file's begin it is a character
    b"": [],
    b"\xef\xbb\xbf": [],
}
REFUSED = {
    "A cat sleeps.\nA dog.\n".encode("utf-16-le"): "UTF-16",
    "A cat sleeps.\nA dog.\n".encode("utf-16-be"): "UTF-16",
    "A cat sleeps.\nA dog.\n".encode("utf-16"): "UTF-16",
    b"A cat.\rA dog.\rA bird.\r": "carriage returns only",
}


@pytest.mark.parametrize("data", READ)
def test_what_is_read(data, tmp_path):
    write(tmp_path / "a", data)
    assert read_lines(str(tmp_path / "a"), Report("x", 0)) == READ[data]
    assert decode(data).removesuffix("\n") == "\n".join(READ[data])


@pytest.mark.parametrize("data", REFUSED)
def test_what_is_refused_whole(data, tmp_path):
    write(tmp_path / "train.en", data)
    write(tmp_path / "train.de", "Eine Katze schläft.\nEin Hund.\n")
    with pytest.raises(CorpusError, match=f"train.en: .*{REFUSED[data]}"):
        ParallelText(str(tmp_path), "", "en", "de").examples("train", Report("x"))
    with pytest.raises(TextError, match=REFUSED[data]):
        decode(data)


def test_a_line_that_is_no_text_is_reported_and_costs_its_pair_alone(tmp_path):
    write(tmp_path / "train.en", b"A cat.\nA\0dog.\nA \xff bird.\nA fish.\n")
    write(tmp_path / "train.de", b"Katze\nHund\nVogel\nFisch\n")
    report = Report("x")
    found = ParallelText(str(tmp_path), "", "en", "de").examples("train", report)
    assert [e.targets for e in found] == ["Katze", "Fisch"]
    assert [reason.split(" at ")[0] for reason in report.skipped.values()] == ["a NUL character", "not UTF-8: byte 0xff"]
    for data, reason in ((b"a\nA\0b\n", "line 2: a NUL character"), (b"a\n\xff", "line 2: not UTF-8")):
        with pytest.raises(TextError, match=reason):
            decode(data)


def test_marks_and_carriage_returns_do_not_reach_trees_or_transcripts(tmp_path):
    write(tmp_path / "ptb" / "a.mrg", b"\xef\xbb\xbf( (S (NP (NN a))\r (VP (VBD ran))))\r\n")
    (tree,) = Treebank(str(tmp_path), splits={"dev": ["*.mrg"]}).examples("dev", Report("x", 0))
    assert (tree.inputs, tree.targets) == ("a ran", "(S (NP NN )NP (VP VBD )VP )S")
    write(tmp_path / "c" / "train.tsv", b"\xef\xbb\xbfa.wav\thello\rthere\r\n")
    (tmp_path / "c" / "a.wav").write_bytes(wav(np.zeros(9, "<i2")))
    (spoken,) = SpeechFolders(str(tmp_path), "c").examples("train", Report("x", 0))
    assert spoken.targets == "hello there"
