"""Tests the hypotheses of a small model: scores, log-probabilities, attention weights and the page that shows them."""

import base64
import dataclasses
import functools
import io
import json
import re
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.treebank import delinearise
from t2t_mm.inference import answers_shown, attention_page
from t2t_mm.inference.predictor import Hypothesis, Looks, Predictor, hypotheses, predict
from t2t_mm.inference.search import length_penalty
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.tokenizer import END_ID, PADDING_ID, Tokenizer, train_vocabulary
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.modalities.audio import AudioInput
from t2t_mm.modalities.features import Arrays
from t2t_mm.modalities.image import ImageInput
from t2t_mm.modalities.modality import Modality
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem

TREE = "(S (NP DT NN )NP (VP VBD )VP . )S"
TEXTS = ["the cat sees a dog", "der Hund schläft", "le chien dort"] * 5
PARSING = Problem("parsing", None, "language", "tree", "To-Parse-Tree")
GERMAN = Problem("german", None, "language", "text", "To-German")
CAPTIONS = Problem("captions", None, "image", "text", "To-German")
SPEECH = Problem("speech", None, "audio", "text", "To-German")
SENTENCES = [Example(text, "", text) for text in ("the cat sees a dog", "a dog", "le chien dort .")]
AUDIO, BATCHES, BINS, LENGTH = AudioFeatures(bins=8), BatchSettings(image_size=32), 8, 24


def small(tokenizer, attend=True, reads="positions"):
    model = MultiModel(
        tokenizer.size, ("To-German", "To-Parse-Tree"), frequency_bins=BINS, depth=16, encoder_blocks=1, mixer_blocks=1,
        decoder_blocks=2, attention_block=functools.partial(AttentionBlock, heads=2, convs=1, attend=attend), mixtures=False,
        reads=reads,
        image=functools.partial(ImageInput, filters=(4, 8)),
        audio=functools.partial(AudioInput, blocks=2, least_width=4, frequencies="channels"),
    )  # fmt: skip
    model.build()
    # As a model starts, all tokens are almost equally likely, and which one a number belongs to would hardly show.
    kernel = model.language_out.weights[0]
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    return model


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("vocabulary") / "v.model")
    train_vocabulary(TEXTS, [f"<{symbol}>" for symbol in TREE.split()], path, size=320)
    return Tokenizer(path)


@pytest.fixture(scope="module")
def model(tokenizer):
    return small(tokenizer)


def ask(function, predictor, problem, tokenizer, examples=SENTENCES, **settings):
    return function(predictor, problem, examples, tokenizer, AUDIO, BATCHES, Report("x"), **settings)


def of_features(problem):
    """A batch of two images, or of two recordings, of which the second is shorter."""
    rng = np.random.default_rng(0)
    shape = (2, 32, 48, 3) if problem.inputs == "image" else (2, 30, BINS)
    lengths = np.array([[30], [17]])
    padding = np.zeros((2, 0), bool) if problem.inputs == "image" else np.arange(30) >= lengths
    return {"inputs": tf.constant(rng.normal(size=shape).astype("float32")), "input_padding": tf.constant(padding)}


def forced(model, tokenizer, problem, example, answer):
    """The log-probability of each token of an answer by a teacher-forced pass."""
    source = np.array([[*tokenizer.processor.EncodeAsIds(example.inputs), END_ID]])
    encoded, padding, _, _ = model.encode("language", source, source == PADDING_ID)
    ids = np.array([[tokenizer.processor.PieceToId(piece) for piece in answer.pieces]])
    logits, _ = model.decode_text(encoded, padding, problem.command, ids, ids == PADDING_ID)
    return tf.gather(tf.nn.log_softmax(logits), ids, batch_dims=2)[0]


