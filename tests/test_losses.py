import math

import numpy as np
import pytest

from t2t_mm.losses import contrast, cross_entropy, problem_loss
from t2t_mm.problem import Problem
from t2t_mm.training.schedule import InverseSquareRoot


def test_cross_entropy_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]], "float32"))
    smoothed, plain = cross_entropy(logits, np.array([0, 2]), label_smoothing=0.1)
    np.testing.assert_allclose(plain, [-math.log(0.7), -math.log(0.5)], rtol=1e-5)
    rest = [-(math.log(0.7) + math.log(0.2) + math.log(0.1)) / 3, -(2 * math.log(0.25) + math.log(0.5)) / 3]
    np.testing.assert_allclose(smoothed, 0.9 * np.asarray(plain) + 0.1 * np.array(rest), rtol=1e-5)


class Fixed:
    """A model that answers with given logits and balance vectors."""

    def __init__(self, logits, encoder, decoder):
        self.logits, self.balances = logits, (encoder, decoder)

    def encode(self, modality, inputs, padding, command, training):
        return inputs, padding, None, self.balances[0]

    def decode_text(self, encoded, padding, command, targets, target_padding, training):
        return self.logits, self.balances[1]

    def decode_classes(self, encoded, padding, grid, command, labels, training):
        return self.logits, self.balances[1]


def vector(*numbers):
    return np.array(numbers, "float32")


def test_the_loss_of_a_problem_by_hand():
    """Two sequences, of two tokens and of one with padding behind it, which would count were it not left out."""
    p = np.array([[[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], [[0.1, 0.8, 0.1], [0.98, 0.01, 0.01]]], "float32")
    batch = {
        "inputs": None, "input_padding": None, "targets": np.array([[0, 1], [1, 2]]),
        "target_padding": np.array([[False, False], [False, True]]),
    }  # fmt: skip
    encoder = {"importance": vector(1, 3), "load": vector(2, 2)}
    decoder = {"importance": vector(5, 5), "load": vector(0, 6)}
    problem = Problem("x", None, "language", "text", "To-X")
    model = Fixed(np.log(p), encoder, decoder)
    plain = -math.log(0.5) - math.log(0.2) - math.log(0.8)
    spread = -sum(math.log(x) for x in (0.5, 0.25, 0.25, 0.2, 0.2, 0.6, 0.1, 0.8, 0.1)) / 3
    importance, load = 1 / 4, 9 / 9  # variances over squared means: (1, 3) and (0, 6); those of equals are zero
    for smoothing, weight in ((0.0, 0.0), (0.0, 0.01), (0.1, 0.5)):
        loss, figures = problem_loss(model, problem, batch, smoothing, weight)
        expected = ((1 - smoothing) * plain + smoothing * spread) / 3 + weight * (importance + load)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        assert float(figures["loss"]) == pytest.approx(plain / 3, rel=1e-5)
        assert float(figures["accuracy"]) == pytest.approx(2 / 3, rel=1e-5)
        assert float(figures["importance_loss"]) == pytest.approx(importance, rel=1e-5)
        assert float(figures["load_loss"]) == pytest.approx(load, rel=1e-5)
        np.testing.assert_array_equal(figures["decoder/load"], [0, 6])


def test_rows_that_fill_a_batch_of_pictures_do_not_count():
    p = np.array([[0.5, 0.5], [0.75, 0.25], [0.01, 0.99]], "float32")
    batch = {"inputs": None, "input_padding": None, "targets": np.array([1, 0, 0]), "index": np.array([4, 0, -1])}
    problem = Problem("x", None, "image", "class", "To-X")
    loss, figures = problem_loss(Fixed(np.log(p), None, None), problem, batch, 0.0, 1.0)
    assert float(loss) == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2, rel=1e-5)
    assert float(figures["accuracy"]) == pytest.approx(1 / 2)
    # On a replica whose share is empty the count is the mean of all replicas'.
    loss, _ = problem_loss(Fixed(np.log(p), None, None), problem, batch, 0.0, 1.0, mean=lambda x: 4 * x)
    assert float(loss) == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 8, rel=1e-5)


