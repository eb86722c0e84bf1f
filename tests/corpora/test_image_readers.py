"""Tests the readers of ILSVRC folders and COCO captions on handmade files."""

import json
import os

import pytest
from PIL import Image

from t2t_mm.corpora.coco import CocoCaptions
from t2t_mm.corpora.example import CorpusError, Report
from t2t_mm.corpora.image_folders import ImageFolders


def test_image_folders(tmp_path):
    for split, synset, name in (("train", "n2", "b"), ("train", "n1", "a"), ("val", "n2", "c")):
        folder = tmp_path / "imagenet" / split / synset
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / f"{name}.JPEG")
    source = ImageFolders(str(tmp_path))
    assert source.class_names() == ["n1", "n2"]
    train = source.examples("train", Report("x"))
    assert [(os.path.basename(e.inputs), e.targets) for e in train] == [("a.JPEG", 0), ("b.JPEG", 1)]
    assert [e.targets for e in source.examples("dev", Report("x"))] == [1]


def test_an_image_whose_name_is_not_utf_8_is_reported(tmp_path):
    folder = tmp_path / "imagenet" / "train" / "n1"
    folder.mkdir(parents=True)
    for name in (b"a.JPEG", b"caf\xe9.JPEG"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            Image.new("RGB", (8, 8)).save(file, "JPEG")
    report = Report("x")
    assert [os.path.basename(e.inputs) for e in ImageFolders(str(tmp_path)).examples("train", report)] == ["a.JPEG"]
    ((origin, reason),) = report.skipped.items()
    assert r"caf\udce9.JPEG" in origin and reason == "its name is not UTF-8; rename it"


@pytest.mark.parametrize("file", ["synset_words.txt", "LOC_synset_mapping.txt"])
def test_classes_are_called_by_their_first_synonym(tmp_path, file):
    for synset in ("n01440764", "n02012849", "n03126707", "n09999999"):
        (tmp_path / "imagenet" / "train" / synset).mkdir(parents=True)
    lines = "n03126707 crane\nn01440764 tench, Tinca tinca\nn02012849 crane\n"
    (tmp_path / "imagenet" / file).write_text(lines)
    source = ImageFolders(str(tmp_path))
    assert source.class_names() == ["tench", "crane (n02012849)", "crane (n03126707)", "n09999999"]
    assert source.synsets() == ["n01440764", "n02012849", "n03126707", "n09999999"]


def coco(tmp_path, images, annotations):
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2014").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "train2014" / "one.jpg")
    Image.new("RGB", (8, 8)).save(folder / "secret.jpg")
    text = json.dumps({"images": images, "annotations": annotations})
    for split in ("train", "val"):
        (folder / "annotations" / f"captions_{split}2014.json").write_text(text)
    return CocoCaptions(str(tmp_path))


def test_one_training_example_a_caption_and_bad_entries_reported(tmp_path):
    source = coco(
        tmp_path,
        [{"id": 1, "file_name": "one.jpg"}, {"id": 2, "file_name": "gone.jpg"}, {"id": 3, "file_name": "../secret.jpg"}],
        [{"image_id": 1, "id": 7, "caption": "A cat."}, {"image_id": 1, "id": 8, "caption": "One cat."}]
        + [{"image_id": i, "id": 8 + i, "caption": "A dog."} for i in (2, 3)],
    )
    report = Report("x")
    examples = source.examples("train", report)
    assert [e.targets for e in examples] == ["A cat.", "One cat."]
    assert {os.path.basename(e.inputs) for e in examples} == {"one.jpg"}
    assert len(report.skipped) >= 2


def test_damaged_json_is_named(tmp_path):
    source = coco(tmp_path, [], [])
    (tmp_path / "coco" / "annotations" / "captions_train2014.json").write_text('{"images": [')
    with pytest.raises(CorpusError, match="captions_train2014.json"):
        source.examples("train", Report("x"))


@pytest.mark.parametrize("source", [ImageFolders("nowhere"), CocoCaptions("nowhere")])
def test_a_missing_corpus_says_what_to_do(source):
    with pytest.raises(CorpusError, match="nowhere.*make_mini"):
        source.examples("train", Report("x"))


def test_every_picture_is_read_and_what_is_none_is_reported(tmp_path):
    for name in ("a.JPEG", "b.webp", "c.bmp", "d.gif", "e.jpe", "f.jfif", "images/g.png"):
        path = tmp_path / "imagenet" / "train" / "n1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path, path.suffix[1:] if path.suffix in (".png", ".gif", ".bmp", ".webp") else "JPEG")
    for name in ("boxes.txt", "h.tiff", "i.tiff", ".DS_Store"):
        (tmp_path / "imagenet" / "train" / "n1" / name).write_text("x")
    report = Report("x")
    found = ImageFolders(str(tmp_path)).examples("train", report)
    assert [os.path.basename(e.inputs) for e in found] == ["a.JPEG", "b.webp", "c.bmp", "d.gif", "e.jpe", "f.jfif", "g.png"]
    one, two = report.skipped.values()
    assert one.startswith("2 files with .tiff are not") or two.startswith("2 files with .tiff are not")
    assert any(".txt is not named like an image" in reason for reason in (one, two))


def image(number, name="one.jpg"):
    return {"id": number, "file_name": name}


def caption(number, of, text="A cat."):
    return {"id": number, "image_id": of, "caption": text}


def test_captions_of_an_id_that_two_files_share_are_not_given_to_one(tmp_path):
    source = coco(tmp_path, [image(1), image(1, "two.jpg"), image(2)], [caption(1, 1), caption(2, 2, "A dog.")])
    report = Report("x")
    assert [e.targets for e in source.examples("train", report)] == ["A dog."]
    assert "several files have this id ('one.jpg', 'two.jpg')" in next(iter(report.skipped.values()))


def test_a_record_that_cannot_be_used_costs_itself_alone(tmp_path):
    images = [image(1), {"id": 2}, "x", {"id": True, "file_name": "one.jpg"}]
    captions = [caption(1, 1), {"id": 2, "image_id": 1}, caption(3, None), caption(4, 1, 5), caption(5, 1, "A dog.")]
    report = Report("x")
    assert [e.targets for e in coco(tmp_path, images, captions).examples("train", report)] == ["A cat.", "A dog."]
    reasons = list(report.skipped.values())
    assert len(reasons) == 6 and "it has no field `file_name` of type str" in reasons
    assert reasons.count("it has no field `caption` of type str") == 2


def test_ids_may_be_texts(tmp_path):
    source = coco(tmp_path, [image("000000000001"), image("abc")], [caption("x1", 1), caption("x2", "abc", "A dog.")])
    assert [e.targets for e in source.examples("train", Report("x", 0))] == ["A cat.", "A dog."]


def test_ids_of_digits_are_the_number_they_spell(tmp_path):
    """As many digits as a file of COCO's could hold; a longer text, or other digits, is a name."""
    digits = "9" * 19
    images = [image(int(digits)), image("9" * 20), image("٣")]
    captions = [caption("x1", digits), caption("x2", int("9" * 20)), caption("x3", "9" * 20, "B."), caption("x4", 3)]
    report = Report("x")
    found = coco(tmp_path, images, captions).examples("train", report)
    assert [e.targets for e in found] == ["A cat.", "B."]
    assert [reason for reason in report.skipped.values() if "there is no image" in reason] == [
        "there is no image 99999999999999999999", "there is no image 3",
    ]  # fmt: skip


def test_json_may_begin_with_a_byte_order_mark(tmp_path):
    source = coco(tmp_path, [image(1)], [caption(1, 1)])
    path = tmp_path / "coco" / "annotations" / "captions_train2014.json"
    text = path.read_text()
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert len(source.examples("train", Report("x", 0))) == 1
    path.write_text(text, encoding="utf-16")
    with pytest.raises(CorpusError, match="cannot be read as JSON: .*UTF-16"):
        source.examples("train", Report("x"))