@pytest.mark.parametrize("problem", [GERMAN, PARSING])
def test_a_score_is_the_sum_of_the_tokens_log_probabilities_over_the_penalty(tokenizer, model, problem):
    """And what one pass over the whole answer gives each of them, though the search, constrained or not, goes step by step."""
    constrained = problem is PARSING
    predictor = Predictor(model, tokenizer, 4, 0.6, LENGTH, constrain_trees=constrained, n_best=3)
    found = ask(hypotheses, predictor, problem, tokenizer, log_probs=True)
    assert [len(answers) for answers in found] == [3, 3, 3]
    for answers in found:
        scores = [one.score for one in answers]
        assert scores == sorted(scores, reverse=True) and len({tuple(one.pieces) for one in answers}) == 3
        for one in answers:
            assert len(one.pieces) == len(one.log_probs) and max(one.log_probs) < 0 and one.looks is None
            expected = sum(one.log_probs) / float(length_penalty(len(one.pieces), 0.6))
            assert one.score == pytest.approx(expected, abs=1e-3)
    for example, answers in zip(SENTENCES, found, strict=True):
        np.testing.assert_allclose(answers[1].log_probs, forced(model, tokenizer, problem, example, answers[1]), atol=1e-3)
    assert [answers[0].answer for answers in found] == ask(predict, predictor, problem, tokenizer)


def test_constrained_parses_are_trees_of_the_words_and_others_are_not(tokenizer, model):
    share = []
    for constrained in (False, True):
        predictor = Predictor(model, tokenizer, 3, 0.6, LENGTH, constrain_trees=constrained)
        answers = ask(predict, predictor, PARSING, tokenizer)
        share.append([delinearise(a.split(), e.inputs.split())[1] for a, e in zip(answers, SENTENCES)])
        texts = ask(predict, predictor, GERMAN, tokenizer)
    assert share == [[True] * 3, [False] * 3]
    assert texts == ask(predict, Predictor(model, tokenizer, 3, 0.6, LENGTH), GERMAN, tokenizer), "of parses alone"


def test_parses_with_words_are_trees_of_the_words_if_they_are_constrained(tokenizer, model):
    problem = dataclasses.replace(PARSING, words_in_trees=True)
    examples = [Example(text, "", text) for text in ("the\u00a0cat  sees a\u3000dog", "a <DT> dog", "schläft Ωζ", "the " * 30)]
    given = model, tokenizer, 3, 0.6, 60
    predictor = Predictor(*given, constrain_trees=True)
    answers = ask(predict, predictor, problem, tokenizer, examples)
    for answer, example in zip(answers[:3], examples):
        tree, repaired = delinearise(answer.split(), example.inputs.split())
        assert not repaired and tree.words() == example.inputs.split()
    reasons = [predictor.unconstrained(problem, example.inputs) for example in examples]
    assert reasons[:3] == ["", "", ""] and re.match(
        "30 words of 30 pieces, but a tree of at most 60 .* room for 56", reasons[3]
    )
    free = ask(predict, Predictor(*given), problem, tokenizer, examples)
    assert answers[3] == free[3] and answers[0] != free[0]
    # An answer has no words, even if one of them looks like a symbol.
    assert all(symbol in TREE.split() for answer in [*answers, *free] for symbol in answer.split())


def test_batches_decoded_at_the_same_time_have_the_same_answers(tokenizer, model):
    """In the order of the inputs, also where a later batch is done first, and none is lost at the end."""
    examples = [Example("the cat sees " * (1 + n % 4) + "a dog " * (7 - n), "", f"{n}") for n in range(7)]
    predictor = Predictor(model, tokenizer, 1, 0.6, LENGTH)
    waited = []

    def answers(problem, batch, words=()):
        waited.append(int(batch["index"][0]))
        time.sleep(0.2 if len(waited) == 1 else 0)  # the others pass the first one
        return Predictor.answers(predictor, problem, batch, words)

    settings = BatchSettings(positions=40)
    given = GERMAN, examples, tokenizer, AUDIO, settings, Report("x")
    in_turn = predict(predictor, *given)
    predictor.answers = answers
    assert predict(predictor, *given, at_once=3) == in_turn
    assert len(waited) > 3 and len(set(in_turn)) > 4 and None not in in_turn


def test_words_are_those_of_the_text_not_of_its_tokens(tokenizer, model):
    """In a batch beside a row that only fills it, and of a sentence that has other white space."""
    examples = [Example(text, "", text) for text in ("a\u00a0dog  sees\u3000the cat", "x")]
    predictor = Predictor(model, tokenizer, 1, 0.6, LENGTH, constrain_trees=True)
    settings = BatchSettings(positions=64, static_shapes=True)
    answers = predict(predictor, PARSING, examples, tokenizer, AUDIO, settings, Report("x"))
    assert [sum(symbol[0] not in "()" for symbol in answer.split()) for answer in answers] == [5, 1]


