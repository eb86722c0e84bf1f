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
    # All settings are sacrebleu's defaults, which the signature spells out, so that scores can be compared (Post 2018, arXiv
    # 1804.08771).
    metric = sacrebleu.BLEU()
    # sacrebleu takes the first references of all examples, then the second ones, and so on, with None where an example has
    # fewer.
    references = itertools.zip_longest(*(example.accepted for example in examples))
    score = metric.corpus_score(list(predictions), list(references))
    return {"bleu": score.score, "bleu_signature": str(metric.get_signature())}


def bleu_of_each(predictions: Sequence[str], examples: Sequence[Example]) -> list[dict]:
    """Returns the BLEU of each example. Of short sentences, only the n-grams count that they can have ("effective order")."""
    metric = sacrebleu.BLEU(effective_order=True)
    return [
        {"bleu": metric.sentence_score(prediction, list(example.accepted)).score}
        for prediction, example in zip(predictions, examples, strict=True)
    ]
