"""Tests that the included model loads and gives the same answers, and that the figures of its card hold for samples."""

import json
import os
import re

import pytest

import gin
from t2t_mm.common import config
from t2t_mm.corpora.example import Example, Report
from t2t_mm.experiment import Experiment
from t2t_mm.inference.predictor import Predictor, predict
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.metrics.parsing import bracket_f1
from t2t_mm.metrics.recognition import wer
from t2t_mm.metrics.translation import bleu
from t2t_mm.run.folder import load_trained, use_folder

FOLDER = os.path.join(os.path.dirname(__file__), "..", "models", "mini")


@pytest.fixture(scope="module")
def answered():
    """Problem -> [(line of samples.jsonl, the model's answer now)]."""
    with open(os.path.join(FOLDER, "samples", "samples.jsonl"), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    config.parse([os.path.join(FOLDER, "config.gin")])
    try:
        run = use_folder(config.configured(Experiment)(), FOLDER)
        network, description, _ = load_trained(run, FOLDER)
    finally:
        gin.clear_config()
    tokenizer = Tokenizer(run.vocabulary)
    predictor = Predictor(network, tokenizer, constrain_trees=True)
    found = {}
    for problem in run.problems:
        own = [line for line in lines if line["problem"] == problem.name]
        media = problem.modality != "language"
        inputs = [os.path.join(FOLDER, line["input"]) if media else line["input"] for line in own]
        examples = [Example(one, 0 if problem.targets == "class" else "", str(n)) for n, one in enumerate(inputs)]
        report = Report(problem.name, 0)
        answers = predict(predictor, problem, examples, tokenizer, run.audio, run.batches, report)
        if problem.targets == "class":
            names = description["class_names"][problem.name]
            answers = [names[int(answer.argmax())] for answer in answers]
        found[problem.name] = list(zip(own, answers))
    return found


def test_it_answers_as_it_did(answered):
    assert sum(map(len, answered.values())) >= 40 and all(answered.values())
    for problem, pairs in answered.items():
        same = sum(line["answer"] == answer for line, answer in pairs)
        assert same >= 0.9 * len(pairs), (problem, [(line["answer"], answer) for line, answer in pairs])


def test_the_documentation_asks_it_from_python(monkeypatch):
    monkeypatch.chdir(os.path.join(FOLDER, "..", ".."))
    with open(os.path.join("docs", "training.md"), encoding="utf-8") as file:
        (block,) = re.findall(r"^### From Python\n\n((?:    .*\n|\n)+)", file.read(), re.M)
    names = {}
    try:
        exec(compile(re.sub(r"^    ", "", block, flags=re.M), "docs/training.md", "exec"), names)
    finally:
        gin.clear_config()
    assert names["answers"] == ["Die kleine Katze schläft."]


def test_the_figures_of_its_card_are_those_of_its_answers(answered):
    """The samples are the first of each test set, so that their figures are only near those of the whole sets."""
    given = {
        name: ([answer for _, answer in pairs], [Example(line["input"], line["reference"], "sample") for line, _ in pairs])
        for name, pairs in answered.items()
    }
    for problem in ("wmt_en_de", "wmt_de_en", "wmt_en_fr", "wmt_fr_en"):
        assert bleu(*given[problem])["bleu"] > 80, problem
    assert wer(*given["wsj_speech"])["wer"] < 20
    assert bracket_f1(*given["wsj_parsing"])["f1"] > 80
    assert all(line["reference"] == answer for line, answer in answered["imagenet"])
