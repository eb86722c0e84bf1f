"""Tests the denoising autoencoders: which sentences they read, their noise, and their configuration."""

import os
import subprocess
import sys

import pytest

import gin
from t2t_mm import experiment
from t2t_mm.common import config
from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.noised_text import NoisedText, noised
from t2t_mm.corpora.source import LineSource
from t2t_mm.evaluation.evaluate import score
from t2t_mm.problem import Problem
from t2t_mm.problems import paper
from t2t_mm.problems.autoencoders import autoencoder, restored, with_autoencoders

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LONG = " ".join(f"w{number}" for number in range(400))
LINES = {
    "wmt/en-de/train.en": "A red bird sings in the old garden .\nTwo dogs sleep .\n",
    "wmt/en-de/train.de": "Ein roter Vogel singt im alten Garten .\nZwei Hunde schlafen .\n",
    "wmt/en-fr/train.en": "The cat eats .\n",
    "wmt/en-fr/train.fr": "Le chat mange .\n",
}


@pytest.fixture(autouse=True)
def forget():
    yield
    gin.clear_config()


@pytest.fixture
def root(tmp_path):
    for name, lines in LINES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(lines)
    return str(tmp_path)


@pytest.fixture
def translations(root):
    return [declare(root) for declare in (paper.wmt_en_de, paper.wmt_de_en, paper.wmt_en_fr, paper.wmt_fr_en)]


def examples(problem, split="train"):
    return problem.source.examples(split, Report(problem.name))


def test_a_language_is_read_wherever_it_is_translated_from(translations):
    found = with_autoencoders(translations)
    assert found[:4] == translations
    assert {problem.name: problem.command for problem in found[4:]} == {
        "autoencoder_en": "To-English", "autoencoder_de": "To-German", "autoencoder_fr": "To-French"
    }  # fmt: skip
    clean = {problem.name: [example.targets for example in examples(problem)] for problem in found[4:]}
    assert clean == {
        "autoencoder_en": [*LINES["wmt/en-de/train.en"].splitlines(), "The cat eats ."],
        "autoencoder_de": LINES["wmt/en-de/train.de"].splitlines(),
        "autoencoder_fr": ["Le chat mange ."],
    }
    english = found[4]
    assert isinstance(english.source, LineSource) and english.modality == "language"
    assert list(english.source.stream("train", Report("en"))) == examples(english)
    assert [example.origin.rsplit("/", 1)[1] for example in examples(english)] == ["train.en:1", "train.en:2", "train.en:1"]
    perfect = [example.targets for example in examples(english)]
    assert score(english, perfect, examples(english))["bleu"] == pytest.approx(100)


def test_captions_are_restored_without_their_images(translations):
    class Captions:
        def examples(self, split, report):
            return [
                Example("bird.jpg", "Ein roter Vogel singt im Garten .", "captions:1", ("Ein roter Vogel singt im Garten .",))
            ]

    captions = Problem("caption_de", Captions(), "image", "text", "To-German")
    *others, found = with_autoencoders(translations, drop=0.3, more=[captions])
    assert len(others) == 7 and (found.name, found.modality, found.command) == ("restored_caption_de", "language", "To-German")
    (example,) = examples(found)
    clean = "Ein roter Vogel singt im Garten ."
    assert (example.inputs, example.targets, example.origin) == (noised(clean, 0.3, 3), clean, "captions:1")
    assert "bird" not in example.inputs != clean
    (problem,) = (p for p in translations if p.name == "wmt_en_de")
    assert [e.targets for e in examples(restored(problem))] == LINES["wmt/en-de/train.de"].splitlines()
    with pytest.raises(ValueError, match="trees: its targets are of the kind 'tree'"):
        restored(Problem("trees", problem.source, "language", "tree", "To-Parse-Tree"))
    with pytest.raises(ValueError, match='side is \'both\'; it must be "inputs" or "targets"'):
        NoisedText([problem.source], side="both")


def test_noise_drops_words_and_moves_the_others_a_little():
    words = LONG.split()
    found = noised(LONG, 0.1, 3).split()
    assert set(found) < set(words) and len(found) == len(set(found))
    assert 0.05 < 1 - len(found) / len(words) < 0.15
    kept = [word for word in words if word in set(found)]
    moved = [abs(found.index(word) - place) for place, word in enumerate(kept)]
    assert max(moved) == 3 and sum(moved) > len(kept) / 2
    in_order = noised(LONG, 0.5, 0).split()
    assert noised(LONG, 0.0, 0) == LONG and in_order == [word for word in words if word in in_order]
    assert noised("one", 0.99, 3) == "one" and noised("", 0.5, 3) == ""
    assert all(len(noised(f"one two {number}", 0.99, 3).split()) >= 1 for number in range(50))


def test_noise_is_that_of_the_sentence_in_every_process():
    text = "A red bird sings in the old garden ."
    code = f"from t2t_mm.corpora.noised_text import noised; print(noised({text!r}, 0.2, 3))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": ROOT}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert found.stdout.strip() == noised(text, 0.2, 3) != text


def test_what_cannot_be_meant_is_named(translations):
    with pytest.raises(ValueError, match="autoencoder_fr: no problem translates from 'fr'; .* translate from de, en."):
        with_autoencoders(translations[:2])
    with pytest.raises(ValueError, match="translate from no language"):
        with_autoencoders([])
    for settings, message in (({"drop": 1.0}, "drop is 1.0; it must be"), ({"distance": -1}, "distance is -1; it must be")):
        with pytest.raises(ValueError, match=message):
            with_autoencoders(translations, **settings)
    with pytest.raises(ValueError, match="`sources` is empty"):
        NoisedText([])
    with pytest.raises(CorpusError, match="dev.en"):
        examples(autoencoder("en", [translations[0].source]), "dev")


@pytest.mark.parametrize("order", [1, -1])
def test_autoencoders_and_zero_shot_pairs_are_added_in_any_order(order, monkeypatch):
    monkeypatch.chdir(ROOT)
    files = ["gin/tables/autoencoders.gin", "gin/tables/zero_shot.gin"][::order]
    config.parse(["gin/runs/joint_mini.gin", *files])
    names = [problem.name for problem in config.configured(experiment.Experiment)().problems]
    assert len(names) == 8 + 3 + 7 and names[8:11] == ["autoencoder_en", "autoencoder_de", "autoencoder_fr"]
    assert "wmt_de_fr" in names


def test_a_file_adds_the_captions_without_images(monkeypatch):
    monkeypatch.chdir(ROOT)
    for files in (["autoencoders", "caption_texts", "zero_shot"], ["zero_shot", "autoencoders", "caption_texts"]):
        config.parse(["gin/runs/joint_mini.gin", *(f"gin/tables/{name}.gin" for name in files)])
        problems = {problem.name: problem for problem in config.configured(experiment.Experiment)().problems}
        assert len(problems) == 8 + 3 + 2 + 7 and list(problems)[11:13] == ["restored_caption_de", "restored_caption_fr"]
        assert problems["restored_caption_fr"].command == "To-French"
        gin.clear_config()


@pytest.mark.parametrize("place", ["every", "source", "both"])
def test_a_file_sets_where_the_command_stands(place, monkeypatch):
    monkeypatch.chdir(ROOT)
    config.parse(["gin/runs/joint_mini.gin", f"gin/tables/command_{place}.gin"])
    assert config.value_of("model.MultiModel.command_at") == place
