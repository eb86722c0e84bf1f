"""Tests the readers of WSJ in both layouts and of the open layouts, and that missing files are named."""

import os

import numpy as np
import pytest

from t2t_mm.corpora.example import CorpusError, Report, TooManyBadExamples
from t2t_mm.corpora.speech_folders import SpeechFolders
from t2t_mm.corpora.sphere import encode_sphere
from t2t_mm.corpora.wsj import WSJSpeech, clean_transcript


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def wsj(tmp_path, disc="", upper=False):
    """Three training utterances, of which one lacks its recording and one its transcript, and one of speaker 401."""
    case = str.upper if upper else str
    top = tmp_path / "wsj" / disc
    lines = [f"11_1_1:wsj0/si_tr_s/011/{name}.wv1" for name in ("011c0201", "011c0202", "011c0203")]
    lines += ["11_2_1:wsj0/si_tr_s/401/401c0201.wv1", "nonsense"]
    write(top / case("wsj0/doc/indices/train/tr_s_wv1.ndx"), "; comment\n" + "\n".join(lines) + "\n")
    for name in ("011c0201", "011c0203"):
        write(top / case(f"wsj0/si_tr_s/011/{name}.wv1"), encode_sphere(np.zeros(16, np.int16), 16000))
    write(top / case("wsj0/transcrp/011c0200.dot"), "THE ~ CAT [door] SLEEPS (011c0201)\nA DOG (011c0202)\n")
    return WSJSpeech(str(tmp_path))


@pytest.mark.parametrize("disc, upper", [("", False), ("11-1.1", False), ("11-1.1", True)])
def test_wsj(tmp_path, disc, upper):
    report = Report("x")
    (example,) = wsj(tmp_path, disc, upper).examples("train", report)
    assert example.targets == "the cat <noise> sleeps"
    assert example.inputs.lower().endswith("wsj0/si_tr_s/011/011c0201.wv1")
    reasons = " ".join(report.skipped.values())
    assert len(report.skipped) == 3
    assert "no recording wsj0/si_tr_s/011/011c0202.wv1" in reasons and "no transcript of 011c0203" in reasons
    assert "'nonsense' is not `disc_id:path`" in reasons


def test_a_missing_wsj_names_the_list_and_the_catalogue(tmp_path):
    source = wsj(tmp_path)
    with pytest.raises(CorpusError, match=r"h1_p0.ndx.*LDC94S13B.*make_mini"):
        source.examples("dev", Report("x"))
    with pytest.raises(TooManyBadExamples):
        source.examples("train", Report("x", max_bad=2))


@pytest.mark.parametrize(
    "raw, clean",
    [
        ("5 %PERCENT 3 .POINT 2 --DASH", "5 PERCENT 3 POINT 2 -DASH"),
        ("[<cough] HE \\'S [cough>] [cough/] [/cough] OK . ,COMMA", "HE 'S OK ,COMMA"),
        ("<MISS-PRONOUNCED> [loud_breath] A~", "MISS-PRONOUNCED <NOISE> A"),
    ],
)
def test_wsj_transcripts_are_cleaned(raw, clean):
    assert clean_transcript(raw) == clean


@pytest.mark.parametrize(
    "name, content",
    [
        ("1-2.trans.txt", "a-1 HELLO THERE\nb-1 GONE\n"),
        ("train.tsv", "a-1.wav\thello there\nb-1.wav\tgone\n"),
        ("txt.done.data", '( a-1 "Hello there" )\n( b-1 "Gone" )\n'),
        ("x.transcription", "<s> hello there </s> (a-1)\ngone (b-1)\n"),
    ],
)
def test_open_layouts(tmp_path, name, content):
    write(tmp_path / "c" / name, content)
    write(tmp_path / "c" / "deep" / "a-1.wav", b"RIFF")
    report = Report("x")
    (example,) = SpeechFolders(str(tmp_path), "c", {"train": (name,)}).examples("train", report)
    assert (example.targets, os.path.basename(example.inputs)) == ("hello there", "a-1.wav")
    ((origin, reason),) = report.skipped.items()
    assert origin.endswith(":2") and "no recording b-1" in reason


def test_a_line_of_another_format_is_named(tmp_path):
    write(tmp_path / "c" / "train.tsv", "a.wav hello\na.wav\tyes\n")
    write(tmp_path / "c" / "a.wav", b"RIFF")
    report = Report("x")
    assert len(SpeechFolders(str(tmp_path), "c").examples("train", report)) == 1
    assert "is not `file<tab>text`" in next(iter(report.skipped.values()))
    with pytest.raises(CorpusError, match="Looked for transcripts.*LibriSpeech"):
        SpeechFolders(str(tmp_path), "c").examples("dev", Report("x"))


def test_the_path_of_a_table_is_taken_as_it_is_written(tmp_path):
    """Speech Commands: the same file name in the folder of every word."""
    for word in ("yes", "no", "up"):
        write(tmp_path / "c" / word / "0a7c.wav", b"RIFF")
    write(tmp_path / "c" / "train.tsv", "yes/0a7c.wav\tyes\nno/0a7c\tno\nup\\0a7c.wav\tup\n0a7c.wav\tx\ngo/0a7c.wav\tgo\n")
    report = Report("x")
    found = SpeechFolders(str(tmp_path), "c").examples("train", report)
    assert [(os.path.relpath(e.inputs, tmp_path), e.targets) for e in found] == [
        ("c/yes/0a7c.wav", "yes"), ("c/no/0a7c.wav", "no"), ("c/up/0a7c.wav", "up"),
    ]  # fmt: skip
    several, absent = report.skipped.values()
    assert "3 recordings have the name 0a7c.wav (no/0a7c.wav, up/0a7c.wav, yes/0a7c.wav)" in several
    assert "no recording" in absent and "go/0a7c.wav" in absent


def test_of_several_codings_of_a_name_the_first_is_read_and_one_beside_the_table_before_all(tmp_path):
    for path in ("flac/a.flac", "sph/a.sph", "deep/b.ogg", "b.mp3"):
        write(tmp_path / "c" / path, b"x")
    write(tmp_path / "c" / "train.tsv", "a\tone\nb\ttwo\n")
    found = SpeechFolders(str(tmp_path), "c").examples("train", Report("x", 0))
    assert [os.path.relpath(e.inputs, tmp_path) for e in found] == ["c/flac/a.flac", "c/b.mp3"]


def test_links_to_folders_are_followed_and_a_circle_of_them_is_left(tmp_path):
    write(tmp_path / "disk" / "a.wav", b"RIFF")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "sounds").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "again").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "up").symlink_to(tmp_path / "c")
    write(tmp_path / "c" / "train.tsv", "a\tone\n")
    (found,) = SpeechFolders(str(tmp_path), "c").examples("train", Report("x", 0))
    assert os.path.relpath(found.inputs, tmp_path) == "c/sounds/a.wav"
