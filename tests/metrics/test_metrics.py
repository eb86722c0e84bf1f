"""Tests each metric on cases that are small enough to count by hand."""

import math

import numpy as np
import pytest

from t2t_mm.corpora.example import CorpusError, Example
from t2t_mm.evaluation.baselines import baseline, right_branching
from t2t_mm.metrics.captioning import bleu4, captions, captions_of_each, cider_d, tokens
from t2t_mm.metrics.classification import top_k
from t2t_mm.metrics.parsing import bracket_f1, bracket_f1_without_words
from t2t_mm.metrics.recognition import wer
from t2t_mm.metrics.translation import bleu
from t2t_mm.problem import Problem


def examples(*targets, inputs="", references=()):
    return [Example(inputs, target, "x", references) for target in targets]


def test_top_k_breaks_ties_by_the_lower_index():
    scores = [np.array([0.5, 0.5, 0, 0, 0, 0]), np.array([0.1, 0.9, 0, 0, 0, -1])]
    assert top_k(scores, examples(1, 1)) == {"top1": 50.0, "top5": 100.0}
    assert top_k(scores, examples(0, 5)) == {"top1": 50.0, "top5": 50.0}


@pytest.mark.parametrize("rank", range(7))
def test_the_sixth_is_not_among_the_five(rank):
    scores = -np.arange(7.0)
    assert top_k([scores], examples(rank)) == {"top1": 100.0 * (rank < 1), "top5": 100.0 * (rank <= 4)}


def test_bleu_counts_all_references():
    several = [Example("", "the dog runs home now", "x", ("the dog runs home now", "a dog is running home now")),
               Example("", "the cat sleeps here", "y")]  # fmt: skip
    answers = ["a dog is running home now", "the cat sleeps here"]
    assert bleu(answers, several)["bleu"] == pytest.approx(100) and "nrefs:var" in bleu(answers, several)["bleu_signature"]
    assert bleu(answers[:1], several[:1])["bleu"] == pytest.approx(100)
    assert bleu(answers, [Example("", example.targets, "x") for example in several])["bleu"] < 90


def test_bleu_is_cased_and_signed():
    result = bleu(["The cat sat on the mat."], examples("The cat sat on the mat."))
    assert result["bleu"] == pytest.approx(100) and "tok:13a" in result["bleu_signature"]
    assert bleu(["the cat sat on the mat."], examples("The cat sat on the mat."))["bleu"] < 90
    # By hand: precisions 5/6, 3/5, 2/4, 1/3 for one wrong word in the middle of seven tokens with the full stop.
    got = bleu(["a b c x e f g"], examples("a b c d e f g"))["bleu"]
    assert got == pytest.approx(100 * (6 / 7 * 4 / 6 * 2 / 5 * 0.5 / 4) ** 0.25, rel=1e-3)


def test_wer_counts_every_kind_of_error():
    result = wer(["a x c d", None], examples("A b c", "two words"))
    assert result == {"wer": pytest.approx(100 * 4 / 5), "substitutions": 1, "deletions": 2, "insertions": 1}
    assert wer(["a <noise> b"], examples("A B *"))["wer"] == 0


def test_insertions_on_a_silent_reference_count():
    """As sclite and jiwer count: two words where nothing was said, beside two right ones."""
    result = wer(["a b", "x y"], examples("a b", ""))
    assert result == {"wer": pytest.approx(100), "substitutions": 0, "deletions": 0, "insertions": 2}
    assert wer(["a", ""], examples("a", "<NOISE>"))["wer"] == 0
    assert wer(["x", ""], examples("", "")) == {"substitutions": 0, "deletions": 0, "insertions": 1}


def test_of_several_transcripts_the_nearest_counts():
    both = [Example("", "eight of them", "x", ("eight of them", "8 of them")), Example("", "a b", "y", ("a b", ""))]
    assert wer(["8 of them", "a x"], both) == {"wer": pytest.approx(20), "substitutions": 1, "deletions": 0, "insertions": 0}
    assert wer(["8 of"], both[:1])["deletions"] == 1 and wer([""], both[1:])["deletions"] == 0


def test_marks_of_lengthening_are_no_blanks():
    assert wer(["long words"], examples("LO:NG *WORDS*"))["wer"] == 0
    assert wer(["a b"], examples("A<NOISE>B"))["wer"] == 0


