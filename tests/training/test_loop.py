"""The joint loop on a corpus of a few lines: same seed same run, killed and resumed the same run, bad input named."""

import functools

import numpy as np
import pytest

from t2t_mm.data.example import CorpusError, Example, TooManyBadExamples
from t2t_mm.data.pipeline import BatchSettings
from t2t_mm.data.vocabulary import build_vocabulary
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.model import MultiModel
from t2t_mm.problems import paper
from t2t_mm.problems.problem import Problem
from t2t_mm.training import loop
from t2t_mm.training.schedule import InverseSquareRoot

ENGLISH = [f"the {a} {b} sees a {c}" for a in ("old", "red") for b in ("cat", "dog", "bird") for c in ("car", "tree")]


@pytest.fixture
def corpora(tmp_path):
    folder = tmp_path / "wmt" / "en-de"
    folder.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (folder / f"{split}.en").write_text("\n".join(ENGLISH) + "\n")
        (folder / f"{split}.de").write_text("\n".join(line.upper() for line in ENGLISH) + "\n")
    return tmp_path


class Reversal:
    """A ninth problem's source, written outside the package."""

    def examples(self, split, report):
        return [Example(line, line[::-1], f"reversal:{i}") for i, line in enumerate(ENGLISH)]


def problems_of(corpora):
    return [
        paper.wmt_en_de(str(corpora)),
        Problem("reversal", Reversal(), "language", "text", "To-Reverse"),
    ]


def train(corpora, name, steps, problems=None, **settings):
    problems = problems or problems_of(corpora)
    vocabulary = corpora / "vocabulary.model"
    if not vocabulary.exists():
        build_vocabulary(problems, str(vocabulary), size=310)
    model = functools.partial(
        MultiModel,
        depth=16,
        encoder_blocks=2,
        mixer_blocks=1,
        decoder_blocks=2,
        conv_block=functools.partial(ConvBlock, dropout=0.1),
        attention_block=functools.partial(AttentionBlock, heads=2, convs=1),
        mixture=functools.partial(MixtureOfExperts, num_experts=3, chosen=2, hidden=8),
    )
    return loop.train(
        problems,
        str(vocabulary),
        str(corpora / name),
        steps,
        **{
            "model": model,
            "schedule": functools.partial(InverseSquareRoot, 1e-2, 5),
            "batches": BatchSettings(positions=128, shuffle=8, max_length=64),
            "save_steps": 2,
            **settings,
        },
    )


def weights(model):
    return np.concatenate([w.numpy().ravel() for w in model.trainable_variables])


def test_a_resumed_run_is_the_run_that_was_never_stopped(corpora):
    whole = weights(train(corpora, "whole", 4))
    train(corpora, "parts", 2)
    # Data order, dropout, gate noise and Adam's moments all continue; the rest is the order of float sums.
    np.testing.assert_allclose(weights(train(corpora, "parts", 4)), whole, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_with_problem_and_step(corpora):
    with pytest.raises(loop.TrainingError, match=r"(wmt_en_de|reversal): loss is nan at step \d"):
        train(corpora, "broken", 6, schedule=functools.partial(InverseSquareRoot, 1e38, 1), log_steps=1)


def test_bad_lines_beyond_the_threshold_stop_the_run(corpora):
    path = corpora / "wmt" / "en-de" / "train.de"
    build_vocabulary(problems_of(corpora), str(corpora / "vocabulary.model"), size=310)
    path.write_bytes(b"\n".join([b"\xff\xfe"] * len(ENGLISH)) + b"\n")
    with pytest.raises(TooManyBadExamples, match="train.de"):
        train(corpora, "bad", 1, max_bad_examples=3)


def test_a_missing_corpus_says_where_it_looked_and_what_to_use_instead(corpora):
    build_vocabulary(problems_of(corpora), str(corpora / "vocabulary.model"), size=310)
    with pytest.raises(CorpusError, match="nowhere.*make_mini"):
        train(corpora, "none", 1, problems=[paper.wmt_en_de(str(corpora / "nowhere"))])


def test_a_problem_named_twice_is_refused(corpora):
    with pytest.raises(loop.TrainingError, match="twice"):
        train(corpora, "twice", 1, problems=[paper.wmt_en_de(str(corpora))] * 2)
