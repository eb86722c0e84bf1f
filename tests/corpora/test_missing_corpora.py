"""Tests the errors for a corpus that is missing and for one that is not the full release."""

import os

import pytest
from PIL import Image

from t2t_mm.corpora import corpus_files
from t2t_mm.corpora.corpus_files import MissingCorpus
from t2t_mm.corpora.example import Report
from t2t_mm.problems import own, paper

LIBRISPEECH = {split: [f"{split}-clean/**/*.trans.txt"] for split in ("dev", "test")}
LIBRISPEECH["train"] = ["train-clean-100/**/*.trans.txt"]
TREE = "( (S (NP (DT the) (NN cat)) (VP (VBZ sleeps)) (. .)))\n"


@pytest.mark.parametrize(
    "declaration, path, expected, catalogue, mini",
    [
        (paper.wsj_speech, "wsj", "h1_p0.ndx", "LDC93S6B (WSJ0) and LDC94S13B (WSJ1)", "wsj"),
        (paper.wsj_parsing, "ptb", "*.mrg", "LDC99T42", "ptb"),
        (paper.imagenet, "imagenet/train", "train/<synset>/*.JPEG", "ILSVRC 2012 (image-net.org)", "imagenet"),
        (paper.coco, "coco/annotations/captions_val2014.json", "a COCO caption file", "cocodataset.org", "coco"),
        (paper.wmt_en_de, "wmt/en-de/dev.en", "dev.en and dev.de, plain, .gz or .sgm", "statmt.org/wmt14", "wmt/en-de or"),
        (paper.wmt_fr_en, "wmt/en-fr/dev.fr", "dev.fr and dev.en, plain, .gz or .sgm", "statmt.org/wmt14", "wmt/en-de or wmt/en-fr"),  # noqa: E501
        (
            lambda root: paper.wsj_speech(root, "librispeech", splits=LIBRISPEECH),
            "librispeech", "dev-clean/**/*.trans.txt", "LibriSpeech (openslr.org/12)", "wsj",
        ),
    ],
)  # fmt: skip
def test_a_missing_corpus_is_said_to_be(declaration, path, expected, catalogue, mini, tmp_path):
    with pytest.raises(MissingCorpus) as raised:
        declaration(str(tmp_path)).source.examples("dev", Report("x"))
    message = str(raised.value)
    folder = path.split("/")[0]
    assert f" at {os.path.join(tmp_path, path)}: no such path, because {tmp_path} has no {folder}; it has nothing." in message
    assert expected in message and catalogue in message
    assert f"its mini corpus, {mini}" in message and "`python bin/make_mini.py --root=corpora/mini` writes it" in message


@pytest.mark.parametrize(
    "declaration, path, lacking, expected",
    [
        (own.picture_classes, "pets/train", "pets (did you mean pests?)", "a folder for each class with its images, train/<"),
        (
            lambda *where: own.translation(*where, "it", "en", "To-English"), "pets/train.it", "pets (did you mean pests?)",
            "parallel text train.it and train.en",
        ),
        (lambda name, root, _: own.picture_classes(name, root, "x"), "x/train", "x; it has a, b, c, d, e and 2 more", ""),
    ],
)  # fmt: skip
def test_ones_own_data_need_no_other_corpus(declaration, path, lacking, expected, tmp_path):
    for name in ("a", "b", "c", "d", "e", "f", "pests"):
        (tmp_path / name).mkdir()
    with pytest.raises(MissingCorpus) as raised:
        declaration("mine", str(tmp_path), "pets").source.examples("train", Report("x"))
    message = str(raised.value)
    assert message.startswith(f"Looked for {expected}") and "mini" not in message and "published" not in message
    assert message.endswith(
        f" at {tmp_path}/{path}: no such path, because {tmp_path} has no {lacking}. "
        "Correct the `root` or `folder` of the problem."
    )


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith((".jpg", ".JPEG")):
            Image.new("RGB", (2, 2)).save(path)
        else:
            path.write_text(content)


