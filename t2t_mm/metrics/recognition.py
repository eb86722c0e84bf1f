"""Word error rate of transcripts."""

import re
from collections.abc import Sequence

import jiwer

from t2t_mm.corpora.example import Example

# Marks that the usual scoring of WSJ removes from both sides.
_NOISES = re.compile(r"<NOISE>|<SPOKEN_NOISE>|<UNK>", re.IGNORECASE)
_LENGTHENING = re.compile(r"[:*]")  # marks inside a word: `lo:ng` is the word `long`


def wer(predictions: Sequence[str], examples: Sequence[Example]) -> dict:
    """Returns (substitutions + deletions + insertions) / reference words over the corpus, in percent, and the three counts.

    Case is ignored, and a missing hypothesis counts as empty. Of several references of an example, the one with the lowest
    error rate counts. If a reference has no words, the words of the hypothesis are insertions, as in sclite and jiwer. If no
    reference has words, there is no rate, and only the counts are returned.
    """
    if not examples:
        return {}
    pairs = [
        _nearest([normalise(reference) for reference in example.accepted], normalise(prediction or ""))
        for prediction, example in zip(predictions, examples, strict=True)
    ]
    # An empty reference has no words to be aligned; its insertions are added below.
    spoken = [pair for pair in pairs if pair[0]]
    counts = {"substitutions": 0, "deletions": 0, "insertions": 0}
    if spoken:
        references, hypotheses = (list(side) for side in zip(*spoken))
        counted = jiwer.process_words(references, hypotheses)
        counts = {name: getattr(counted, name) for name in counts}
    counts["insertions"] += sum(len(hypothesis.split()) for reference, hypothesis in pairs if not reference)
    # The denominator is that of the whole set: the rate is not a mean over sentences.
    words = sum(len(reference.split()) for reference, _ in pairs)
    return ({"wer": 100 * sum(counts.values()) / words} if words else {}) | counts


def _nearest(references: list[str], hypothesis: str) -> tuple[str, str]:
    """Returns the reference with the lowest error rate, and the hypothesis."""
    spoken = [reference for reference in references if reference]  # one without words has no rate
    if len(references) == 1 or hypothesis in references or not spoken:
        return hypothesis if hypothesis in references else references[0], hypothesis
    return min(spoken, key=lambda reference: jiwer.wer(reference, hypothesis)), hypothesis


def normalise(text: str) -> str:
    # Noises become spaces and lengthening marks nothing, because the latter are inside words.
    return " ".join(_LENGTHENING.sub("", _NOISES.sub(" ", text)).lower().split())
