"""Tests that readers turn arbitrary bytes into examples, one clear error or a counted report."""

import gzip
import json
import os
import time
import wave

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from t2t_mm.corpora import corpus_files, pictures, sounds, tars
from t2t_mm.corpora.coco import CocoCaptions
from t2t_mm.corpora.corpus_files import LONGEST_LINE, read_lines
from t2t_mm.corpora.example import CorpusError, MediaError, Report
from t2t_mm.corpora.image_folders import ImageFolders
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.pictures import decode_image
from t2t_mm.corpora.shorten import ShortenError, decode_shorten
from t2t_mm.corpora.sounds import decode_audio
from t2t_mm.corpora.speech_folders import SpeechFolders
from t2t_mm.corpora.sphere import decode_sphere, encode_sphere
from t2t_mm.corpora.treebank import Treebank, clean, delinearise, linearise, parse_tree, split_trees, to_brackets
from t2t_mm.corpora.wsj import WSJSpeech, clean_transcript
from tests.corpora.test_pictures import encoded
from tests.corpora.test_sounds import sound_file, wav
from tests.corpora.test_sphere import BitWriter

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FLAC, OGG, MP3 = (sound_file(*kind) for kind in (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")))
SOUND, WAV = encode_sphere(np.arange(-50, 50, dtype=np.int16), 16000), wav(np.zeros(300, "<i2"), 8000)
PICTURES = [encoded("RGB", "JPEG"), encoded("RGB", "PNG"), encoded("P", "GIF"), encoded("RGB", "BMP")]


def damaged(data, where, junk, end):
    where %= len(data)
    return (data[:where] + junk + data[where + len(junk) :])[: end if end else None]


damage = (st.integers(0, 10**6), st.binary(min_size=1, max_size=30), st.integers(0, 2000))


@given(st.sampled_from(PICTURES), *damage)
@FUZZ
def test_pictures(data, where, junk, end):
    try:
        assert decode_image(damaged(data, where, junk, end), "x", 4).shape == (4, 4, 3)
    except MediaError as error:
        assert str(error).startswith("x: ")


@given(st.sampled_from([SOUND, WAV, FLAC, OGG, MP3]), *damage)
@example(WAV, 34, b"\x00\x01\x00\x00\x00\x00Y", 0)  # an unknown chunk that is longer than the file
@FUZZ
def test_sounds(data, where, junk, end):
    try:
        assert decode_audio(damaged(data, where, junk, end), "x", 16000).dtype == np.float32
    except MediaError as error:
        assert str(error).startswith("x: ")


@pytest.mark.parametrize(
    "field, value, message",
    [
        (b"sample_count -i 100", b"sample_count -i " + b"9" * 14, "truncated: 9+ samples declared, 100 present"),
        (b"sample_count -i 100", b"sample_count -i " + b"9" * 500, "no number sample_count"),
        (b"channel_count -i 1", "channel_count -i \xb2".encode("latin-1"), "no number channel_count"),
        (b"channel_count -i 1", b"channel_count -i 0", "channel_count 0"),
        (b"sample_rate -i 16000", b"sample_rate -i 4000000000", "4000000000 samples per second"),
        (b"sample_rate -i 16000", b"sample_rate -i 0", "0 samples per second"),
        (b"   1024\n", b"9999999\n", "no SPHERE header"),
        (b"sample_checksum -i ", b"sample_checksum -i x", "checksum"),
    ],
)
def test_headers_of_sphere_that_lie(field, value, message):
    assert field in SOUND
    header = SOUND[:1024].rstrip(b" ").replace(field, value, 1).ljust(1024)
    with pytest.raises(MediaError, match=message):
        decode_audio(header + SOUND[1024:], "x", 16000)


def test_pictures_and_files_beyond_any_use_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "LARGEST_PICTURE", 1000)
    with pytest.raises(MediaError, match="40 × 30 pixels"):
        decode_image(PICTURES[1], "x", 4)
    monkeypatch.setattr(tars, "LARGEST_FILE", 50)
    (tmp_path / "big.wav").write_bytes(SOUND)
    with pytest.raises(MediaError, match="big.wav: more than"):
        sounds.load_audio(str(tmp_path / "big.wav"), 16000)
    with pytest.raises(MediaError, match="not a readable image"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "x", 4)  # would start another program


def streams():
    """Sound streams of every predictor, with more blocks than are read one by one."""
    rng = np.random.default_rng(0)
    writer = BitWriter()
    for value in (5, 1, 16, 2, 4, 0):
        writer.long(value)
    for number in range(40):
        function = (0, 1, 2, 3, 7)[number % 5]
        writer.unsigned(function, 2)
        writer.unsigned(1, 3)
        if function == 7:
            writer.unsigned(2, 2)
            for coefficient in (20, -9):
                writer.signed(coefficient, 5)
        for residual in rng.integers(-2, 3, 16).tolist():
            writer.signed(residual, 1)
    writer.unsigned(4, 2)
    return writer.stream()


STREAM = streams()


@given(*damage)
@example(0, b"ajkg\x02" + bytes(25), 0)
@FUZZ
def test_shorten(where, junk, end):
    try:
        assert decode_shorten(damaged(STREAM, where, junk, end), largest=5000).dtype == np.int32
    except ShortenError as error:
        assert str(error)


@given(st.lists(st.tuples(st.sampled_from((0, 1, 2, 3)), st.lists(st.integers(-40, 40), min_size=4, max_size=4)), max_size=30))
@FUZZ
def test_shorten_is_exact(blocks):
    writer = BitWriter()
    for value in (5, 1, 4, 0, 0, 0):
        writer.long(value)
    expected = [0, 0, 0]
    for order, residuals in blocks:
        writer.unsigned(order, 2)
        writer.unsigned(2, 3)
        for residual in residuals:
            writer.signed(residual, 2)
            a, b, c = expected[-1], expected[-2], expected[-3]
            expected.append(residual + (0, a, 2 * a - b, 3 * (a - b) + c)[order])
    writer.unsigned(4, 2)
    if max(map(abs, expected)) < 2**15:
        assert decode_shorten(writer.stream())[:, 0].tolist() == expected[3:]
    else:
        with pytest.raises(ShortenError, match="beyond 16 bits"):
            decode_shorten(writer.stream())


def test_a_stream_of_zeros_that_never_ends_does_not_fill_the_memory():
    writer = BitWriter()
    for value in (5, 1, 60000, 0, 0, 0):
        writer.long(value)
    for _ in range(50000):
        writer.unsigned(8, 2)
    with pytest.raises(ShortenError, match="at most"):
        decode_shorten(writer.stream())
    header = SOUND[:1024].replace(b"-s3 pcm\n", b"-s25 pcm,embedded-shorten-v2.00\n").replace(b"end_head\n", b"end_head")
    with pytest.raises(MediaError):
        decode_sphere(header[:1024] + writer.stream(), "x")


@given(st.text("() ABC\n-=1", max_size=80) | st.text(max_size=40))
@example("( (S (NP (NN a)) \n( (S (NN b)))")
@FUZZ
def test_trees(text):
    assert "".join(part for _, part in split_trees(text)).split() == text.split()
    for line, part in split_trees(text):
        try:
            tree = clean(parse_tree(part, f"f:{line}"))
        except CorpusError as error:
            assert str(error).startswith(f"f:{line}: ")
            continue
        if tree is not None and not set("<>") & set("".join(linearise(tree))):
            for tags in (True, False):
                back, _ = delinearise(linearise(tree, tags), tree.words())
                assert back.words() == tree.words()


labels, words = st.sampled_from(["NP", "VP", "S"]), st.sampled_from(["a", "b", "-LRB-"])
leaves = st.builds("({} {})".format, st.sampled_from(["DT", "NN", ","]), words)
constituents = st.builds("({} {})".format, labels, st.recursive(
    st.lists(leaves, min_size=1, max_size=3).map(" ".join),
    lambda inner: st.lists(st.builds("({} {})".format, labels, inner) | leaves, min_size=1, max_size=3).map(" ".join),
    max_leaves=12,
))  # fmt: skip


@given(constituents)
@FUZZ
def test_both_linearisations_turn_back(text):
    tree = clean(parse_tree(text))
    back, repaired = delinearise(linearise(tree), tree.words())
    assert back == tree and not repaired
    bare, repaired = delinearise(linearise(tree, tags=False), tree.words())
    assert not repaired and linearise(bare) == linearise(tree, tags=False)
    assert parse_tree(to_brackets(tree)) == tree


def test_brackets_that_never_close_take_linear_time():
    start = time.process_time()
    assert len(list(split_trees("(\n" * 100000))) == 100000
    assert time.process_time() - start < 20  # quadratic, it takes minutes


def test_xx_keeps_the_real_tags_for_scoring(tmp_path):
    (tmp_path / "ptb").mkdir()
    (tmp_path / "ptb" / "a.mrg").write_text("( (S (NP (DT The) (NN cat)) (. .)))\n( (S (A<B x)))")
    report = Report("x")
    (found,) = Treebank(str(tmp_path), splits={"dev": ["*.mrg"]}, tags=False).examples("dev", report)
    assert found.targets == "(S (NP XX XX )NP XX )S" and found.references == ("(S (NP DT NN )NP . )S",)
    assert "one of the characters <>" in next(iter(report.skipped.values()))


def test_lines_and_archives_beyond_any_text(tmp_path):
    (tmp_path / "long").write_bytes(b"a\n" + b"x" * (3 * LONGEST_LINE) + b"\nb")
    report = Report("x")
    assert read_lines(str(tmp_path / "long"), report) == ["a", None, "b"]
    assert "longer than 1 MiB" in report.skipped[f"{tmp_path}/long:2"]
    for name, data in (("cut.gz", gzip.compress(os.urandom(9999))[:-20]), ("no.gz", b"no gzip"), ("0.gz", b"")):
        (tmp_path / name).write_bytes(data)
    for name in ("cut.gz", "no.gz"):
        with pytest.raises(CorpusError, match=f"{name}: cannot be read"):
            read_lines(str(tmp_path / name), Report("x"))
    assert read_lines(str(tmp_path / "0.gz"), Report("x")) == []


def test_a_gz_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_files, "_ALWAYS_UNPACKED", 1 << 16)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress((b"x" * 99 + b"\n") * (1 << 14)))
    with pytest.raises(CorpusError, match="bomb.gz: unpacks to more than 200 times its size"):
        read_lines(str(tmp_path / "bomb.gz"), Report("x"))


