"""Tests files of answers for each kind of problem, and that their scores equal those of the evaluation."""

import json
import statistics

import numpy as np
import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example
from t2t_mm.evaluation import answers
from t2t_mm.metrics.captioning import captions
from t2t_mm.metrics.classification import top_k
from t2t_mm.metrics.parsing import bracket_f1
from t2t_mm.metrics.translation import bleu
from t2t_mm.problem import Problem

GERMAN = Problem("en_de", None, "language", "text", "To-German", (bleu,))
CAPTIONS = Problem("coco", None, "image", "text", "To-English", (captions,))
TREES = Problem("parsing", None, "language", "tree", "To-Parse-Tree", (bracket_f1,))
ANIMALS = Problem("animals", None, "image", "class", "To-Class", (top_k,))
PLAIN = Problem("plain", None, "language", "text", "To-English")
NAMES = [f"animal {index}" for index in range(8)]


def ranking(*best):
    scores = np.full(8, -9.0)
    scores[list(best)] = -np.arange(len(best), dtype=float)
    return scores


CASES = {
    GERMAN: (
        ["das ist ein rotes Haus", "die Katze läuft gern weit"],
        [Example("this is a red house", "das ist ein rotes Haus", "f:1"),
         Example("the cat sleeps well", "die Katze schläft sehr gut", "f:2")],
    ),
    CAPTIONS: (
        ["a red cup", "a cat and a dog", "two birds"],
        [Example("a.jpg", "a red cup", "a.jpg", ("a red cup", "one cup")), Example("b.jpg", "a cat", "b.jpg", ("a cat",)),
         Example("c.jpg", "three birds", "c.jpg", ("three birds", "some birds"))],
    ),
    TREES: (
        ["(S (NP NN )NP (VP VB )VP )S", "(S NN VB"],
        [Example("cats sleep", "(S (NP NN )NP (VP VB )VP )S", "f:1"),
         Example("dogs run", "(S (NP NN )NP (VP VB )VP )S", "f:2")],
    ),
    ANIMALS: (
        [ranking(3, 1, 2, 4, 5), ranking(1, 0, 4, 2, 5), ranking(6, 5, 4, 3, 2)],
        [Example("x.jpg", 3, "x.jpg"), Example("y.jpg", 0, "y.jpg"), Example("z.jpg", 7, "z.jpg")],
    ),
    PLAIN: (["a", "b"], [Example("x", "a", "f:1"), Example("y", "c", "f:2")]),
}  # fmt: skip


@pytest.mark.parametrize("problem", CASES, ids=lambda problem: problem.name)
def test_the_score_from_the_file_is_that_of_the_answers(problem, tmp_path):
    predictions, examples = CASES[problem]
    names = NAMES if problem.targets == "class" else None
    bad = Example("bad", examples[0].targets, "f:9")
    with_bad = [predictions[0], None, *predictions[1:]], [examples[0], bad, *examples[1:]]
    lines = answers.lines(problem, "test", *with_bad, names, {"f:9": "truncated"}, {0: 0.5})
    path = str(tmp_path / "answers" / "one.jsonl")
    answers.write(path, lines)
    found = answers.read(path)
    expected = answers.score(problem.metrics, predictions, examples)
    assert answers.score(problem.metrics, found.predictions, found.examples) == pytest.approx(expected)
    assert found.problem == problem.name and found.skipped == 1
    written = [json.loads(line) for line in open(path, encoding="utf-8")]
    assert written == lines and [line["origin"] for line in written] == [example.origin for example in with_bad[1]]
    assert written[1]["skipped"] == "truncated" and "answer" not in written[1] and written[0]["log_perplexity"] == 0.5
    assert written[0]["score"] and all(isinstance(value, float) for value in written[0]["score"].values())


def test_without_a_metric_the_likeliest_class_is_the_answer():
    assert answers.score((), *CASES[ANIMALS]) == pytest.approx({"exact_match": 100 / 3})


def test_each_answer_needs_its_example():
    with pytest.raises(ValueError, match="zip"):
        answers.exact_match(["a", "b"], [Example("x", "a", "f:1")])