def test_a_sentence_without_room_is_answered_as_without_the_constraint(tokenizer, model):
    """And says so; the others of its batch are trees still."""
    given = model, tokenizer, 3, 0.6, 8
    predictor = Predictor(*given, constrain_trees=True, n_best=2)
    found = ask(hypotheses, predictor, PARSING, tokenizer, log_probs=True)
    free = ask(hypotheses, Predictor(*given, n_best=2), PARSING, tokenizer, log_probs=True)
    assert found[0] == free[0] and found[1] != free[1]
    repaired = [delinearise(one[0].answer.split(), e.inputs.split())[1] for one, e in zip(found, SENTENCES)]
    assert repaired == [True, False, False]
    reasons = [predictor.unconstrained(PARSING, example.inputs) for example in SENTENCES]
    assert reasons[0].startswith("5 words, but a tree of at most 8 tokens has room for 4: answered without the constraint")
    assert reasons[1:] == ["", ""] and predictor.unconstrained(GERMAN, "a " * 9) == ""


def test_more_answers_than_hypotheses_are_refused(tokenizer, model):
    with pytest.raises(ValueError, match="n_best is 3; it must be between 1 and the 2 hypotheses"):
        Predictor(model, tokenizer, 2, n_best=3)


@pytest.mark.parametrize("problem", [GERMAN, CAPTIONS, SPEECH])
def test_every_token_says_what_it_looked_at(tokenizer, model, problem):
    predictor = Predictor(model, tokenizer, 2, 0.6, 6, n_best=2)
    if problem is GERMAN:
        found = ask(hypotheses, predictor, problem, tokenizer, looks=True)
        grids, positions = [None] * 3, [len(tokenizer.processor.EncodeAsIds(one.inputs)) + 1 for one in SENTENCES]
    else:
        found = predictor.hypotheses(problem, of_features(problem), looks=True)
        # A patch has 8 x 8 pixels here, a moment four frames.
        grids = [(8, 12), (8, 12)] if problem is CAPTIONS else [(8, 1), (5, 1)]
        positions = [rows * columns for rows, columns in grids]
    for answers, grid, count in zip(found, grids, positions, strict=True):
        for one in answers:
            looks = one.looks
            assert looks.blocks == ["mixer/attention", "decoder/block1", "decoder/block2"] and looks.grid == grid
            assert looks.weights.shape == (3, len(one.pieces), count)
            np.testing.assert_allclose(looks.weights.sum(-1), 1, atol=1e-5)
            assert len(looks.pieces) == (count if problem is GERMAN else 0)
    if problem is SPEECH:
        assert [answers[0].looks.features.shape for answers in found] == [(30, BINS), (17, BINS)]


@pytest.mark.parametrize("attend", [False, "mean"])
def test_a_model_without_attention_looks_at_nothing(tokenizer, attend):
    with pytest.raises(RunError, match=rf"no attention \(attend={attend!r}\)"):
        ask(hypotheses, Predictor(small(tokenizer, attend=attend), tokenizer), GERMAN, tokenizer, looks=True)
    with pytest.raises(RunError, match=r"does not attend to positions of its source \(reads='mean'\), so there are no"):
        ask(hypotheses, Predictor(small(tokenizer, reads="mean"), tokenizer), GERMAN, tokenizer, looks=True)


def test_what_a_custom_modality_looks_at_is_not_shown(tokenizer, model):
    other = Problem("moves", None, Modality("sensors", AudioInput, (None, 3), Arrays(np.load)), "text", "To-German")
    with pytest.raises(RunError, match="The input of moves is sensors; attention weights are shown only for language, image"):
        Predictor(model, tokenizer).hypotheses(other, {}, looks=True)