@given(st.binary(max_size=60), st.binary(max_size=60))
@example(b"<srcset>\n<seg>a", b"x")
@FUZZ
def test_parallel_text(tmp_path, one, two):
    (tmp_path / "train.en").write_bytes(one)
    (tmp_path / "train.de").write_bytes(two)
    try:
        found = ParallelText(str(tmp_path), "", "en", "de").examples("train", Report("x", 20))
        assert all(e.inputs and e.targets for e in found)
    except CorpusError as error:
        assert str(tmp_path) in str(error)


@pytest.mark.parametrize("ending", [".sgm", ".sgm.gz"])
def test_sgm(tmp_path, ending):
    text = (
        '<srcset setid="x" srclang="any">\n<doc>\n<seg id="1">A  cat &amp; a dog.</seg>\n<SEG id="2">Two\nlines</SEG>\n</doc>'  # noqa: E501
    )
    for language in ("en", "de"):
        data = text.encode()
        (tmp_path / f"test.{language}{ending}").write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    found = ParallelText(str(tmp_path), "", "en", "de").examples("test", Report("x"))
    assert [e.inputs for e in found] == ["A cat & a dog.", "Two lines"]
    (tmp_path / "dev.en.sgm").write_text(text[:-20])
    (tmp_path / "dev.de.sgm").write_text(text)
    with pytest.raises(CorpusError, match="2 segments begin, but 1 end"):
        ParallelText(str(tmp_path), "", "en", "de").examples("dev", Report("x"))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
