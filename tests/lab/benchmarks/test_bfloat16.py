"""Tests the figures of the bfloat16 benchmark with made-up runs."""

import pytest

from t2t_mm.lab.benchmarks.bfloat16 import summary


def test_mean_and_sample_deviation_over_the_seeds():
    def figures(log_perplexity):
        return {"log_perplexity": log_perplexity, "token_accuracy": 50.0}

    runs = [{"one": figures(1.0), "two": figures(5.0)}, {"one": figures(2.0), "two": figures(6.0)}]
    found = summary({"float32": runs, "mixed_bfloat16": runs[:1]})
    assert found["one"]["float32_log_perplexity_mean"] == pytest.approx(1.5)
    assert found["one"]["float32_log_perplexity_deviation"] == pytest.approx(0.5**0.5)
    assert found["mean of all problems"]["float32_log_perplexity_mean"] == pytest.approx(3.5)
    assert found["mean of all problems"]["float32_log_perplexity_deviation"] == pytest.approx(0.5**0.5)
    assert found["two"]["mixed_bfloat16_token_accuracy_mean"] == 50.0
    assert "mixed_bfloat16_token_accuracy_deviation" not in found["two"]
