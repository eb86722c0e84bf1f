"""CIDEr-D and BLEU-4 of captions, in the style of the COCO evaluation."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sacrebleu

from t2t_mm.corpora.example import Example

# n-grams up to 4 and σ = 6, as in CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726, section 5) and in COCO's evaluation.
_ORDERS = 4
_SIGMA = 6.0
# Penn Treebank tokens without punctuation: words, numbers, times, and clitics as separate words. A quote before a word is
# an opening quote, unless the word is one of those that begin with an apostrophe.
_CLITIC = re.compile(r"(?<=\w)('s|'re|'ve|'d|'m|'ll|n't)\b")
_TOKEN = re.compile(r"n't|'n'|'(?:s|re|ve|d|m|ll|em|n|til|cause|tis|twas|\d\ds)\b|\d+(?::\d+)+|\w+(?:[-./,]\w+)*")


def tokens(text: str) -> list[str]:
    """Returns approximately the lower-case Penn Treebank tokens without punctuation that the COCO evaluation counts.

    The COCO evaluation uses the PTBTokenizer of Stanford CoreNLP 3.4.1, in Java. For 255 captions of COCO, the tokens are
    the same. Of the 22,007 different English captions in the two samples of Multi30k, 47 differ, in 71 of 257,360 tokens:
    there, abbreviations keep their full stop (`st.`), and `&`, `#` and brackets (`-lrb-`) are tokens.
    """
    return _TOKEN.findall(_CLITIC.sub(r" \1", text.lower()))


def _references(example: Example) -> list[list[str]]:
    # A target that is blank is none. A corpus with one caption for each image, such as a table, has it as the target alone.
    return [tokens(text) for text in example.accepted] if example.references or example.target_text else []


def captions(predictions: Sequence[str], examples: Sequence[Example]) -> dict:
    """Returns CIDEr-D and BLEU-4 of one caption per image. Images without a target and references do not count."""
    pairs = [(prediction, found) for prediction, one in zip(predictions, examples, strict=True) if (found := _references(one))]
    if not pairs:
        return {}
    # A missing answer (None) counts as an empty caption.
    candidates = [tokens(prediction or "") for prediction, _ in pairs]
    references = [found for _, found in pairs]
    return {"cider": cider_d(candidates, references), "bleu4": bleu4(candidates, references)}


def captions_of_each(predictions: Sequence[str], examples: Sequence[Example]) -> list[dict]:
    """Returns the CIDEr-D of each caption, with n-gram weights of the whole set; {} for an image that does not count."""
    of_each = [_references(example) for example in examples]
    places = [place for place, references in enumerate(of_each) if references]
    candidates = [tokens(predictions[place] or "") for place in places]
    references = [of_each[place] for place in places]
    found: list[dict] = [{} for _ in examples]
    for place, value in zip(places, cider_d_of_each(candidates, references)):
        found[place] = {"cider": value}
    return found


def bleu4(candidates: list[list[str]], references: list[list[list[str]]]) -> float:
    """Returns the corpus BLEU-4 of tokens (with the closest reference length), in percent."""
    most = max(len(group) for group in references)
    # sacrebleu accepts None for a missing reference, although its annotations do not include it.
    streams: list[list[Any]] = [[" ".join(group[i]) if i < len(group) else None for group in references] for i in range(most)]
    # The texts are tokens already, and COCO's BLEU is not smoothed. `force` silences sacrebleu's warning that they look
    # tokenised.
    metric = sacrebleu.BLEU(tokenize="none", smooth_method="none", force=True)
    return metric.corpus_score([" ".join(candidate) for candidate in candidates], streams).score


def cider_d(candidates: list[list[str]], references: list[list[list[str]]]) -> float:
    """Returns CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726, section 5, variant D) on the paper's scale from 0 to 10.

    The document frequency of an n-gram is the number of images of this set in whose references it occurs.
    """
    scores = cider_d_of_each(candidates, references)
    return sum(scores) / len(scores)


def cider_d_of_each(candidates: list[list[str]], references: list[list[list[str]]]) -> list[float]:
    """Returns the CIDEr-D of each image, whose mean is `cider_d`."""
    if not references:
        return []
    # A set per image: an n-gram that occurs in several references of an image counts once.
    documents = Counter(gram for group in references for gram in {gram for reference in group for gram in _grams(reference)})
    log_images = math.log(len(references))
    weigh = lambda caption: _weights(caption, documents, log_images)  # noqa: E731
    scores = []
    for candidate, group in zip(candidates, references, strict=True):
        mine, length = weigh(candidate), len(candidate)
        similar = [_similarity(mine, weigh(reference), length - len(reference)) for reference in group]
        # The mean over the references (eq. 2), times the paper's 10 for CIDEr-D.
        scores.append(10 * sum(similar) / len(similar))
    return scores


def _grams(caption: list[str]) -> Counter:
    return Counter(tuple(caption[i : i + n]) for n in range(1, _ORDERS + 1) for i in range(len(caption) - n + 1))


def _weights(caption: list[str], documents: Counter, log_images: float) -> list[dict]:
    """Returns a dict of n-gram -> count · log(images / images with it) for each order n."""
    weights: list[dict] = [{} for _ in range(_ORDERS)]
    for gram, count in _grams(caption).items():
        # Eq. 1 with raw counts, as COCO's evaluation. An n-gram that occurs in no reference counts as if it occurred in one,
        # so that its weight is finite.
        weights[len(gram) - 1][gram] = count * (log_images - math.log(max(1, documents[gram])))
    return weights


def _similarity(candidate: list[dict], reference: list[dict], length_difference: int) -> float:
    """Returns the mean over n of the clipped cosine, times the Gaussian penalty for a different length."""
    total = 0.0
    for mine, theirs in zip(candidate, reference):
        norms = math.sqrt(sum(w * w for w in mine.values())) * math.sqrt(sum(w * w for w in theirs.values()))
        # All weights are 0 for a caption without n-grams of this order, or if each of them occurs in every image.
        if norms:
            # The clipping of variant D: repeating an n-gram of the reference gains nothing.
            total += sum(min(w, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, w in mine.items()) / norms
    # The penalty of variant D is the same for all orders, so it is applied once.
    return total / _ORDERS * math.exp(-(length_difference**2) / (2 * _SIGMA**2))