images = st.fixed_dictionaries({"id": st.integers(0, 2) | values, "file_name": st.sampled_from(["a.jpg", "../a.jpg", "\x00", "/etc/passwd", "..", "\ud800"]) | values})  # fmt: skip  # noqa: E501
annotations = st.fixed_dictionaries({"id": st.integers(0, 9), "image_id": st.integers(0, 2), "caption": st.sampled_from(["A cat.", " ", "\udc00 x"]) | values})  # fmt: skip  # noqa: E501


@given(st.lists(images, max_size=3) | values, st.lists(annotations, max_size=4) | values)
@FUZZ
def test_coco(tmp_path, image_records, annotation_records):
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "train2014").mkdir(exist_ok=True)
    for place in (folder / "train2014" / "a.jpg", folder / "a.jpg"):
        Image.new("RGB", (2, 2)).save(place)
    content = json.dumps({"images": image_records, "annotations": annotation_records})
    (folder / "annotations" / "captions_train2014.json").write_text(content)
    try:
        for found in CocoCaptions(str(tmp_path)).examples("train", Report("x")):
            assert found.inputs == str(folder / "train2014" / "a.jpg") and found.targets.encode()
    except CorpusError as error:
        assert "captions_train2014.json" in str(error)


@pytest.mark.parametrize("text", ["[" * 100000, '{"images": ' * 5000, "\xff", ""])
def test_json_that_is_none(tmp_path, text):
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "annotations" / "captions_train2014.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CorpusError, match="captions_train2014.json: cannot be read as JSON"):
        CocoCaptions(str(tmp_path)).examples("train", Report("x"))


