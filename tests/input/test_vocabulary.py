"""Tests vocabularies: from a sample of large corpora, from the whole of small ones, and always with all tree symbols."""

from t2t_mm.corpora.example import Example
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.input.vocabulary import _sample, build_vocabulary
from t2t_mm.problem import Problem


class Source:
    def __init__(self, *pairs):
        self.pairs = pairs

    def examples(self, split, report):
        assert split == "train"
        return [Example(inputs, targets, f"s:{n}") for n, (inputs, targets) in enumerate(self.pairs)]


def test_all_text_and_every_symbol(tmp_path):
    text = Problem("t", Source(*[("zebra zebra", "quagga quagga")] * 9), "language", "text", "c")
    trees = Problem("p", Source(*[("a b", "(S A B )S")] * 9, ("c", "(RARE C )RARE")), "language", "tree", "c")
    build_vocabulary([text, trees], str(tmp_path / "v.model"), 300, most=9)
    tokenizer = Tokenizer(str(tmp_path / "v.model"))
    pieces = {tokenizer.processor.IdToPiece(i) for i in range(tokenizer.size)}
    assert {"<(S>", "<)S>", "<(RARE>", "<C>"} <= pieces and {"▁zebra", "▁quagga"} <= pieces


def test_a_sample_is_uniform_and_repeatable():
    assert _sample(range(5), 5) == [0, 1, 2, 3, 4]
    kept = _sample(iter(range(10000)), 500)
    assert len(set(kept)) == 500 and kept == _sample(range(10000), 500)
    assert 4500 < sum(kept) / 500 < 5500
