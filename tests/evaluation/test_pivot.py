"""Tests answers through another language: each step is one of the model's own, and nothing is lost between them."""

import functools

import keras
import numpy as np
import pytest
from PIL import Image

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example, Report
from t2t_mm.evaluation.evaluate import Evaluator, evaluate
from t2t_mm.evaluation.pivot import has_pivot, pivot
from t2t_mm.experiment import Experiment
from t2t_mm.inference.predictor import Predictor, predict
from t2t_mm.inference.search import Decoding
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.tokenizer import Tokenizer, train_vocabulary
from t2t_mm.lab.tables import tables
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.metrics.translation import bleu
from t2t_mm.modalities.image import ImageInput
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem

TEXTS = ["the cat sees a dog", "der Hund schläft", "le chien dort"] * 5
LENGTH = 6
AUDIO, BATCHES = AudioFeatures(bins=8), BatchSettings(image_size=32)


class Lines:
    def examples(self, split, report):
        return [Example(text, target, text) for text, target in zip(TEXTS[:3], ("le chat", "le chien", "un chien"))]


FRENCH = Problem("wmt_de_fr", Lines(), "language", "text", "To-French", (bleu,))
ENGLISH = Problem("to_english", None, "language", "text", "To-English")
FROM_ENGLISH = Problem("to_french", None, "language", "text", "To-French")
CAPTIONS = Problem("caption_fr", None, "image", "text", "To-French")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An experiment, its tokenizer and its model, which hears the command in the encoder and so answers variously."""
    path = str(tmp_path_factory.mktemp("vocabulary") / "v.model")
    train_vocabulary(TEXTS, [], path, size=300)
    model = functools.partial(
        MultiModel, depth=16, encoder_blocks=1, mixer_blocks=1, decoder_blocks=1, mixtures=False, command_at="both",
        attention_block=functools.partial(AttentionBlock, heads=2, convs=1),
        image=functools.partial(ImageInput, filters=(4, 8)),
    )  # fmt: skip
    experiment = Experiment([FRENCH], path, model, BATCHES, AUDIO)
    description = {
        "commands": ["To-English", "To-French"], "inputs": ["image", "language"], "class_names": {}, "frequency_bins": 8,
    }  # fmt: skip
    keras.utils.set_random_seed(2)
    network = experiment.build_model(description | {"vocabulary": ""})
    # As a model starts, its input and its command hardly change its answers.
    rng = np.random.default_rng(0)
    for weight in network.trainable_weights:
        if weight.path.endswith(("kernel", "embedding", "pointwise")):
            weight.assign(rng.normal(size=weight.shape))
    return experiment, Tokenizer(path), network


def test_both_steps_are_the_models_own(made):
    _, tokenizer, network = made
    predictor = Predictor(network, tokenizer, max_length=LENGTH)
    tools = tokenizer, AUDIO, BATCHES, Report("here", 0)
    examples, counts = Lines().examples("dev", None), []
    answers, between = pivot(predictor, FRENCH, examples, *tools, done=counts.append)
    assert between == predict(predictor, ENGLISH, examples, *tools) and sum(counts) == 3
    again = [Example(text, "", "there") for text in between]
    assert answers == predict(predictor, FROM_ENGLISH, again, *tools)
    assert answers != predict(predictor, FRENCH, examples, *tools) and len(set(between)) > 1


def test_what_has_no_first_answer_has_no_second(made, tmp_path):
    _, tokenizer, network = made
    path = str(tmp_path / "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype("uint8")).save(path)
    (tmp_path / "b.png").write_bytes(b"no picture")
    examples = [Example(str(tmp_path / "b.png"), "", "b"), Example(path, "", "a")]
    report = Report("here", 1)
    predictor = Predictor(network, tokenizer, max_length=LENGTH)
    answers, between = pivot(predictor, CAPTIONS, examples, tokenizer, AUDIO, BATCHES, report)
    assert answers[0] is between[0] is None and isinstance(answers[1], str) and list(report.skipped) == ["b"]


def test_an_empty_answer_is_answered_too(made, monkeypatch):
    _, tokenizer, network = made
    first = "t2t_mm.evaluation.pivot.predict"
    monkeypatch.setattr(first, lambda *given: ["", "a"] if len(given) == 8 else predict(*given))
    predictor = Predictor(network, tokenizer, max_length=LENGTH)
    examples = Lines().examples("dev", None)[:2]
    answers, _ = pivot(predictor, FRENCH, examples, tokenizer, AUDIO, BATCHES, Report("here", 0))
    assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers)


def test_an_evaluation_scores_both_answers(made):
    experiment, _, network = made
    given = experiment, network, {"class_names": {}}, Decoding(max_length=LENGTH)
    evaluated = Evaluator(*given, through="To-English", lines=True)(FRENCH, "dev")
    assert {"bleu", "bleu_pivot"} <= set(evaluated.figures)
    assert all({"answer", "pivot", "pivot_answer"} <= set(line) for line in evaluated.answers)
    without = Evaluator(*given)(FRENCH, "dev")
    assert without.figures == {name: value for name, value in evaluated.figures.items() if name != "bleu_pivot"}
    (table,) = (table for table in tables.declare()[1] if table.name == "zero_shot")
    assert all(len(row) == len(table.columns) for _, row in table.rows)
    assert table.rows[0][1][table.columns.index("through English: decoded")].metric == "bleu_pivot"


def test_what_cannot_be_answered_through_a_language_is_named(made):
    experiment, tokenizer, network = made
    assert has_pivot(FRENCH, "To-English") and not has_pivot(FRENCH, "To-French")
    with pytest.raises(ValueError, match="wmt_de_fr: it is answered with the command To-French, so there is no way through"):
        pivot(None, FRENCH, [], tokenizer, AUDIO, BATCHES, Report("here"), "To-French")
    with pytest.raises(RunError, match="None of wmt_de_fr has another command than To-French"):
        evaluate(experiment, "nowhere", through="To-French")
    with pytest.raises(RunError, match="Unknown command token 'To-Englsh' .did you mean To-English.*To-French"):
        Evaluator(experiment, network, {"class_names": {}}, Decoding(), through="To-Englsh")