def karpathy(tmp_path, images):
    folder = tmp_path / "coco"
    for place in ("annotations", "train2014", "val2014"):
        (folder / place).mkdir(parents=True)
        Image.new("RGB", (2, 2)).save(folder / place / "a.jpg")
    (folder / "annotations" / "dataset_coco.json").write_text(json.dumps({"images": images}))
    return CocoCaptions(str(tmp_path), karpathy=True)


def test_karpathys_split(tmp_path, caplog):
    def image(number, split, folder, name="a.jpg"):
        sentences = [{"raw": f"Caption {number}.", "sentid": number}, {"raw": "A cat.", "sentid": 90 + number}]
        return {"cocoid": number, "split": split, "filepath": folder, "filename": name, "sentences": sentences}

    source = karpathy(
        tmp_path,
        [image(1, "train", "train2014"), image(2, "restval", "val2014"), image(3, "val", "val2014")]
        + [image(4, "test", "val2014"), image(5, "train", "../coco/annotations"), image(6, "train", "val2014", "../a.jpg")],
    )
    report = Report("x")
    found = [(e.targets, os.path.relpath(e.inputs, tmp_path)) for e in source.examples("train", report)]
    assert ("Caption 1.", "coco/train2014/a.jpg") in found and ("Caption 2.", "coco/val2014/a.jpg") in found
    assert len(found) == 4 and len(report.skipped) == 2
    (dev,) = source.examples("dev", Report("x"))
    assert dev.references == ("Caption 3.", "A cat.")
    assert [e.targets for e in source.examples("test", Report("x"))] == ["Caption 4."]


def fields(**kinds):
    """A record whose fields are as they should be, as `values` are, or absent."""
    return st.fixed_dictionaries({}, optional=kinds) | st.fixed_dictionaries(kinds) | values


names = st.sampled_from(["a.jpg", "../a.jpg", "/etc/passwd", "\x00", "\ud800", "", "a.jpg/", "..\\a.jpg"])
folders = st.sampled_from(["train2014", "val2014", "../coco", "annotations/..", "", "/etc", "\ud800", "gone"])
sentences = fields(raw=st.sampled_from(["A cat.", " ", "\udc00 x"]) | values, sentid=st.integers(0, 9) | values)
karpathy_records = fields(
    cocoid=st.integers(0, 3) | values, split=st.sampled_from(["train", "restval", "val"]) | values,
    filepath=folders | values, filename=names | values, sentences=st.lists(sentences, max_size=3) | values,
)  # fmt: skip


@given(st.lists(karpathy_records, max_size=3) | values, st.binary(max_size=3), st.integers(0, 400))
@FUZZ
def test_karpathys_file(tmp_path, records, junk, where):
    folder = tmp_path / "coco"
    for place in (folder / "annotations", folder / "train2014", folder / "val2014"):
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(place / "a.jpg")
    text = json.dumps({"images": records}).encode()
    if where < len(text):
        text = text[:where] + junk + text[where + len(junk) :]
    (folder / "annotations" / "dataset_coco.json").write_bytes(text)
    report = Report("x")
    try:
        for found in CocoCaptions(str(tmp_path), karpathy=True).examples("train", report):
            assert os.path.relpath(found.inputs, folder) in ("train2014/a.jpg", "val2014/a.jpg")
            assert found.targets.encode() and found.targets == found.targets.strip()
    except CorpusError as error:
        assert "dataset_coco.json" in str(error) or "gone" in str(error)
    assert all("dataset_coco.json" in origin for origin in report.skipped)