def test_the_contrast_is_the_cross_entropy_of_finding_the_other_side():
    """Two examples and a filling, which is no candidate. The lengths of the vectors do not matter."""
    one, other = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([[3.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
    scores = np.array([[1.0, 0.6], [0.0, 0.8]]) / 0.5
    p = np.exp(scores)
    there = [p[0, 0] / p[0].sum(), p[1, 1] / p[1].sum()]
    back = [p[0, 0] / p[:, 0].sum(), p[1, 1] / p[:, 1].sum()]
    expected = -np.mean(np.log([there, back]))
    assert float(contrast(one, other, vector(1, 1, 0), temperature=0.5)) == pytest.approx(expected, rel=1e-5)
    assert float(contrast(one, other, vector(0, 0, 0))) == 0


@pytest.mark.parametrize("targets", ["text", "tree"])
def test_texts_are_contrasted_with_their_inputs_and_trees_are_not(targets):
    p = np.array([[[0.5, 0.5], [0.2, 0.8]], [[0.1, 0.9], [0.98, 0.02]]], "float32")
    batch = {
        "inputs": np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [5.0, 5.0]]], "float32"),
        "input_padding": np.array([[False, False], [False, True]]),
        "targets": np.array([[0, 1], [1, 0]]), "target_padding": np.array([[False, False], [False, True]]),
    }  # fmt: skip

    class Reading(Fixed):
        """It also encodes the target: as two opposite vectors, in which each of the two examples finds its own."""

        def encode(self, modality, inputs, padding, command, training):
            if inputs is batch["targets"]:
                assert (modality, command, training) == ("language", "To-X", True) and padding is batch["target_padding"]
                return np.array([[[2.0, 0.0]] * 2, [[0.0, 3.0]] * 2], "float32"), padding, None, None
            return super().encode(modality, inputs, padding, command, training)

    problem = Problem("x", None, "language", targets, "To-X")
    plain, _ = problem_loss(Fixed(np.log(p), None, None), problem, batch, 0.0, 0.0)
    loss, figures = problem_loss(Reading(np.log(p), None, None), problem, batch, 0.0, 0.0, contrast_weight=0.5)
    if targets == "tree":
        assert "contrast_loss" not in figures and float(loss) == float(plain)
        return
    expected = contrast(np.array([[0.5, 0.5], [0.0, 1.0]]), np.eye(2), vector(1, 1))
    assert float(figures["contrast_loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(loss) == pytest.approx(float(plain) + 0.5 * float(expected), rel=1e-5)


def test_schedule_rises_falls_and_ends():
    rate = InverseSquareRoot(peak=1.0, warmup_steps=4, total_steps=20, decay_steps=10)
    np.testing.assert_allclose([float(rate(s)) for s in (0, 1, 3)], [0.25, 0.5, 1.0])
    np.testing.assert_allclose(float(rate(9)), math.sqrt(4 / 10), rtol=1e-6)
    np.testing.assert_allclose(float(rate(19)), math.sqrt(4 / 20) * 0.1, rtol=1e-6)
    assert float(rate(20)) == 0.0


@pytest.mark.parametrize("steps", [2, 3, 7, 500])
def test_a_run_of_any_length_warms_up_and_decays_without_further_settings(steps):
    rate = InverseSquareRoot(peak=1.0, total_steps=steps)
    rates = [float(rate(step)) for step in range(steps)]
    assert max(rates) <= 1.0 and min(rates) > 0.0
    assert rates[-1] == min(rates) and float(rate(steps)) == 0.0
    assert (rate.warmup_steps, rate.decay_steps) == (max(round(0.2 * steps), 1), round(0.4 * steps))


def test_a_run_shorter_than_its_decay_decays_from_the_first_step():
    rate = InverseSquareRoot(peak=1.0, warmup_steps=1, total_steps=2, decay_steps=450)
    np.testing.assert_allclose([float(rate(s)) for s in (0, 1, 2)], [1.0, 0.5 * math.sqrt(0.5), 0.0], rtol=1e-6)


@pytest.mark.parametrize("settings", [{"peak": 0.0}, {"warmup_steps": 0}, {"decay_steps": 6}, {"decay_share": 2.0}])
def test_bad_schedules_are_refused(settings):
    with pytest.raises(ValueError, match=list(settings)[-1]):
        InverseSquareRoot(**settings)