@pytest.mark.parametrize("metric", [bleu, wer, top_k, bracket_f1, bracket_f1_without_words, captions])
def test_a_set_without_examples_has_no_figures(metric):
    assert metric([], []) == {}


def test_metrics_of_nothing_but_empty_texts_are_figures_or_none():
    assert bleu([""], examples(""))["bleu"] == 0 and bleu(["a"], examples(""))["bleu"] == 0
    assert wer([""], examples("")) == {"substitutions": 0, "deletions": 0, "insertions": 0}
    assert bracket_f1([""], examples("", inputs=""))["f1"] == 0
    assert captions([""], examples("", references=("",))) == {"cider": 0, "bleu4": 0}


def test_an_image_without_references_does_not_count():
    two = examples("", references=("a b c d e",)) + examples("", references=())
    assert captions(["a b c d e", "x"], two) == captions(["a b c d e"], two[:1])
    assert captions(["x"], two[1:]) == {}


def tree_score(prediction, target, words):
    return bracket_f1([prediction], examples(target, inputs=words))


GOLD = "(S (NP DT NN )NP (VP VBD (ADVP RB )ADVP )VP . )S"
WORDS = "the dog ran away ."


def test_brackets_as_evalb_counts_them():
    assert tree_score(GOLD, GOLD, WORDS)["f1"] == 100
    # ADVP = PRT; a wrong tag is no bracket; the full stop moves no span and may hang anywhere.
    other = "(S (NP DT NNS )NP (VP VBD (PRT RB )PRT . )VP )S"
    result = tree_score(other, GOLD, WORDS)
    assert (result["f1"], result["complete_match"], result["tagging_accuracy"]) == (100, 100, 75)
    # NP missing, one NP too wide: 2 of 3 brackets right of 4 expected... S, VP and ADVP match, NP does not.
    result = tree_score("(S DT (NP NN )NP (VP VBD (ADVP RB )ADVP )VP . )S", GOLD, WORDS)
    assert (result["precision"], result["recall"], result["complete_match"]) == (75, 75, 0)


def test_equal_brackets_count_as_often_as_they_occur():
    gold, once = "(S (NP (NP NN )NP )NP )S", "(S (NP NN )NP )S"
    result = tree_score(once, gold, "dogs")
    assert (result["precision"], result["recall"]) == (100, pytest.approx(200 / 3))
    assert tree_score(gold, once, "dogs")["precision"] == pytest.approx(200 / 3)


def test_outputs_that_are_no_tree_are_repaired_and_counted():
    result = tree_score("(S (NP DT NN (VP VBD", GOLD, WORDS)
    assert result["repaired"] == 100 and 0 < result["f1"] < 100
    assert tree_score("", GOLD, WORDS)["f1"] == 0


def test_a_caption_of_a_corpus_without_further_references_is_compared_with_its_target():
    assert captions(["a b c d e"], examples("a b c d e")) == captions(["a b c d e"], examples("", references=("a b c d e",)))
    assert captions_of_each(["a b c d e", "x"], [*examples("a b c d e"), *examples("")])[1] == {}
    assert captions_of_each(["a b c d e"], examples("a b c d e"))[0]["cider"] >= 0


def test_a_reference_over_other_words_is_no_reference():
    """Repaired to the words of the input, it would agree with the answer below."""
    with pytest.raises(CorpusError, match="the reference is no tree over the 2 words of the input .'The dog'"):
        bracket_f1(["(S (NP DT NN )NP )S"], examples("(S (NP DT NN )NP (VP VBZ )VP . )S", inputs="The dog"))


def test_caption_tokens():
    assert tokens("A man's dog, it isn't here. The 2.5 well-known ones!") == [
        "a", "man", "'s", "dog", "it", "is", "n't", "here", "the", "2.5", "well-known", "ones",
    ]  # fmt: skip


def test_caption_tokens_as_corenlp_has_them():
    """Its own answers, of CoreNLP 3.4.1, without the punctuation that the COCO evaluation takes out."""
    for text, expected in {
        "A 'stop' sign at 5:30 in the '90s.": "a stop sign at 5:30 in the '90s",
        'The "big" dog says "hi", it\'s 10:45pm.': "the big dog says hi it 's 10:45 pm",
        "A boy's 'toy', don't touch 'em.": "a boy 's toy do n't touch 'em",
        "rock 'n' roll at 9:00, a 3/4 view, 1,000 people": "rock 'n' roll at 9:00 a 3/4 view 1,000 people",
    }.items():
        assert tokens(text) == expected.split()


