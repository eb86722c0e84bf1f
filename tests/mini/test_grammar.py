"""Tests known sentences of the mini languages in three languages, and the properties of random sentences."""

import re

import numpy as np
import pytest

from t2t_mm.mini import english, grammar, lexicon, pronunciation
from t2t_mm.mini.images import random_scene
from t2t_mm.mini.lexicon import ADJECTIVES, NOUNS
from t2t_mm.mini.sentence import realise, to_mrg
from t2t_mm.mini.syntax import Clause, Gap, Nominal, Pronoun, Relative, Subordinate, VerbPhrase

VERBS = {verb.english + verb.preposition: verb for verb in lexicon.TRANSITIVE}


def noun(name, *adjectives, **more):
    return Nominal(NOUNS[name], adjectives=tuple(ADJECTIVES[a] for a in adjectives), **more)


def said(utterance):
    sentence = realise(utterance)
    return sentence.english, sentence.german, sentence.french


def test_case_gender_and_adjectives_agree():
    assert said(Clause(noun("boy", "tired", determiner="a"), (VerbPhrase(VERBS["see"], object=noun("flower", "red")),))) == (
        "A tired boy sees the red flower.", "Ein müder Junge sieht die rote Blume.", "Un garçon fatigué voit la fleur rouge.",
    )  # fmt: skip
    assert said(Clause(noun("woman"), (VerbPhrase(VERBS["help"], object=noun("man", "old", determiner="a")),))) == (
        "The woman helps an old man.", "Die Frau hilft einem alten Mann.", "La femme aide un vieil homme.",
    )  # fmt: skip


def test_a_subordinate_clause_ends_in_its_german_verb_and_takes_the_french_subjunctive():
    because = Subordinate("because", Clause(noun("cat"), (VerbPhrase(VERBS["see"], object=noun("fish", determiner="a")),)))
    phrase = VerbPhrase(VERBS["lookfor"], past=True, object=noun("child"), subordinate=because)
    assert said(Clause(noun("dog"), (phrase,)))[1] == "Der Hund hat das Kind gesucht, weil die Katze einen Fisch sieht."
    although = Subordinate("although", Clause(Pronoun("she"), (VerbPhrase(VERBS["love"], object=Pronoun("he")),)))
    french = said(Clause(noun("girl"), (VerbPhrase(VERBS["eat"], object=noun("apple"), subordinate=although),)))[2]
    assert french == "La fille mange la pomme bien qu'elle l'aime."


def test_a_relative_clause_leaves_a_trace():
    apple = noun("apple")
    relative = Relative("object", Clause(Pronoun("she"), (VerbPhrase(VERBS["buy"], past=True, object=Gap(apple)),)))
    sentence = realise(Clause(noun("man"), (VerbPhrase(VERBS["eat"], object=noun("apple", relative=relative)),)))
    assert sentence.english == "The man eats the apple that she bought."
    assert sentence.german == "Der Mann isst den Apfel, den sie gekauft hat."
    assert sentence.french == "L'homme mange la pomme qu'elle a achetée."
    flat = " ".join(to_mrg(sentence.tree).split())
    assert "(SBAR (WHNP-1 (WDT that) ) (S (NP-SBJ (PRP she) ) (VP (VBD bought) (NP (-NONE- *T*-1) ))))" in flat


@pytest.fixture(scope="module")
def many():
    return grammar.sentences(np.random.default_rng(5), 800, set())


def test_sentences_are_new_and_within_the_limit(many):
    assert len({s.english for s in many}) == 800
    assert max(len(s.words()) for s in many) <= 22
    with pytest.raises(ValueError, match="sentences in a row were seen before"):
        grammar.sentences(np.random.default_rng(0), 10**6, set(), lambda rng: many[0])


def test_trees_have_the_sentences_words_and_known_pronunciations(many):
    for sentence in many:
        assert " ".join(english.words(sentence.tree)).replace(" ,", ",").replace(" .", ".") == sentence.english
        for word in sentence.words():
            assert word in ",." or pronunciation.pronounce(word)
    assert set(lexicon.english_words()) <= set(pronunciation.PRONUNCIATIONS)


def test_french_elides_and_contracts_everywhere(many):
    for sentence in many:
        words = sentence.french.lower()
        assert not re.search(r"\b(le|la|de|que|ne|se|je) [aeiouhéêâ]", words), sentence.french
        assert not re.search(r"\b(de le|de les|à le|à les)\b", words), sentence.french


def test_languages_diverge(many):
    """Words do not simply stand in the same order: many German sentences end in a verb form that English has early."""
    final = sum(bool(re.search(r"(t|en)\.$", s.german)) for s in many)
    assert final > 300
    assert sum(len(s.french.split()) != len(s.english.split()) for s in many) > 300


def test_captions_are_five_different_true_sentences():
    rng = np.random.default_rng(2)
    for _ in range(30):
        scene = random_scene(rng)
        captions = [caption.english.lower() for caption in grammar.captions(scene, rng)]
        assert len(set(captions)) == 5
        kinds = {thing.kind for thing in scene.things}
        for caption in captions:
            assert " shows to " not in caption, caption
            words = set(re.findall(r"[a-z]+", caption))
            mentioned = {name for name in NOUNS if name in words and NOUNS[name].kind in ("thing", "animal")}
            assert mentioned - {"picture"} <= kinds, (caption, kinds)
            assert len(mentioned & kinds) >= 1
