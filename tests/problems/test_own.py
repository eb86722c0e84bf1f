"""Tests problems on a user's own files, which are declared only in Gin."""

import pytest
from PIL import Image

from t2t_mm.common import config
from t2t_mm.corpora.example import CorpusError, Report
from t2t_mm.experiment import Experiment

GIN = """
from __gin__ import dynamic_registration
from t2t_mm import experiment
from t2t_mm.problems import own

experiment.Experiment:
  problems = [@reviews/own.table(), @voice/own.table(), @it_en/own.translation(), @pets/own.picture_classes()]
  vocabulary = 'none.model'
own.table.root = %root
own.translation.root = %root
own.picture_classes.root = %root
reviews/own.table:
  name = 'reviews'
  folder = 'reviews'
  input = 'text'
  target = 'stars'
  targets = 'class'
  command = 'To-Stars'
voice/own.table:
  name = 'voice'
  folder = 'voice'
  input = 'path'
  target = 'sentence'
  inputs = 'audio'
  command = 'To-Italian'
  files = {'train': ['validated.tsv']}
  media = 'clips'
  held_out = 0.4
it_en/own.translation:
  name = 'it_en'
  folder = 'it-en'
  source = 'it'
  target = 'en'
  command = 'To-English'
pets/own.picture_classes:
  name = 'pets'
  folder = 'pets'
"""


@pytest.fixture
def problems(tmp_path):
    for folder in ("reviews", "voice/clips", "it-en", "pets/train/cat", "pets/train/dog"):
        (tmp_path / folder).mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (tmp_path / "reviews" / f"{split}.csv").write_text("id,text,stars\n1,good,5\n2,bad,1\n")
        (tmp_path / "it-en" / f"{split}.it").write_text("il gatto\n")
        (tmp_path / "it-en" / f"{split}.en").write_text("the cat\n")
    (tmp_path / "voice" / "validated.tsv").write_text(
        "client_id\tpath\tsentence\n" + "".join(f"x\t{i}.mp3\tIl gatto {i}.\n" for i in range(20))
    )
    for i in range(20):
        (tmp_path / "voice" / "clips" / f"{i}.mp3").touch()
    for name in ("cat", "dog"):
        Image.new("RGB", (4, 4)).save(tmp_path / "pets" / "train" / name / "1.png")
    config.parse([], [f"root = '{tmp_path}'"], GIN)
    return {problem.name: problem for problem in config.configured(Experiment)().problems}


def test_every_kind_of_own_problem_is_read_and_has_its_metric(problems):
    found = {name: problem.source.examples("train", Report(name)) for name, problem in problems.items()}
    assert [(e.inputs, e.targets) for e in found["reviews"]] == [("good", 1), ("bad", 0)]
    assert [(e.inputs, e.targets) for e in found["it_en"]] == [("il gatto", "the cat")]
    assert [e.targets for e in found["pets"]] == [0, 1]
    assert found["voice"] and all(e.inputs.endswith(".mp3") for e in found["voice"])
    assert problems["reviews"].source.class_names() == ["1", "5"] and problems["pets"].source.class_names() == ["cat", "dog"]
    metrics = {name: [metric.__name__ for metric in problem.metrics] for name, problem in problems.items()}
    assert metrics == {"reviews": ["top_k"], "voice": ["wer"], "it_en": ["bleu"], "pets": ["top_k"]}


def test_a_declaration_that_cannot_be_is_an_error_of_the_user(tmp_path):
    """Commands show it in one line, also after Gin has added its calls."""
    config.parse([], [f"root = '{tmp_path}'"], GIN + "reviews/own.table.targets = 'classes'\n")
    with pytest.raises(CorpusError) as raised:
        config.configured(Experiment)()
    shown = config.without_calls(str(raised.value))
    assert shown == "reviews: targets is 'classes'; choose one of text, tree, class."


def test_splits_without_a_table_are_held_out(problems):
    voice = problems["voice"].source
    splits = [{e.inputs for e in voice.examples(split, Report("voice"))} for split in ("train", "dev", "test")]
    assert len(set.union(*splits)) == sum(map(len, splits)) == 20