def test_what_a_line_says():
    predictions, examples = CASES[ANIMALS]
    first, second, _ = answers.lines(ANIMALS, "dev", predictions, examples, NAMES, {}, {})
    assert first == {
        "problem": "animals", "split": "dev", "origin": "x.jpg", "input": "x.jpg", "reference": "animal 3",
        "answer": "animal 3", "ranked": [f"animal {index}" for index in (3, 1, 2, 4, 5)],
        "score": {"top1": 100.0, "top5": 100.0},
    }  # fmt: skip
    assert second["score"] == {"top1": 0.0, "top5": 100.0}
    shown = answers.lines(CAPTIONS, "dev", *CASES[CAPTIONS], None, {}, {})
    assert shown[0]["references"] == ["a red cup", "one cup"]
    whole = answers.score((captions,), *CASES[CAPTIONS])["cider"]
    assert np.mean([line["score"]["cider"] for line in shown]) == pytest.approx(whole, abs=1e-3) and whole > 0.5


def test_another_systems_answers_need_reference_and_answer_alone(tmp_path):
    path = tmp_path / "theirs.jsonl"
    text = "the cat sleeps on it"
    rows = [{"reference": text, "answer": text, "their_score": 3}, {"reference": "a", "answer": None}]
    path.write_text("\ufeff" + "\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    found = answers.read(str(path))
    assert found.predictions == [text, ""] and found.problem == ""
    assert answers.score([answers.METRICS["exact_match"]], found.predictions, found.examples) == {"exact_match": 50.0}
    # Names of classes without a ranking: one that is wrong is not among the five likeliest.
    rows = [{"reference": name, "answer": answer} for name, answer in zip("abcdefgh", "hbcdefgh")]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = answers.read(str(path), classes=True)
    assert answers.score((top_k,), found.predictions, found.examples) == {"top1": 87.5, "top5": 87.5}


@pytest.mark.parametrize("named, top5", [("a", 100), ("b", 0), (None, 0)])
def test_few_classes_are_no_advantage(tmp_path, named, top5):
    """In a file with one or two of them, a wrong answer must not become one of the five likeliest."""
    path = tmp_path / "theirs.jsonl"
    path.write_text(json.dumps({"reference": "a", "answer": named}))
    found = answers.read(str(path), classes=True)
    given = found.predictions, found.examples
    assert answers.score((top_k, answers.exact_match), *given) == {"top1": top5, "top5": top5, "exact_match": top5}


def test_a_short_answer_has_a_score_of_its_own():
    short = [Example("Thanks.", "Danke.", "f:1"), Example("Well?", "Und?", "f:2", ("Und?", "Nun ?"))]
    scores = answers.score_each((bleu,), ["Danke.", "Nun ?"], short)
    assert scores == [{"bleu": pytest.approx(100)}] * 2
    assert answers.score_each((bleu,), ["Bitte !", "Nun"], short)[0]["bleu"] < 10


def test_a_metric_of_whole_sets_scores_no_single_example(caplog):
    def spread(predictions, examples):
        return {"spread": statistics.stdev(map(len, predictions))}

    predictions, examples = CASES[PLAIN]
    assert answers.score((spread,), ["a", "bcd"], examples)["spread"] == pytest.approx(2**0.5)
    assert answers.score_each((spread, answers.exact_match), predictions, examples) == [
        {"exact_match": 100.0}, {"exact_match": 0.0}
    ]  # fmt: skip
    assert "spread does not score single examples" in caplog.text


def test_every_reference_is_an_exact_match():
    example = Example("x", "one cup", "f:1", ("one cup", "a cup"))
    assert [answers.exact_match([answer], [example])["exact_match"] for answer in ("one cup", "a cup", "cup")] == [100, 100, 0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", r"f.jsonl:1: not JSON"),
        ('{"reference": "a", "answer": "b"}\n["a"]', r"f.jsonl:2: not an object but list"),
        ('{"reference": "a", "output": "b"}', r'f.jsonl:1: lacks "answer"; it has reference, output'),
        ('{"reference": 3, "answer": "b"}', r'f.jsonl:1: "reference" is 3; it must be a text'),
        (
            '{"reference": "a", "answer": "b", "references": "a"}',
            r"""f.jsonl:1: "references" is 'a'; it must be a list of texts""",
        ),
        ('{"reference": "a", "answer": "b", "ranked": [1]}', r'f.jsonl:1: "ranked" is \[1\]; it must be a list of texts'),
        ('{"reference": "a", "answer": "b", "input": 7}', r'f.jsonl:1: "input" is 7; it must be a text or a list of texts'),
        ("\n", "f.jsonl: contains no answers"),
    ],
)
def test_a_file_that_cannot_be_scored_names_the_line(tmp_path, text, message):
    (tmp_path / "f.jsonl").write_text(text)
    with pytest.raises(RunError, match=message):
        answers.read(str(tmp_path / "f.jsonl"))
    with pytest.raises(RunError, match="nowhere.jsonl: No such file"):
        answers.read(str(tmp_path / "nowhere.jsonl"))