def test_cider_by_hand():
    # Two images, no shared n-gram: every weight is log 2, a perfect caption of 4 words scores 10.
    references = [[["a", "b", "c", "d"]], [["e", "f", "g", "h"]]]
    assert cider_d([["a", "b", "c", "d"], ["x"]], references) == pytest.approx((10 + 0) / 2)
    # "a b": unigrams a, b of four, bigram ab of three; no longer ones. Cosine √(2)/√(4) and √1/√3, length penalty.
    expected = 10 / 4 * (2 / math.sqrt(2 * 4) + 1 / math.sqrt(3)) * math.exp(-4 / 72)
    assert cider_d([["a", "b"], ["x"]], references) == pytest.approx(expected / 2)
    # A repeated word is clipped to the reference's count.
    expected = 10 / 4 * (1 / math.sqrt(4 * 4)) * math.exp(-4 / 72)
    assert cider_d([["a", "a"], ["x"]], references) == pytest.approx(expected / 2)
    # What every image's references contain says nothing.
    assert cider_d([["a"], ["a"]], [[["a"]], [["a"]]]) == 0


def test_cider_counts_in_how_many_images_an_n_gram_occurs_not_in_how_many_captions():
    # Of three images "a" stands in both captions of the first, which is one image: it weighs log 3 as "c" and "d" do. So
    # "a c" is the first caption (cosines of 1 for n = 1 and 2) and half of the second's unigrams.
    references = [[["a", "c"], ["a", "d"]], [["e", "f"]], [["e", "g"]]]
    assert cider_d([["a", "c"], ["x"], ["x"]], references) == pytest.approx(10 / 4 * (2 + 1 / 2) / 2 / 3)
    # "e" stands in two images of three and weighs log 3/2.
    often, rare = math.log(3 / 2), math.log(3)
    cosine = often / math.sqrt(often**2 + rare**2)  # of "e" with "e f", unigrams alone
    expected = 10 / 4 * cosine * math.exp(-1 / 72)
    assert cider_d([["x"], ["e"], ["x"]], references) == pytest.approx(expected / 3)
    # The mean of both captions, each alone.
    references = [[["a", "b"], ["c", "d"]], [["x", "y"]], [["z"]]]
    assert cider_d([["a", "b"], ["q"], ["q"]], references) == pytest.approx(10 * 2 / 4 / 2 / 3)


def test_bleu4_takes_the_closest_length_and_the_best_count():
    references = [[["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "x", "y", "z"]]]
    assert bleu4([["a", "b", "c", "d", "e"]], references) == pytest.approx(100)
    assert captions(["A b, c d e."], examples("", references=("a b c d e",)))["bleu4"] == pytest.approx(100)


def test_baselines():
    parsing = Problem("p", None, "language", "tree", "c")
    train = examples(GOLD, inputs=WORDS)
    predictions, _ = baseline(parsing, train, train)
    assert predictions == ["(S DT (VP NN (VP VBD RB )VP )VP . )S"]
    assert right_branching(["dogs"], {"dogs": "NN"}) == "(S NN )S"
    classes, _ = baseline(Problem("i", None, "image", "class", "c"), examples(1, 1, 0), examples(0))
    assert top_k(classes, examples(0)) == {"top1": 0.0, "top5": 100.0}
    spoken, _ = baseline(Problem("s", None, "audio", "text", "c"), examples("a", "b", "b"), examples("c", "d"))
    assert spoken == ["b", "b"]
    copied, _ = baseline(Problem("t", None, "language", "text", "c"), [], examples("x", inputs="y"))
    assert copied == ["y"]


def test_baselines_of_what_training_has_not_seen():
    classes, _ = baseline(Problem("i", None, "image", "class", "c"), examples(0, 0), examples(3))
    assert top_k(classes, examples(3)) == {"top1": 0.0, "top5": 100.0}
    assert right_branching([], {}) == "(S )S"


def test_brackets_need_the_words_alone():
    example = Example(("a.jpg", "the cat"), "(S DT NN )S", "here:1")
    with pytest.raises(CorpusError, match="here:1: 2 inputs; use bracket_f1_without_words"):
        bracket_f1(["(S DT NN )S"], [example])
    assert bracket_f1_without_words(["(S DT NN )S"], [example])["f1"] == 100
