"""Tests that questions about images are correct and reproducible, and cannot be answered from one input alone."""

import collections
import filecmp
import json
import os

import numpy as np
import pytest

from t2t_mm.corpora.example import CorpusError, Report
from t2t_mm.corpora.sounds import load_audio
from t2t_mm.mini import corpora
from t2t_mm.mini.corpora import Sizes, make_mini, scene_of
from t2t_mm.mini.images import random_scene
from t2t_mm.mini.pronunciation import pronounce
from t2t_mm.mini.questions import PerScene, make_questions, questions
from t2t_mm.mini.world import COLOURS, OBJECTS, Scene, Thing
from t2t_mm.problems.questions import spoken, typed

SIZES = Sizes(
    pairs=9, trees=9, images=1, scenes=6, utterances=2, speakers=1, more_trees=9, few=1, held_out_pairs=2,
    held_out_trees=2, held_out_images=1, held_out_scenes=3, held_out_utterances=1, held_out_speakers=1, image_size=16,
)  # fmt: skip


def test_a_scene_has_the_questions_that_can_be_answered():
    cup, key = (Thing(kind, colour, "small", "plain", x, 0.5, 0.2) for kind, colour, x in
                (("cup", "red", 0.8), ("key", "blue", 0.2)))  # fmt: skip
    found = {}
    for seed in range(40):
        found |= {one.text: one.answer for one in questions(Scene("room", (cup, key)), np.random.default_rng(seed))}
    assert found["what is to the left of the red cup"] == found["what is to the left of the cup"] == "key"
    assert found["what is to the right of the small key"] == "cup" and "what is above the cup" not in found
    assert found["what colour is the cup"] == "red" and found["what is blue"] == "key"
    assert not any("the red cup" in text for text in found if text.startswith("what colour"))
    both = Scene("room", (cup, Thing("key", "red", "small", "plain", 0.2, 0.5, 0.2)))
    assert "what is red" not in {one.text for one in questions(both, np.random.default_rng(0))}


def test_answers_are_varied_words_and_every_question_can_be_said():
    answers: dict = collections.defaultdict(collections.Counter)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        for one in questions(random_scene(rng), rng):
            assert one.answer in COLOURS or one.answer in OBJECTS
            assert all(map(pronounce, one.text.split()))
            answers[" ".join(one.text.split()[:2])][one.answer] += 1
    for counts in answers.values():
        assert max(counts.values()) < 0.25 * sum(counts.values())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("corpora") / "mini")
    make_mini(root, 3, SIZES, processes=1)
    before = {path: os.stat(path).st_mtime_ns for path, *_ in os.walk(root)}
    make_questions(root, PerScene(typed=4, spoken=2), processes=1)
    after = {path: os.stat(path).st_mtime_ns for path, *_ in os.walk(root) if not path.startswith(f"{root}/questions")}
    assert {path: time for path, time in before.items() if path != root} == {
        path: time for path, time in after.items() if path != root
    }
    return root


def test_the_problems_read_them_with_both_inputs_or_one(root):
    counts = {"train": 6, "dev": 3, "test": 3}
    for make, hidden in ((typed, "language"), (spoken, "audio")):
        whole, alone, blind = make(root), make(root, hidden), make(root, "image")
        assert (alone.name, alone.modality) == (f"{whole.name}_without_{hidden}", "image")
        assert blind.modality == hidden and whole.modality == ("image", hidden)
        for split, count in counts.items():
            parts = [one.source.examples(split, Report("x", 0)) for one in (whole, alone, blind)]
            assert count < len(parts[0]) <= count * 4
            for example, of_image, of_question in zip(*parts, strict=True):
                assert example.inputs == (of_image.inputs, of_question.inputs) and os.path.isfile(of_image.inputs)
                assert example.targets == of_image.targets == of_question.targets
    example = spoken(root).source.examples("dev", Report("x", 0))[0]
    sound = load_audio(example.inputs[1], 16000)
    assert 0.5 < len(sound) / 16000 < 5 and np.abs(sound).max() > 0.05
    with pytest.raises(ValueError, match="questions: hidden is 'audio'; it must be one of image, language"):
        typed(root, "audio")


def test_they_are_asked_about_the_scenes_of_the_pictures(root):
    """The captions describe the same scenes, so everything that an answer names occurs in an image."""
    with open(os.path.join(root, "coco", "annotations", "captions_val2014.json")) as file:
        content = json.load(file)
    for picture in content["images"]:
        kinds = {thing.kind for thing in scene_of(3, picture["id"]).things}
        said = " ".join(a["caption"] for a in content["annotations"] if a["image_id"] == picture["id"]).lower()
        assert any(kind in said for kind in kinds)
        rows = [one for one in typed(root).source.examples("dev", Report("x", 0)) if picture["file_name"] in one.inputs[0]]
        assert rows and all(one.targets in COLOURS or one.targets in kinds for one in rows)


def test_the_same_seed_writes_the_same_files_and_other_questions_are_refused(root, tmp_path):
    os.symlink(os.path.join(root, "coco"), tmp_path / "coco")
    (tmp_path / corpora.MINI_RECORD).write_bytes(open(os.path.join(root, corpora.MINI_RECORD), "rb").read())
    make_questions(str(tmp_path), PerScene(typed=4, spoken=2), processes=1)
    for folder, _, names in os.walk(os.path.join(root, "questions")):
        other = folder.replace(root, str(tmp_path))
        assert filecmp.cmpfiles(folder, other, names, shallow=False)[0] == names
    make_questions(str(tmp_path), PerScene(typed=4, spoken=2))  # they are there
    with pytest.raises(CorpusError, match="contains other questions"):
        make_questions(str(tmp_path), PerScene(typed=5))
    with pytest.raises(CorpusError, match="has no mini corpora"):
        make_questions(str(tmp_path / "nowhere"))
