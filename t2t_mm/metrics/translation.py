"""BLEU of translations."""

import itertools
from collections.abc import Sequence

import sacrebleu

from t2t_mm.corpora.example import Example


def bleu(predictions: Sequence[str], examples: Sequence[Example]) -> dict:
    """Returns the corpus BLEU-4 of detokenised, cased text from sacrebleu (13a), with its signature (Post 2018).

    All references of an example count; an example without any has its target as the only one.
    """
    if not examples:
        return {}
    metric = sacrebleu.BLEU()
    references = itertools.zip_longest(*(example.references or (example.target_text,) for example in examples))
    score = metric.corpus_score(list(predictions), list(references))
    return {"bleu": score.score, "bleu_signature": str(metric.get_signature())}
