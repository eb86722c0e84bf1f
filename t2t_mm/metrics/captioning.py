"""CIDEr-D and BLEU-4 of captions, in the style of the COCO evaluation."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sacrebleu

from t2t_mm.corpora.example import Example

_ORDERS = 4
_SIGMA = 6.0
# Penn Treebank tokens that matter without punctuation: words, numbers, times, and clitics as words of their own. A quote
# before a word opens it, unless the word is one of those that begin with an apostrophe.
_CLITIC = re.compile(r"(?<=\w)('s|'re|'ve|'d|'m|'ll|n't)\b")
_TOKEN = re.compile(r"n't|'n'|'(?:s|re|ve|d|m|ll|em|n|til|cause|tis|twas|\d\ds)\b|\d+(?::\d+)+|\w+(?:[-./,]\w+)*")


def tokens(text: str) -> list[str]:
    """Approximately the lower-case Penn Treebank tokens without punctuation that the COCO evaluation counts.

    Its own tokenizer is the PTBTokenizer of Stanford CoreNLP 3.4.1, in Java. Of 255 captions of COCO, these are its tokens;
    of the 22,007 different English captions of Multi30k's two samples 47 differ, in 71 of 257,360 tokens: abbreviations
    keep their full stop there (`st.`), `&` and `#` are tokens, and so are brackets (`-lrb-`).
    """
    return _TOKEN.findall(_CLITIC.sub(r" \1", text.lower()))


def captions(predictions: Sequence[str], examples: Sequence[Example]) -> dict:
    """CIDEr-D and BLEU-4 of one caption an image against all its references; images without any do not count."""
    pairs = [pair for pair in zip(predictions, examples, strict=True) if pair[1].references]
    if not pairs:
        return {}
    candidates = [tokens(prediction or "") for prediction, _ in pairs]
    references = [[tokens(reference) for reference in example.references] for _, example in pairs]
    return {"cider": cider_d(candidates, references), "bleu4": bleu4(candidates, references)}


def captions_of_each(predictions: Sequence[str], examples: Sequence[Example]) -> list[dict]:
    """CIDEr-D of each caption by itself, its n-grams weighed over the whole set; of an image without references nothing."""
    places = [place for place, example in enumerate(examples) if example.references]
    candidates = [tokens(predictions[place] or "") for place in places]
    references = [[tokens(reference) for reference in examples[place].references] for place in places]
    found: list[dict] = [{} for _ in examples]
    for place, value in zip(places, cider_d_of_each(candidates, references)):
        found[place] = {"cider": value}
    return found


def bleu4(candidates: list[list[str]], references: list[list[list[str]]]) -> float:
    """Corpus BLEU-4 (closest reference length) over tokens, in percent."""
    most = max(len(group) for group in references)
    # sacrebleu takes None where an example has fewer references, though its annotations do not say so.
    streams: list[list[Any]] = [
        [" ".join(group[i]) if i < len(group) else None for group in references] for i in range(most)
    ]
    metric = sacrebleu.BLEU(tokenize="none", smooth_method="none", force=True)
    return metric.corpus_score([" ".join(candidate) for candidate in candidates], streams).score


def cider_d(candidates: list[list[str]], references: list[list[list[str]]]) -> float:
    """CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726, 5 and its D variant): 0 to 10, ×1 of the paper's scale of ten.

    Document frequencies are counted over the references of this set: in how many images an n-gram occurs.
    """
    scores = cider_d_of_each(candidates, references)
    return sum(scores) / len(scores)


def cider_d_of_each(candidates: list[list[str]], references: list[list[list[str]]]) -> list[float]:
    """The summands of `cider_d`, one an image."""
    if not references:
        return []
    documents = Counter(
        gram for group in references for gram in {gram for reference in group for gram in _grams(reference)}
    )
    log_images = math.log(len(references))
    weigh = lambda caption: _weights(caption, documents, log_images)  # noqa: E731
    scores = []
    for candidate, group in zip(candidates, references, strict=True):
        mine, length = weigh(candidate), len(candidate)
        similar = [_similarity(mine, weigh(reference), length - len(reference)) for reference in group]
        scores.append(10 * sum(similar) / len(similar))
    return scores


def _grams(caption: list[str]) -> Counter:
    return Counter(
        tuple(caption[i : i + n]) for n in range(1, _ORDERS + 1) for i in range(len(caption) - n + 1)
    )


def _weights(caption: list[str], documents: Counter, log_images: float) -> list[dict]:
    """Of each order n: n-gram -> count · log(images / images with it)."""
    weights: list[dict] = [{} for _ in range(_ORDERS)]
    for gram, count in _grams(caption).items():
        weights[len(gram) - 1][gram] = count * (log_images - math.log(max(1, documents[gram])))
    return weights


def _similarity(candidate: list[dict], reference: list[dict], length_difference: int) -> float:
    """Mean over n of the clipped cosine, times the Gaussian penalty of a different length."""
    total = 0.0
    for mine, theirs in zip(candidate, reference):
        norms = math.sqrt(sum(w * w for w in mine.values())) * math.sqrt(sum(w * w for w in theirs.values()))
        if norms:
            total += sum(min(w, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, w in mine.items()) / norms
    return total / _ORDERS * math.exp(-(length_difference**2) / (2 * _SIGMA**2))
