"""Word error rate of transcripts."""

import re
from collections.abc import Sequence

import jiwer

from t2t_mm.corpora.example import Example

# What the usual scoring of WSJ takes out of both sides.
_NOT_SCORED = re.compile(r"<NOISE>|<SPOKEN_NOISE>|<UNK>|[:*]", re.IGNORECASE)


def wer(predictions: Sequence[str], examples: Sequence[Example]) -> dict:
    """(Substitutions + deletions + insertions) / reference words over the corpus, in percent, and the three counts.

    Case is not looked at; a missing hypothesis counts as empty. Utterances without a word to score are left out.
    """
    pairs = [
        (normalise(example.targets), normalise(prediction or ""))
        for prediction, example in zip(predictions, examples, strict=True)
    ]
    references, hypotheses = zip(*[pair for pair in pairs if pair[0]])
    counted = jiwer.process_words(list(references), list(hypotheses))
    return {
        "wer": 100 * counted.wer,
        "substitutions": counted.substitutions,
        "deletions": counted.deletions,
        "insertions": counted.insertions,
    }


def normalise(text: str) -> str:
    return " ".join(_NOT_SCORED.sub(" ", text).lower().split())
