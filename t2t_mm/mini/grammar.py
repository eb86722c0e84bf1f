"""Draws random sentences for the mini corpora, which determines their content and their length.

Two rules make sure that the parse of a sentence can be recovered from its words. First, whatever follows a relative or
subordinate clause belongs to it: no phrase that ends in a clause is followed by a modifier of something larger. Second,
the preposition and its noun determine what a prepositional phrase modifies: places ("in the garden") modify the verb if
there is one before them; "with" modifies the verb if people or animals follow, and the noun if things follow; all other
phrases modify the noun before them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from t2t_mm.mini import lexicon
from t2t_mm.mini.captions import captions as captions
from t2t_mm.mini.lexicon import ADJECTIVES, NOUNS, PREPOSITIONS
from t2t_mm.mini.sentence import Sentence, realise
from t2t_mm.mini.sentence import to_mrg as to_mrg
from t2t_mm.mini.syntax import (
    Clause,
    Compound,
    Coordination,
    Existential,
    Gap,
    Nominal,
    NounPhrase,
    PrepositionalPhrase,
    Pronoun,
    ProperName,
    Relative,
    Subordinate,
    Utterance,
    VerbPhrase,
    ends_in_clause,
    is_indefinite,
)  # fmt: skip

_DEPTHS = (0, 1, 1, 1, 2, 2, 2, 2, 3, 3)  # number of levels to which phrases and clauses may be nested
_MAX_REPEATS = 1000  # after this many known sentences in a row, the grammar is considered exhausted


def sample(rng: np.random.Generator, max_words: int = 22) -> Sentence:
    """Returns a random sentence of at most `max_words` words and punctuation marks.

    Raises:
      ValueError: `max_words` is less than 8.
    """
    if max_words < 8:
        raise ValueError(f"max_words is {max_words}, but sentences of the full grammar need at least 8.")
    writer = _Writer(rng)
    while True:
        sentence = realise(writer.utterance(writer.pick(_DEPTHS)))
        if len(sentence.words()) <= max_words:
            return sentence


def short_sentence(rng: np.random.Generator, max_words: int = 8) -> Sentence:
    """Returns a random simple clause of 3 to `max_words` words, not counting the period, to be read aloud.

    Raises:
      ValueError: `max_words` is less than 5.
    """
    if max_words < 5:
        raise ValueError(f"max_words is {max_words}, but simple clauses need at least 5.")
    writer = _Writer(rng)
    while True:
        sentence = realise(writer.clause(0))
        if 3 <= len(sentence.words()) - 1 <= max_words:
            return sentence


def sentences(
    rng: np.random.Generator,
    count: int,
    seen: set[str],
    make: Callable[[np.random.Generator], Sentence] = sample,
) -> list[Sentence]:
    """Returns `count` sentences whose English text is not in `seen`, and adds the texts to `seen`.

    Raises:
      ValueError: `make` does not produce enough new sentences.
    """
    found: list[Sentence] = []
    repeats = 0
    while len(found) < count:
        sentence = make(rng)
        if sentence.english not in seen:
            seen.add(sentence.english)
            found.append(sentence)
            repeats = 0
            continue
        repeats += 1
        if repeats == _MAX_REPEATS:
            raise ValueError(
                f"{repeats} sentences in a row were seen before, and only {len(found)} of {count} new ones were found. "
                "Ask for fewer sentences, or allow longer ones."
            )
    return found


def _adjectives(*names: str) -> tuple[lexicon.Adjective, ...]:
    return tuple(ADJECTIVES[name] for name in names)


_COLOURS = tuple(adjective for adjective in ADJECTIVES.values() if adjective.order == 4)
_LOOKS = _adjectives("small", "large", "old", "beautiful")
_FITTING_ADJECTIVES = {  # kind of noun -> adjectives; colours are repeated, so that they are as common as in captions
    "person": _adjectives("happy", "sad", "tired", "beautiful", "young", "old", "small"),
    "animal": _LOOKS + _adjectives("young", "tired", "dirty", "striped", "spotted") + _COLOURS,
    "thing": _LOOKS + _adjectives("new", "dirty", "striped", "spotted", "small", "large") + _COLOURS + _COLOURS,
    "place": _LOOKS,
}
# "New" is left out, because as a predicate its French translation (neuf) differs from that before a noun (nouveau).
_PREDICATE_ADJECTIVES = {
    kind: tuple(adjective for adjective in fitting if adjective is not ADJECTIVES["new"])
    for kind, fitting in _FITTING_ADJECTIVES.items()
}
_GRADED = _adjectives("small", "large", "old", "young", "beautiful", "happy", "sad", "tired", "dirty")
_STATES = _adjectives("happy", "sad", "tired", "old", "young")  # fit pronouns, names and coordinations
_SINGULAR_DETERMINERS = ("the",) * 5 + ("a",) * 4 + ("this", "every")
_PLURAL_DETERMINERS = ("the",) * 4 + ("",) * 3 + ("this", "some", "many")
_COUNTING_DETERMINERS = ("this", "some", "many")  # these show the plural of nouns such as "fish"
_NEARNESS = tuple(PREPOSITIONS[name] for name in (
    "behind", "near", "beside", "in front of", "to the left of", "to the right of", "above", "below",
))  # fmt: skip
_NEARNESS_OF_PEOPLE = _NEARNESS[:4]
_ROOMY = tuple((PREPOSITIONS[name], nouns) for name, nouns in lexicon.LANDMARKS.items())
_MODIFIED_BY_MANNER = {"run", "sing", "play", "work", "go", "carry", "open", "eat", "paint", "follow", "pick"}
_WITHOUT_MODAL = {"have", "fall", "know", "love"}
_TOGETHER = {"play", "work", "sing", "run"}  # verbs that can be done "with" someone
_TRANSITIVE = (*lexicon.TRANSITIVE, lexicon.HAVE)
_TRANSITIVE_OF = {kind: tuple(verb for verb in _TRANSITIVE if kind in verb.subjects) for kind in ("person", "animal")}
_INTRANSITIVE_OF = {
    kind: tuple(verb for verb in lexicon.INTRANSITIVE if kind in verb.subjects) for kind in ("person", "animal", "thing")
}
_VERBS_ON = {
    noun: tuple(verb for verb in _TRANSITIVE if noun in lexicon.OBJECT_GROUPS[verb.objects]) for noun in NOUNS.values()
}
_PASSIVE_ON = {
    noun: tuple(verb for verb in verbs if verb.german_case == "acc" and not (verb.preposition or verb.particle))
    for noun, verbs in {n: tuple(v for v in vs if v is not lexicon.HAVE) for n, vs in _VERBS_ON.items()}.items()
}
_PLACES = tuple(lexicon.PLACES.values())
# Nouns that can have a relative clause of place ("in which"), with its preposition.
_LIVED_IN = {place.noun: place.location for place in _PLACES} | {NOUNS["house"]: PREPOSITIONS["in"]}
_SUBJECT_KINDS = ("person",) * 13 + ("animal",) * 4 + ("thing",) * 3
_NOUNS_OF = {"person": lexicon.PEOPLE, "animal": lexicon.ANIMALS, "thing": lexicon.THINGS}
_PREDICATE_KINDS = {  # kind of subject -> kinds of verb phrase
    "person": ("transitive",) * 8 + ("intransitive",) * 3 + ("be",) * 3 + ("clausal",) * 3 + ("give",) * 2
    + ("go", "live", "passive"),
    "animal": ("transitive",) * 6 + ("intransitive",) * 6 + ("be",) * 5 + ("go",) + ("passive",) * 2,
    "thing": ("be",) * 5 + ("passive",) * 4 + ("intransitive",),
}  # fmt: skip


class _Writer:
    """Draws structures with one random generator."""

    def __init__(self, rng: np.random.Generator):
        self._random = rng.random

    def pick(self, options: Sequence):
        return options[int(self._random() * len(options))]

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    # Noun phrases

    def nominal(self, noun: lexicon.Noun, depth: int, owner: str = "", subject: bool = False) -> Nominal:
        """Draws a noun phrase, which has no modifiers at depth 0.

        Args:
          owner: the possessive that may be used as determiner, "his", "her" or "their"; "" for none.
          subject: whether the phrase is the subject of a clause.
        """
        plural = self.chance(0.25)
        determiner = self._determiner(noun, plural, owner)
        numeral = approximation = ""
        if plural and determiner in ("the", "") and self.chance(0.45):
            numeral = self.pick(tuple(lexicon.NUMERALS))
            if not determiner and self.chance(0.3):
                approximation = self.pick(("about", "more than"))
        base = Nominal(noun, plural, determiner, self._adjectives(noun), numeral, approximation)
        if depth == 0:
            return base
        if self.chance(0.16) and determiner not in ("his", "her", "their"):
            return dataclasses.replace(base, modifiers=(self._noun_modifier(base, depth, subject),))
        if self.chance(0.07 + 0.07 * depth):
            return dataclasses.replace(base, relative=self._relative(base, depth - 1))
        return base

    def _determiner(self, noun: lexicon.Noun, plural: bool, owner: str) -> str:
        if plural and noun.plural == noun.english:
            return self.pick(_COUNTING_DETERMINERS)
        if owner and noun.kind != "person" and self.chance(0.2):
            return owner
        return self.pick(_PLURAL_DETERMINERS if plural else _SINGULAR_DETERMINERS)

    def _adjectives(self, noun: lexicon.Noun) -> tuple[lexicon.Adjective, ...]:
        if self.chance(0.5):
            return ()
        fitting = _FITTING_ADJECTIVES[noun.kind]
        first = self.pick(fitting)
        if self.chance(0.7):
            return (first,)
        second = self.pick(fitting)
        if second.order == first.order:
            return (first,)
        return (first, second) if first.order < second.order else (second, first)

    def _noun_modifier(self, head: Nominal, depth: int, subject: bool) -> PrepositionalPhrase:
        noun = head.noun
        if subject and self.chance(0.3):  # after an object, the place would seem to modify the verb
            return self.place()
        if noun.kind == "person" and self.chance(0.6):
            accessory = self.nominal(self.pick(lexicon.ACCESSORIES), self._inner_depth(depth))
            return PrepositionalPhrase(PREPOSITIONS["with"], accessory)
        if noun.kind != "person" and noun in lexicon.OBJECT_GROUPS["goods"] and self.chance(0.35):
            return PrepositionalPhrase(lexicon.OF, self._possessor())
        return self._beside_landmark(noun, self._inner_depth(depth))

    def _inner_depth(self, depth: int) -> int:
        return depth - 1 if self.chance(0.3) else 0

    def _possessor(self) -> NounPhrase:
        if self.chance(0.25):
            return ProperName(self.pick(lexicon.NAMES))
        noun = self.pick(lexicon.PEOPLE)
        plural = self.chance(0.2)
        determiner = "the" if plural else self.pick(("the", "the", "the", "a", "this"))
        return Nominal(noun, plural, determiner, self._adjectives(noun))

    def _beside_landmark(self, noun: lexicon.Noun, depth: int) -> PrepositionalPhrase:
        """Draws the place of a thing, animal or person; whatever it is in, on or under has to be large enough."""
        movable = noun.kind != "thing" or noun in lexicon.OBJECT_GROUPS["portable"]
        if movable and self.chance(0.45):
            preposition, landmarks = self.pick(_ROOMY)
        else:
            preposition = self.pick(_NEARNESS_OF_PEOPLE if noun.kind == "person" else _NEARNESS)
            landmarks = lexicon.NEARBY
        landmark = self.pick(landmarks)
        while landmark is noun:
            landmark = self.pick(landmarks)
        return PrepositionalPhrase(preposition, self.nominal(landmark, depth), "LOC")

    def place(self, goal: bool = False) -> PrepositionalPhrase:
        place = self.pick(_PLACES)
        determiner = "a" if self.chance(0.15) else "the"
        noun_phrase = Nominal(place.noun, False, determiner, self._adjectives(place.noun) if self.chance(0.3) else ())
        if goal:
            return PrepositionalPhrase(place.goal, noun_phrase, "DIR")
        return PrepositionalPhrase(place.location, noun_phrase, "LOC")

    def _someone(self, owner: str = "") -> NounPhrase:
        """Draws a short phrase for a person: a name, or a noun without modifiers."""
        if self.chance(0.25):
            return ProperName(self.pick(lexicon.NAMES))
        return self.nominal(self.pick(lexicon.PEOPLE), 0, owner)

    def subject(self, kind: str, depth: int) -> NounPhrase:
        if kind == "person":
            if self.chance(0.08):
                return Pronoun(self.pick(("he", "she", "they")))
            if self.chance(0.12):
                return ProperName(self.pick(lexicon.NAMES))
        if depth and kind != "thing" and self.chance(0.07):
            return self._coordination(_NOUNS_OF[kind])
        return self.nominal(self.pick(_NOUNS_OF[kind]), depth, subject=True)

    def _coordination(self, nouns: tuple[lexicon.Noun, ...], owner: str = "") -> Coordination:
        count = 3 if self.chance(0.15) else 2
        chosen: list[lexicon.Noun] = []
        while len(chosen) < count:
            noun = self.pick(nouns)
            if noun not in chosen:
                chosen.append(noun)
        return Coordination(tuple(self.nominal(noun, 0, owner) for noun in chosen))

    def _object(self, verb: lexicon.Verb, depth: int, owner: str) -> NounPhrase:
        group = lexicon.OBJECT_GROUPS[verb.objects]
        if NOUNS["man"] in group:
            if self.chance(0.08):
                return Pronoun(self.pick(("he", "she", "they")))
            if self.chance(0.08):
                return ProperName(self.pick(lexicon.NAMES))
        if depth and self.chance(0.06):
            return self._coordination(group, owner)
        return self.nominal(self.pick(group), depth, owner)

    # Clauses inside noun phrases

    def _relative(self, head: Nominal, depth: int) -> Relative:
        noun, gap, past = head.noun, Gap(head), self.chance(0.45)
        if noun in _LIVED_IN and self.chance(0.5):
            where = PrepositionalPhrase(_LIVED_IN[noun], gap, "LOC")
            verb = lexicon.LIVE if self.chance(0.4) else self.pick(lexicon.INTRANSITIVE)
            subject = self._someone()
            return Relative("place", Clause(subject, (VerbPhrase(verb, past, phrases=(where,)),)))
        if self.chance(0.45) or noun.kind == "place":
            predicate = self.predicate(gap, noun.kind, past, depth)
            return Relative("subject", Clause(gap, (predicate,)))
        verb = self.pick(_VERBS_ON[noun])
        subject = self.subject("person", 0)
        predicate = VerbPhrase(verb, past, object=gap)
        return Relative("object", Clause(subject, (self._with_modifiers(predicate, 0),)))

    # Verb phrases

    def predicate(self, subject: NounPhrase, kind: str, past: bool, depth: int) -> VerbPhrase:
        """Draws a verb phrase that fits a subject of the kind "person", "animal", "thing" or "place"."""
        choice = "be" if kind == "place" else self.pick(_PREDICATE_KINDS[kind])
        if choice == "clausal" and depth > 0:
            return VerbPhrase(self.pick(lexicon.CLAUSAL), past, complement=self.clause(depth - 1, fronted=False))
        if choice == "passive":
            phrase = self._passive(subject, past)
            if phrase:
                return phrase
        if choice == "be" or kind == "thing" and choice == "passive":
            return self._be(subject, kind, past)
        if choice == "give":
            return self._give(past, _owner(subject))
        if choice in ("intransitive", "go", "live"):
            return self._with_modifiers(self._intransitive(choice, kind, past), depth, kind)
        return self._with_modifiers(self._transitive(subject, kind, past, depth), depth)

    def _passive(self, subject: NounPhrase, past: bool) -> VerbPhrase | None:
        head = subject.antecedent if isinstance(subject, Gap) else subject
        verbs = _PASSIVE_ON[head.noun] if isinstance(head, Nominal) else ()
        if not verbs:
            return None
        return VerbPhrase(self.pick(verbs), past, agent=self._someone())

    def _be(self, subject: NounPhrase, kind: str, past: bool) -> VerbPhrase:
        head = subject.antecedent if isinstance(subject, Gap) else subject
        predicate, very = None, False
        negated = self.chance(0.1) and _may_be_negated(subject)
        if isinstance(head, Nominal):
            if head.noun.sex == "m" and not head.plural and head.noun not in lexicon.PROFESSIONS and self.chance(0.08):
                noun = self.pick(lexicon.PROFESSIONS)
                adjectives = self._adjectives(noun)[:1]
                return VerbPhrase(lexicon.BE, past, predicate=Nominal(noun, False, "a", adjectives))
            if kind != "place" and not head.modifiers and self.chance(0.3):
                predicate = self.place() if self.chance(0.4) else self._beside_landmark(head.noun, 0)
        if predicate is None:
            orders = {adjective.order for adjective in head.adjectives} if isinstance(head, Nominal) else ()
            options = _PREDICATE_ADJECTIVES[kind] if isinstance(head, Nominal) else _STATES
            predicate = self.pick(options)
            while predicate.order in orders:
                predicate = self.pick(options)
            very = predicate in _GRADED and self.chance(0.2)
        frequency = None
        if not negated and self.chance(0.08):
            frequency = self.pick((lexicon.OFTEN, lexicon.ALWAYS, lexicon.NEVER))
        return VerbPhrase(lexicon.BE, past, negated, predicate=predicate, very=very, frequency=frequency, time=self._time(past))

    def _time(self, past: bool) -> lexicon.Adverb | None:
        if not self.chance(0.07):
            return None
        return lexicon.YESTERDAY if past and self.chance(0.7) else lexicon.TODAY

    def _give(self, past: bool, owner: str) -> VerbPhrase:
        verb = lexicon.GIVE if self.chance(0.5) else lexicon.SHOW
        thing = self.nominal(self.pick(lexicon.OBJECT_GROUPS[verb.objects]), 0, owner)
        recipient: NounPhrase
        if self.chance(0.2):
            recipient = Pronoun(self.pick(("he", "she", "they")))
        else:
            recipient = self._someone()
        return VerbPhrase(verb, past, object=thing, recipient=recipient, time=self._time(past))

    def _intransitive(self, choice: str, kind: str, past: bool) -> VerbPhrase:
        if choice == "go":
            return VerbPhrase(lexicon.GO, past, phrases=(self.place(goal=True),))
        if choice == "live":
            in_house = PrepositionalPhrase(PREPOSITIONS["in"], self.nominal(NOUNS["house"], 0), "LOC")
            return VerbPhrase(lexicon.LIVE, past, phrases=(in_house if self.chance(0.6) else self.place(),))
        return VerbPhrase(self.pick(_INTRANSITIVE_OF[kind]), past)

    def _transitive(self, subject: NounPhrase, kind: str, past: bool, depth: int) -> VerbPhrase:
        verb = self.pick(_TRANSITIVE_OF[kind])
        target = self._object(verb, depth, _owner(subject))
        negated = self.chance(0.12) and _may_be_negated(subject) and _may_be_denied(verb, target)
        return VerbPhrase(verb, past, negated, object=target)

    def _with_modifiers(self, phrase: VerbPhrase, depth: int, kind: str = "") -> VerbPhrase:
        """Adds a modal verb or adverbs and, unless the phrase ends in a clause, phrases and a subordinate clause.

        Args:
          kind: the kind of the subject if the verb is intransitive; the phrase may then say what the subject is near.
        """
        more: dict[str, Any] = {}
        name = phrase.verb.english
        modal = "" if phrase.negated or name in _WITHOUT_MODAL else self._modal(phrase.past)
        if modal:
            more["modal"] = modal
        elif not phrase.negated and self.chance(0.08) and phrase.verb is not lexicon.HAVE:
            more["frequency"] = self.pick((lexicon.OFTEN, lexicon.ALWAYS, lexicon.NEVER))
        if not ends_in_clause(phrase.object):
            more |= self._final_modifiers(phrase, depth, kind)
        return dataclasses.replace(phrase, **more) if more else phrase

    def _modal(self, past: bool) -> str:
        return self.pick(("can", "want") if past else ("can", "must", "want")) if self.chance(0.12) else ""

    def _final_modifiers(self, phrase: VerbPhrase, depth: int, kind: str) -> dict:
        more = {}
        name = phrase.verb.english
        if name in _MODIFIED_BY_MANNER and not phrase.negated and self.chance(0.2):
            more["manner"] = self.pick(lexicon.MANNERS)
        if not phrase.phrases and phrase.verb is not lexicon.HAVE:
            phrases = self._final_phrases(phrase, kind)
            if phrases:
                more["phrases"] = phrases
        time = self._time(phrase.past)
        if time:
            more["time"] = time
        elif depth > 0 and self.chance(0.08):
            more["subordinate"] = self._subordinate(depth - 1, phrase.past)
        return more

    def _final_phrases(self, phrase: VerbPhrase, kind: str) -> tuple[PrepositionalPhrase, ...]:
        if kind in ("person", "animal") and phrase.verb.english in _TOGETHER and self.chance(0.25):
            nouns = lexicon.PEOPLE if kind == "person" else lexicon.PEOPLE + lexicon.ANIMALS
            companion = PrepositionalPhrase(PREPOSITIONS["with"], self.nominal(self.pick(nouns), 0))
            return (companion, self.place()) if self.chance(0.2) else (companion,)
        if kind in ("person", "animal") and phrase.verb.english in ("sleep", "play", "wait") and self.chance(0.3):
            # People and animals are not placed above or below things.
            preposition = self.pick(_NEARNESS_OF_PEOPLE)
            return (PrepositionalPhrase(preposition, self.nominal(self.pick(lexicon.NEARBY), 0), "LOC"),)
        return (self.place(),) if self.chance(0.35 if kind else 0.15) else ()

    # Clauses and sentences

    def clause(self, depth: int, past: bool | None = None, fronted: bool = True) -> Clause:
        """Draws a clause.

        Args:
          past: whether it is in the past tense; None draws the tense.
          fronted: whether it may have a phrase before the subject.
        """
        past = self.chance(0.45) if past is None else past
        kind = self.pick(_SUBJECT_KINDS)
        subject = self.subject(kind, depth)
        if depth and kind != "thing" and self.chance(0.09):
            return Clause(subject, self._coordinated_predicates(subject, kind, past, depth))
        predicate = self.predicate(subject, kind, past, depth)
        if fronted and depth and self.chance(0.25):
            return Clause(subject, (predicate,), self._front(predicate, depth))
        return Clause(subject, (predicate,))

    def _coordinated_predicates(self, subject, kind: str, past: bool, depth: int) -> tuple[VerbPhrase, VerbPhrase]:
        first = VerbPhrase(self.pick(_INTRANSITIVE_OF[kind]), past)
        if self.chance(0.6):
            first = self._transitive(subject, kind, past, 0)
        second = self._transitive(subject, kind, past, depth - 1)
        while second.verb is first.verb:
            second = self._transitive(subject, kind, past, depth - 1)
        if self.chance(0.3) and not ends_in_clause(second.object) and second.verb is not lexicon.HAVE:
            second = dataclasses.replace(second, phrases=(self.place(),))
        return first, second

    def _front(self, predicate: VerbPhrase, depth: int) -> PrepositionalPhrase | lexicon.Adverb | Subordinate | None:
        if not predicate.time and self.chance(0.35):
            return lexicon.YESTERDAY if predicate.past and self.chance(0.7) else lexicon.TODAY
        verbal = predicate.verb is not lexicon.BE and predicate.verb is not lexicon.HAVE
        if verbal and not predicate.phrases and not predicate.complement and self.chance(0.6):
            return self.place()
        if predicate.subordinate:
            return None
        return self._subordinate(depth - 1, predicate.past)

    def _subordinate(self, depth: int, past: bool) -> Subordinate:
        # "While" is left out in the past, because French needs a tense after "pendant que" that is not used here.
        conjunction = self.pick(("because", "although", "when") if past else tuple(lexicon.SUBORDINATORS))
        clause_past = past if conjunction in ("when", "while") or self.chance(0.7) else None
        return Subordinate(conjunction, self.clause(max(depth, 0), clause_past, fronted=False))

    def utterance(self, depth: int) -> Utterance:
        if self.chance(0.05):
            noun = self.pick(lexicon.THINGS + lexicon.ANIMALS + lexicon.PEOPLE)
            return Existential(self._indefinite(noun, depth), (self.place(),), past=self.chance(0.3))
        if depth and self.chance(0.08):
            conjunction = self.pick(("and", "but"))
            return Compound(self.clause(0), conjunction, self.clause(depth - 1, fronted=False))
        return self.clause(depth)

    def _indefinite(self, noun: lexicon.Noun, depth: int) -> Nominal:
        """Draws the phrase after "there is". Its modifiers do not end in clauses, because a place follows."""
        plural = noun.plural != noun.english and self.chance(0.25)
        numeral = self.pick(tuple(lexicon.NUMERALS)) if plural else ""
        phrase = Nominal(noun, plural, "" if plural else "a", self._adjectives(noun), numeral)
        if depth and self.chance(0.35):
            return dataclasses.replace(phrase, modifiers=(self._beside_landmark(noun, 0),))
        return phrase


def _owner(subject: NounPhrase) -> str:
    """Returns the possessive that refers back to a subject, or "" if English or German would not use one."""
    head = subject.antecedent if isinstance(subject, Gap) else subject
    if isinstance(head, Pronoun):
        return {"he": "his", "she": "her", "they": "their"}[head.word]
    if isinstance(head, ProperName):
        return "his" if head.name.sex == "m" else "her"
    if isinstance(head, Coordination):
        return "their"
    if head.noun.kind != "person":
        return ""
    if head.plural:
        return "their"
    return {"m": "his", "f": "her", "": ""}[head.noun.sex]


def _may_be_negated(subject: NounPhrase) -> bool:
    """Whether a clause with this subject can be negated without ambiguity.

    "Every man does not sleep", for instance, has two readings.
    """
    head = subject.antecedent if isinstance(subject, Gap) else subject
    return not (isinstance(head, Nominal) and (head.determiner in ("every", "some", "many") or head.numeral))


def _may_be_denied(verb: lexicon.Verb, target: NounPhrase) -> bool:
    """Whether the scope of "not" is unambiguous and the German and French grammars can express the negation."""
    if isinstance(target, Coordination) or ends_in_clause(target):
        return False
    if not isinstance(target, Nominal):
        return True
    if target.modifiers or target.numeral or target.determiner in ("every", "some", "many"):
        return False
    return not is_indefinite(target) or verb.german_case == "acc" and not verb.german_preposition