CAPTIONS = '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 1, "image_id": 1, "caption": "A cat."}]}'
SPLIT = '{"images": [{"cocoid": 1, "filename": "a.jpg", "filepath": "val2014", "split": "val", "sentences": [{"raw": "A"}]}]}'


@pytest.mark.parametrize(
    "declaration, split, files, warning",
    [
        (paper.wsj_parsing, "dev", {"ptb/wsj/22/a.mrg": TREE}, "trees of dev: 1; the full release has 1700"),
        (
            paper.imagenet, "train", {"imagenet/train/n00000001/a.JPEG": ""},
            "images of train: 1; the full release has 1281167",
        ),
        (
            paper.coco, "train", {"coco/annotations/captions_train2014.json": CAPTIONS, "coco/train2014/a.jpg": ""},
            "images: 1; the full release has 82783",
        ),
        (
            lambda root: paper.coco(root, karpathy=True), "dev",
            {"coco/annotations/dataset_coco.json": SPLIT, "coco/val2014/a.jpg": ""},
            "images of dev: 1; the full release has 5000",
        ),
        (
            lambda root: paper.wsj_speech(root, "librispeech", splits=LIBRISPEECH), "dev",
            {"librispeech/dev-clean/1/2/1-2.trans.txt": "1-2-0 A CAT\n", "librispeech/dev-clean/1/2/1-2-0.flac": ""},
            "utterances of dev: 1; the full release has 2703",
        ),
        (
            paper.wsj_speech, "dev",
            {
                "wsj/wsj1/doc/indices/h1_p0.ndx": "13_34_1: wsj1/si_dt_20/4k0/4k0c0301.wv1\n",
                "wsj/wsj1/si_dt_20/4k0/4k0c0301.wv1": "", "wsj/wsj1/si_dt_20/4k0/4k0c0300.dot": "A CAT (4k0c0301)\n",
            },
            "utterances listed: 1; the full release has 503",
        ),
        (
            paper.wmt_en_de, "test", {"wmt/en-de/test.en": "A cat.\n", "wmt/en-de/test.de": "Eine Katze.\n"},
            "test.en: lines: 1; the full release has 3003",
        ),
        (
            lambda root: paper.wmt_en_de(root, names={"dev": ["newstest2013"]}), "dev",
            {"wmt/en-de/newstest2013.en": "A cat.\n", "wmt/en-de/newstest2013.de": "Eine Katze.\n"},
            "newstest2013.en: lines: 1; the full release has 3000",
        ),
    ],
)  # fmt: skip
def test_a_count_that_differs_is_a_warning_with_both_numbers(declaration, split, files, warning, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(corpus_files, "_RELEASE_SHARE", 0)  # one example is no release
    write(tmp_path, files)
    problem = declaration(str(tmp_path))
    assert len(problem.source.examples(split, Report("x", 0))) == 1
    assert warning in caplog.text
    problem.source.examples(split, Report("x", 0))  # once is enough
    assert caplog.text.count(warning) == 1


@pytest.mark.parametrize("found, warned", [(39, False), (999, False), (1001, True), (1999, True), (2000, False), (8000, False)])
def test_only_what_can_be_a_damaged_copy_is_compared_with_the_release(found, warned, caplog):
    corpus_files.warn_of_count(f"some folder with {found}", "trees", found, 2000)
    assert (f"trees: {found}; the full release has 2000" in caplog.text) == warned


def test_mini_corpora_of_any_size_are_no_damaged_copy(tmp_path, caplog):
    """Of 200 utterances where eval92 has 333, say."""
    folder = tmp_path / "any" / "wsj"
    folder.mkdir(parents=True)
    corpus_files.warn_of_count(str(folder / "list.ndx"), "utterances", 200, 333)
    assert "list.ndx: utterances: 200; the full release has 333" in caplog.text
    caplog.clear()
    (tmp_path / "any" / "mini.json").write_text("{}")
    corpus_files.warn_of_count(str(folder / "other.ndx"), "utterances", 200, 333)
    assert not caplog.text
