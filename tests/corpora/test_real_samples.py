"""Tests that every file of the real samples is read by the reader of its layout, and that all images and audio decode."""

import csv
import os
import re

import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.corpora.coco import CocoCaptions
from t2t_mm.corpora.example import Report
from t2t_mm.corpora.image_folders import ImageFolders
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.pictures import load_image
from t2t_mm.corpora.sounds import load_audio
from t2t_mm.corpora.speech_folders import SpeechFolders
from t2t_mm.corpora.treebank import Treebank, delinearise
from t2t_mm.input.tokenizer import Tokenizer, text_to_tree, train_vocabulary, tree_to_text
from t2t_mm.metrics.captioning import captions
from t2t_mm.metrics.parsing import bracket_f1
from t2t_mm.metrics.recognition import wer
from t2t_mm.metrics.translation import bleu

SHARED = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "data"))
pytestmark = pytest.mark.skipif(not os.path.isdir(SHARED), reason="no ../shared/data with real samples")


@pytest.fixture(scope="module")
def listed():
    """The files of the manifest by their ending."""
    with open(os.path.join(SHARED, "MANIFEST.tsv"), newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file, delimiter="\t")]
    assert len(paths) > 2000
    return lambda folder, *endings: {p for p in paths if p.startswith(folder) and p.endswith(endings)}


def read(source, report, splits=("train", "dev", "test")):
    return [example for split in splits for example in source.examples(split, report)]


def paths_of(examples):
    return {os.path.relpath(example.inputs, SHARED) for example in examples}


def test_every_picture(listed):
    report = Report("x", 0)
    classes, captions = ImageFolders(SHARED), CocoCaptions(SHARED, year=2017)
    for source, folder in ((classes, "imagenet"), (captions, "coco")):
        paths = paths_of(read(source, report, ("train", "dev")))
        assert paths == listed(folder, ".JPEG", ".jpg")
        for path in paths:
            assert load_image(os.path.join(SHARED, path), 16).std() > 1
    assert not report.skipped


def test_every_sound(listed):
    layouts = {
        "fsdd": {"train": ["train.tsv"], "dev": ["test.tsv"]},
        "cards": {"train": ["cards.transcription"]},
        "arctic": {"train": ["txt.done.data"]},
        "librivox": {"train": ["transcription"]},
    }
    report = Report("x", 0)
    for folder, splits in layouts.items():
        examples = read(SpeechFolders(os.path.join(SHARED, "speech"), folder, splits), report, splits)
        paths = paths_of(examples)
        assert paths == listed(f"speech/{folder}/", ".wav") and all(example.targets for example in examples)
        for path in paths:
            assert np.abs(load_audio(os.path.join(SHARED, path), 16000)).max() > 0.01
    # The readings lie there in four codings, and all four are the same samples.
    stem = os.path.join(SHARED, "speech", "librivox")
    for path in listed("speech/librivox/", ".flac", ".sph", ".wv1"):
        name = os.path.splitext(os.path.basename(path))[0]
        wave = load_audio(os.path.join(stem, "wav", f"{name}.wav"), 16000)
        np.testing.assert_array_equal(load_audio(os.path.join(SHARED, path), 16000), wave)
    assert not report.skipped


def test_every_tree(listed):
    report = Report("x", 0)
    for tags in (True, False):
        trees = Treebank(SHARED, splits={"train": ["wsj/*/*.mrg"]}, tags=tags).examples("train", report)
        assert {os.path.relpath(t.origin.rsplit(":", 1)[0], SHARED) for t in trees} == listed("ptb/wsj", ".mrg")
        assert len(trees) == 3253
        for tree in trees:
            back, repaired = delinearise(tree.targets.split(), tree.inputs.split())
            assert not repaired and back.words() == tree.inputs.split()
    assert not report.skipped


@pytest.mark.parametrize(
    "pair, languages, counts",
    [
        ("en-de", ("en", "de"), {"train": 10000, "dev": 1014, "test": 1000}),
        ("en-fr", ("fr", "en"), {"train": 10000, "dev": 1014, "test": 1000}),
        ("en-de-wmt-tok", ("de", "en"), {"train": 4999, "dev": 50}),  # one line of training is blank
    ],
)
def test_every_pair_of_texts(pair, languages, counts):
    source, report = ParallelText(SHARED, f"wmt/{pair}", *languages), Report("x", 0)
    assert {split: len(source.examples(split, report)) for split in counts} == counts and not report.skipped


def test_a_perfect_model_scores_perfectly(tmp_path_factory):
    """Answers that are the references, as far as the vocabulary lets through what is in them."""
    sources = [
        (wer, SpeechFolders(SHARED, "speech", {"dev": ["*/*.tsv", "*/txt.done.data", "*/*transcription"]}), "wer", 0),
        (captions, CocoCaptions(SHARED, year=2017), "bleu4", 100),
        (bracket_f1, Treebank(SHARED, splits={"dev": ["wsj/*/*.mrg"]}), "f1", 100),
    ]
    for pair in ("en-de", "en-fr"):
        sources += [(bleu, ParallelText(SHARED, f"wmt/{pair}", *pair.split("-")[::turn]), "bleu", 100) for turn in (1, -1)]
    sources.append((bleu, ParallelText(SHARED, "wmt/en-de-wmt-tok", "en", "de"), "bleu", 100))
    path, found = str(tmp_path_factory.mktemp("v") / "v.model"), []
    for metric, source, name, best in sources:
        found.append((metric, source.examples("dev", Report("x", 0)), name, best))
    symbols = {tree_to_text(symbol) for example in found[2][1] for symbol in example.targets.split()}
    texts = [example.targets for _, examples, name, _ in found for example in examples if name != "f1"]
    train_vocabulary(texts, sorted(symbols), path, 2000)
    tokenizer = Tokenizer(path)
    for metric, examples, name, best in found:
        is_tree = name == "f1"
        targets = tf.constant([tree_to_text(e.targets) if is_tree else e.targets for e in examples])
        answers = [tokenizer.detokenize(ids) for ids in tokenizer.tokenize(targets).to_list()]
        answers = [text_to_tree(answer) for answer in answers] if is_tree else answers
        assert answers == [re.sub(" +", " ", e.targets) for e in examples]
        assert metric(answers, examples)[name] == pytest.approx(best)