def page_data(page):
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:|//)", page), "nothing is loaded"
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_holds_the_weights_and_no_text_ends_it(tokenizer):
    weights = np.array([[[0.25, 0.75], [1.0, 0.0]]], "float32")
    text = "</script><b>"
    one = Hypothesis("ein Hund", -1.0, ["▁ein", "▁Hund"], [], Looks(["decoder/block1"], weights, ["▁a", "</s>"], None, None))
    data = page_data(attention_page.page(GERMAN, [(text, one)], AUDIO))
    assert data[0]["input"] == text and data[0]["pieces"] == ["▁a", "</s>"] and data[0]["tokens"] == one.pieces
    np.testing.assert_allclose(data[0]["weights"], weights)


@pytest.mark.parametrize("problem", [CAPTIONS, SPEECH])
def test_the_page_holds_the_picture(problem):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(32, 48, 3) if problem is CAPTIONS else (100, BINS))
    looks = Looks(["decoder/block1"], np.full([1, 1, 6], 1 / 6), [], features, (2, 3) if problem is CAPTIONS else (6, 1))
    data = page_data(attention_page.page(problem, [("file", Hypothesis("ein", -1.0, ["▁ein"], [], looks))], AUDIO))[0]
    header, content = data["picture"].split(",")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert header == "data:image/png;base64" and (picture.min(), picture.max()) == (0, 255)
    expected = features if problem is CAPTIONS else features.T[::-1]  # low frequencies at the bottom
    assert picture.shape == expected.shape and np.corrcoef(picture.ravel(), expected.ravel())[0, 1] > 0.999
    assert problem is CAPTIONS or data["seconds"] == pytest.approx(1.0)  # 100 frames of 10 ms


def test_a_page_needs_answers_that_looked():
    with pytest.raises(ValueError, match="at least one answer"):
        attention_page.page(GERMAN, [], AUDIO)
    with pytest.raises(ValueError, match="'a dog' has no attention weights"):
        attention_page.page(GERMAN, [("a dog", Hypothesis("ein", -1.0, ["▁ein"], []))], AUDIO)


def test_answers_are_shown_and_written():
    text = Hypothesis("ein\r\nHund", -0.5, ["▁ein", "</s>"], [-0.25, -0.5])
    assert answers_shown.one_shown(GERMAN, "a dog", text.answer) == "ein Hund"
    assert answers_shown.several_shown(GERMAN, "a dog", [text], 3) == "-0.5000\tein Hund\n\n"
    tokens = [{"piece": "▁ein", "log_prob": -0.25}, {"piece": "</s>", "log_prob": -0.5}]
    assert answers_shown.objects(GERMAN, "a dog", [text]) == [
        {"answer": "ein\r\nHund", "score": -0.5, "log_prob": -0.75, "tokens": tokens}
    ]
    tree = Hypothesis("(NP DT", -1.0, [], [])
    assert answers_shown.one_shown(PARSING, "a dog", tree.answer).split("\n")[0] == "(NP (DT a) (XX dog))  (repaired)"
    assert answers_shown.several_shown(PARSING, "a dog", [tree], 1) == "-1.0000\t(NP (DT a) (XX dog))  (repaired)"
    found = answers_shown.objects(PARSING, "a dog", [tree])[0]
    assert (found["answer"], found["linearised"], found["repaired"]) == ("(NP (DT a) (XX dog))", "(NP DT", True)
    # Nobody has said what a recording contains: its path is no word of the tree.
    spoken = dataclasses.replace(SPEECH, targets="tree")
    whole = Hypothesis("(S (NP DT NN )NP VB )S", -1.0, [], [])
    assert answers_shown.one_shown(spoken, "a.wav", whole.answer).split("\n")[0] == "(S (NP (DT DT) (NN NN)) (VB VB))"
    found = answers_shown.objects(spoken, "a.wav", [whole])[0]
    assert (found["answer"], found["repaired"]) == ("(S (NP (DT DT) (NN NN)) (VB VB))", False)
    names, log_probs = list("abcdefg"), np.log([0.1, 0.4, 0.05, 0.2, 0.02, 0.2, 0.03])
    assert answers_shown.classes_shown(log_probs, names).split("\n") == [
        "b\t40.0%", "d\t20.0%", "f\t20.0%", "a\t10.0%", "c\t5.0%"
    ]  # fmt: skip
    first = answers_shown.class_objects(log_probs, names)[0]
    assert first == {"answer": "b", "log_prob": pytest.approx(np.log(0.4))}
