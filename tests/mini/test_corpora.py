"""Tests that the readers of the real corpora read the mini corpora."""

import dataclasses
import filecmp
import os

import numpy as np
import pytest

from t2t_mm.corpora.example import CorpusError, Report
from t2t_mm.corpora.pictures import load_image
from t2t_mm.corpora.sounds import load_audio
from t2t_mm.corpora.treebank import Treebank
from t2t_mm.mini import corpora
from t2t_mm.mini.corpora import Sizes, make_mini
from t2t_mm.problems import paper

SIZES = Sizes(
    pairs=40, trees=45, images=2, scenes=6, utterances=8, speakers=2, held_out_pairs=10, held_out_trees=5,
    held_out_images=1, held_out_scenes=3, held_out_utterances=4, held_out_speakers=2,
)  # fmt: skip
COUNTS = {  # problem -> examples of train and of dev
    paper.wsj_speech: (8, 4), paper.imagenet: (48, 24), paper.coco: (30, 3), paper.wsj_parsing: (45, 5),
    paper.wmt_en_de: (40, 10), paper.wmt_fr_en: (40, 10),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("corpora") / "mini")
    make_mini(path, 3, SIZES, processes=1)
    return path


def examples(root, problem, split):
    report = Report("mini", max_bad=0)  # not one unusable example
    found = problem(root).source.examples(split, report)
    assert not report.skipped
    return found


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"speakers": 401}, "Sizes.speakers is 401; it must be from 1 to 400"),
        ({"held_out_speakers": 201}, "Sizes.held_out_speakers is 201; it must be from 1 to 200"),
        ({"speakers": 2, "utterances": 2591}, "Sizes.utterances is 2591; 2 voices can read 2590."),
        ({"held_out_utterances": 10361}, "Sizes.held_out_utterances is 10361; 8 voices can read 10360."),
    ],
)
def test_too_many_voices_or_sentences_for_them_are_refused(sizes, message):
    with pytest.raises(CorpusError, match=message):
        Sizes(**sizes)


def test_the_most_voices_and_sentences_are_read(tmp_path):
    """Only the lists and transcripts are written, because the recordings would take an hour."""
    sizes = Sizes(speakers=400, held_out_speakers=200, utterances=400, held_out_utterances=200)
    few = Sizes(speakers=1, held_out_speakers=1, utterances=1295, held_out_utterances=1)
    for name, one in (("speakers", sizes), ("sentences", few)):
        folder = tmp_path / name
        tasks = corpora._plan_speech(str(folder), 0, np.random.default_rng(0), set(), one)
        for path, *_ in tasks:
            open(path, "w").close()
        for split, count in corpora._held_out(one, "utterances").items():
            found = examples(str(folder), paper.wsj_speech, split)
            assert len(found) == count
        voices = {os.path.basename(path)[:3] for path, *_ in tasks}
        assert len(voices) == one.speakers + 2 * one.held_out_speakers


@pytest.mark.parametrize("problem", COUNTS, ids=lambda problem: problem.__name__)
def test_the_readers_of_the_real_corpora_read_them(root, problem):
    for split, count in zip(("train", "dev", "test"), (*COUNTS[problem], COUNTS[problem][1])):
        assert len(examples(root, problem, split)) == count


def test_pictures_and_sounds_decode(root):
    assert load_image(examples(root, paper.imagenet, "test")[0].inputs, 64).std() > 10
    sound = load_audio(examples(root, paper.wsj_speech, "train")[0].inputs, 16000)
    assert 0.5 < len(sound) / 16000 < 6 and 0.05 < abs(sound).max() <= 1


def test_no_sentence_and_no_voice_is_in_two_splits_or_corpora(root):
    seen = []
    for problem in (paper.wsj_parsing, paper.wmt_en_de, paper.wmt_en_fr):
        for split in ("train", "dev", "test"):
            seen += [e.inputs.replace(" ,", ",").replace(" .", ".") for e in examples(root, problem, split)]
    assert len(seen) == len(set(seen)) == 55 + 2 * 60
    captions = {s: {e.targets for e in examples(root, paper.coco, s)} for s in ("train", "dev", "test")}
    assert not captions["train"] & captions["dev"] and not captions["train"] & captions["test"]
    spoken = [examples(root, paper.wsj_speech, split) for split in ("train", "dev", "test")]
    assert len({e.targets for part in spoken for e in part}) == 16
    speakers = [{os.path.basename(e.inputs)[:3] for e in part} for part in spoken]
    assert [len(part) for part in speakers] == [2, 2, 2] and len(set.union(*speakers)) == 6


def test_transcripts_are_what_is_said_without_punctuation(root):
    for example in examples(root, paper.wsj_speech, "train"):
        assert example.targets == example.targets.lower() and example.targets.replace(" ", "").isalpha()


def test_trees_carry_traces_and_function_tags_that_the_reader_cuts(root):
    files = [os.path.join(d, f) for d, _, names in os.walk(os.path.join(root, "ptb")) for f in names]
    text = "".join(open(path).read() for path in sorted(files))
    assert "-NONE-" in text and "NP-SBJ" in text
    for example in Treebank(root).examples("train", Report("x")):
        assert "-" not in example.targets and len(example.inputs.split()) == sum(
            symbol[0] not in "()" for symbol in example.targets.split()
        )


def test_equal_seeds_give_equal_files_and_other_seeds_others(root, tmp_path):
    make_mini(str(tmp_path / "same"), 3, SIZES, processes=2)
    files = [os.path.relpath(os.path.join(d, f), root) for d, _, names in os.walk(root) for f in names]
    match, mismatch, errors = filecmp.cmpfiles(root, str(tmp_path / "same"), files, shallow=False)
    assert len(match) == len(files) and not mismatch and not errors
    make_mini(str(tmp_path / "other"), 4, dataclasses.replace(SIZES, images=1, scenes=1, utterances=2), processes=1)
    assert not filecmp.cmp(f"{root}/wmt/en-de/train.en", tmp_path / "other/wmt/en-de/train.en", shallow=False)


def test_a_folder_with_something_else_is_left_alone(root, tmp_path):
    make_mini(root, 3, SIZES)  # already made: nothing to do
    with pytest.raises(CorpusError, match="another seed or other sizes"):
        make_mini(root, 4, SIZES)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "mini.json").write_text("{")
    with pytest.raises(CorpusError, match="another seed or other sizes"):
        make_mini(str(tmp_path / "damaged"), 3, SIZES)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CorpusError, match="contains files other than mini corpora"):
        make_mini(str(tmp_path), 3, SIZES)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_making_leaves_nothing(error, tmp_path, monkeypatch):
    def interrupted(*_):
        raise error

    monkeypatch.setattr(corpora, "_write_trees", interrupted)
    with pytest.raises(error):
        make_mini(str(tmp_path / "deep" / "mini"), 3, SIZES, processes=1)
    assert not list(tmp_path.rglob("*mini*"))
