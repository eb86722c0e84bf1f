"""Tests the .gin file and the commands of docs/your_data.md on a folder of made-up data."""

import os
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from t2t_mm.common import config
from t2t_mm.evaluation import evaluate
from t2t_mm.experiment import Experiment
from t2t_mm.input import vocabulary
from t2t_mm.model import MultiModel
from t2t_mm.run.folder import use_folder
from t2t_mm.training import loop
from t2t_mm.training.settings import Configuration

PAGE = os.path.join(os.path.dirname(__file__), "..", "docs", "your_data.md")
SMALL = """
from t2t_mm import model
from t2t_mm.input import buckets
from t2t_mm.layers import moe
from t2t_mm.training import settings
steps = 2
model.MultiModel:
  depth = 16
  encoder_blocks = 2
  mixer_blocks = 1
  decoder_blocks = 1
moe.MixtureOfExperts.hidden = 8
buckets.BatchSettings.images = 2
buckets.BatchSettings.image_size = 32
buckets.BatchSettings.positions = 128
settings.Checkpointing.every_steps = 2
"""


def write(folder):
    rng = np.random.default_rng(0)
    pets = [f"pets/{split}/{animal}" for split in ("train", "val", "test") for animal in ("cat", "dog")]
    for name in ("it-en", "reviews", "voice/clips", *pets):
        (folder / name).mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (folder / "it-en" / f"{split}.it").write_text("il gatto dorme\nil cane corre\n" * 3)
        (folder / "it-en" / f"{split}.en").write_text("the cat sleeps\nthe dog runs\n" * 3)
    for split in ("train", "val", "test"):
        for animal in ("cat", "dog"):
            for i in range(2):
                picture = rng.integers(0, 255, (40, 40, 3), "uint8")
                Image.fromarray(picture).save(folder / "pets" / split / animal / f"{i}.jpg")
    rows = [f'{i},"It was {word}, number {i}.",{stars}' for i in range(30) for word, stars in (("good", 5), ("bad", 1))]
    (folder / "reviews" / "all.csv").write_text("id,text,stars\n" + "\n".join(rows) + "\n")
    lines = ["client_id\tpath\tsentence\tup_votes"]
    for i in range(30):
        soundfile.write(folder / "voice" / "clips" / f"{i}.mp3", rng.normal(0, 0.1, 8000), 16000)
        lines.append(f"x{i}\t{i}.mp3\tIl gatto numero {i}.\t2")
    (folder / "voice" / "validated.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def configured(tmp_path, monkeypatch):
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    block = re.search(r"(?:    .*\n|\n)*", page[page.index("    # mine.gin") :])[0]
    (tmp_path / "mine.gin").write_text(re.sub(r"^    ", "", block, flags=re.M))
    (tmp_path / "mydata").mkdir()
    write(tmp_path / "mydata")
    monkeypatch.chdir(tmp_path)
    config.parse(["mine.gin"], [], "from __gin__ import dynamic_registration\nfrom t2t_mm.training import loop\n" + SMALL)


def test_the_page_trains_and_evaluates_every_kind_of_problem(configured, eagerly):
    run = config.configured(Experiment)()
    vocabulary.build_vocabulary(run.problems, run.vocabulary, 330)

    def saved():
        config.check_all_used()  # the page's file binds nothing in vain
        return config.resolved()

    config.configured(loop.train)(model_dir="runs/mine", configuration=Configuration(saved))
    config.parse(["runs/mine/config.gin"])
    run = use_folder(config.configured(Experiment)(), "runs/mine")
    found = evaluate.evaluate(run, "runs/mine", "test", [], evaluate.Decoding(max_length=4))
    assert not found["failed"]
    figures = {name: set(values) for name, values in found["results"].items()}
    assert {"it_en": "bleu", "pets": "top1", "reviews": "top1", "voice": "wer"}.items() <= {
        (name, metric) for name, metrics in figures.items() for metric in metrics
    }


def test_the_pages_modality_is_read_and_encoded(tmp_path):
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    block = re.search(r"(?:    .*\n|\n)*", page[page.index("    # sensors.py") :])[0]
    names: dict = {}
    exec(compile(re.sub(r"^    ", "", block, flags=re.M), "docs/your_data.md", "exec"), names)
    np.savetxt(tmp_path / "a.csv", np.ones((4, 6)), delimiter=",")
    problem, x = names["gestures"](), names["read"](tmp_path / "a.csv")
    assert problem.modality == "sensors" and x.shape == (4, 6)
    network = MultiModel(9, ("To-Gesture",), (names["SENSORS"],), depth=8, encoder_blocks=1, decoder_blocks=1, mixtures=False)
    assert network.encode("sensors", x[None].astype("float32"))[0].shape == (1, 4, 8)


def test_the_pages_problem_with_two_inputs_is_a_declaration(tmp_path):
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    block = re.search(r"(?:    .*\n|\n)*", page[page.index("    shop/own.table:") :])[0]
    (tmp_path / "shop.gin").write_text(
        "from __gin__ import dynamic_registration\nfrom t2t_mm import experiment\nfrom t2t_mm.problems import own\n"
        "experiment.Experiment.problems = [@shop/own.table()]\nexperiment.Experiment.vocabulary = 'v'\n"
        f"own.table.root = '{tmp_path}'\n" + re.sub(r"^    ", "", block, flags=re.M)
    )
    config.parse([str(tmp_path / "shop.gin")])
    (problem,) = config.configured(Experiment)().problems
    assert problem.modality == ("image", "language") and problem.command == "To-Answer"
    config.check_all_used()
