"""Tests the summary of an evaluation: a row for each problem, a verdict, and an answer to each kind of input."""

import pytest

from t2t_mm.lab import summary

RECORD = {
    "step": 240,
    "training_minutes": 6.4,
    "results": {
        "wsj_speech": {"log_perplexity": 3.0, "wer": 101.5, "examples": 20},
        "wmt_en_de": {"log_perplexity": 2.0, "bleu": 3.25},
        "mine": {"log_perplexity": 1.5},
    },
    "baselines": {"wsj_speech": {"baseline": "empty", "wer": 100.0}, "wmt_en_de": {"bleu": 0.5}},
    "samples": {
        "wsj_speech": [{"input": "/mini/a.wv1", "target": "a cat", "output": "the cat"}, {"input": "second"}],
        "wmt_en_de": [{"input": "A cat.", "target": "Eine Katze.", "output": "Die Katze."}],
    },
}


def test_each_problem_has_its_metric_its_baseline_and_whether_it_is_better():
    assert summary.rows(RECORD) == [
        ("wsj_speech", "wer", 101.5, 100.0, False),  # an error rate: lower is better
        ("wmt_en_de", "bleu", 3.25, 0.5, True),
        ("mine", "log_perplexity", 1.5, None, None),
    ]
    assert len(summary.table(RECORD).splitlines()) == 4 and "not yet better (lower is better)" in summary.table(RECORD)


def test_verdict_and_answers():
    text = summary.summary(RECORD)
    assert "Trained for 240 steps (6 minutes), the model beats the trivial baseline on 1 of 2 problems." in text
    assert "/mini/a.wv1" in text and "second" not in text and "Die Katze." in text
    assert "nothing to compare" in summary.verdict(RECORD | {"baselines": {}})


def test_page_has_a_row_for_each_problem():
    record = RECORD | {
        "command": "python bin/evaluate.py", "commit": "abc", "date": "2026-01-01", "cores": 2, "minutes": 1.0, "seed": 0,
        "versions": {}, "training_loss": {"wmt_en_de": {"1": 7.0, "240": 2.5, "40": 4.0}}, "failed": {"imagenet": "no corpus"},
    }  # fmt: skip
    record["results"] = {
        **RECORD["results"],
        "wsj_parsing": {"log_perplexity": 0.5, "f1": 80.0, "recall": 75.0, "signature": "a|b", "examples": 7},
    }
    record["baselines"] = {**RECORD["baselines"], "wsj_parsing": {"f1": 30.0, "recall": 20.0}}
    lines = summary.page(record).splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith(("| w", "| m"))] == [
        "| wsj_speech", "| wmt_en_de", "| mine", "| wsj_parsing", "| wmt_en_de",
    ]  # fmt: skip
    assert "| wsj_parsing | f1 | 80.00 | 30.00 | 0.50 |  |  | 7 | recall 75.00 (20.00), signature `a b` |" in lines
    assert "| wmt_en_de | 7.00 | 4.00 | 2.50 |" in lines and "**imagenet** was not evaluated: no corpus." in lines
    assert "- output: Die Katze." in lines


@pytest.mark.parametrize("minutes, words", [(0.4, "less than a minute"), (1.2, "1 minute"), (11.6, "12 minutes")])
def test_the_verdict_names_the_time_in_words(minutes, words):
    record = {"results": {"x": {"bleu": 3.0}}, "baselines": {"x": {"bleu": 2.0}}, "step": 3, "training_minutes": minutes}
    assert summary.verdict(record).startswith(f"Trained for 3 steps ({words}), the model beats the trivial baseline on 1 of 1")
