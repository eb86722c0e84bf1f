"""ILSVRC folders and COCO captions, made by hand."""

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
