"""BLEU of translations."""

from collections.abc import Sequence

import sacrebleu

from t2t_mm.corpora.example import Example


def bleu(predictions: Sequence[str], examples: Sequence[Example]) -> dict:
    """Returns the corpus BLEU-4 of detokenised, cased text from sacrebleu (13a), with its signature (Post 2018)."""
    if not examples:
        return {}
    metric = sacrebleu.BLEU()
    score = metric.corpus_score(list(predictions), [[example.target_text for example in examples]])
    return {"bleu": score.score, "bleu_signature": str(metric.get_signature())}