label_parts = st.sampled_from([b"n01", b"n02", b"a.JPEG", b"/etc", b" ", b"\n", b"\xff"])


@given(st.binary(max_size=60) | st.lists(label_parts).map(b"".join))
@FUZZ
def test_label_lists(tmp_path, data):
    for place in ("train/n01", "train/n02", "val"):
        (tmp_path / "imagenet" / place).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / "imagenet" / place / "a.JPEG")
    (tmp_path / "imagenet" / "val_labels.txt").write_bytes(data)
    try:
        (found,) = ImageFolders(str(tmp_path)).examples("dev", Report("x"))
        assert found.targets in (0, 1) and found.inputs == str(tmp_path / "imagenet" / "val" / "a.JPEG")
    except CorpusError as error:
        assert str(tmp_path) in str(error)


tags = st.sampled_from(["<seg>", "<seg id='1'>", "</seg>", "<SEG>", "</SEG>", "<doc>", "&amp;", "&#x110000;", "&", "\n", "A"])


@given(st.lists(tags).map("".join), st.sampled_from(["test.en", "test.en.sgm"]))
@FUZZ
def test_test_sets_in_sgm(tmp_path, text, name):
    (tmp_path / "test.en").unlink(missing_ok=True)
    (tmp_path / "test.en.sgm").unlink(missing_ok=True)
    (tmp_path / name).write_text("<srcset>" + text)
    (tmp_path / "test.de").write_text("Eine Katze.\n")
    try:
        (found,) = ParallelText(str(tmp_path), "", "en", "de").examples("test", Report("x"))
        assert not found.inputs.lower().startswith("<seg") and found.targets == "Eine Katze."
    except CorpusError as error:
        assert str(tmp_path) in str(error)


@given(st.binary(max_size=80))
@FUZZ
def test_transcripts(tmp_path, data):
    (tmp_path / "a.wav").write_bytes(b"")
    for name in ("a.trans.txt", "train.tsv", "txt.done.data", "transcription"):
        (tmp_path / name).write_bytes(data)
        try:
            source = SpeechFolders(str(tmp_path), "", {"train": [name]})
            assert all(e.targets for e in source.examples("train", Report("x")))
        except CorpusError as error:
            assert str(tmp_path) in str(error)


@given(st.binary(max_size=60), st.binary(max_size=60))
@example(b"11_1_1:../../etc/passwd\n11_1_1:\n", b"TEXT (011c0201)\n(")
@FUZZ
def test_wsj_lists(tmp_path, index, dots):
    folder = tmp_path / "wsj" / "wsj0" / "doc" / "indices" / "train"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tr_s_wv1.ndx").write_bytes(index)
    (tmp_path / "wsj" / "wsj0" / "011c0200.dot").write_bytes(dots)
    with pytest.raises(CorpusError, match=str(tmp_path)):
        WSJSpeech(str(tmp_path)).examples("train", Report("x"))


@given(st.text(max_size=50))
@FUZZ
def test_transcripts_stay_clean(text):
    once = clean_transcript(text)
    assert "\\" not in once and once == " ".join(once.split())


def test_eval93_is_a_test_set_too(tmp_path):
    top = tmp_path / "wsj" / "13-32.1" / "wsj1"
    (top / "doc" / "indices" / "wsj1" / "eval").mkdir(parents=True)
    (top / "doc" / "indices" / "wsj1" / "eval" / "h1_p0.ndx").write_text("13_32_1:wsj1/si_et_h1/4oa/4oac0201.wv1\n")
    (top / "si_et_h1" / "4oa").mkdir(parents=True)
    (top / "si_et_h1" / "4oa" / "4OAC0201.WV1").write_bytes(SOUND)
    (top / "si_et_h1" / "4oa" / "4oac0200.dot").write_text("ten %percent (4oac0201)\n")
    (found,) = WSJSpeech(str(tmp_path), test="eval93").examples("test", Report("x"))
    assert found.targets == "ten percent"
    with pytest.raises(ValueError, match="eval92 or eval93"):
        WSJSpeech(str(tmp_path), test="eval94")


def test_wav_of_no_rate_is_refused(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(1)
        sound.writeframes(bytes(20))
    with pytest.raises(MediaError, match="1 samples per second"):
        sounds.load_audio(str(tmp_path / "a.wav"), 16000)
