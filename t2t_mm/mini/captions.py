"""Generates captions for the mini corpora: sentences in three languages that are true of a scene."""

import dataclasses
from collections.abc import Callable

import numpy as np

from t2t_mm.mini import lexicon, world
from t2t_mm.mini.lexicon import ADJECTIVES, NOUNS, PREPOSITIONS
from t2t_mm.mini.sentence import Sentence, realise
from t2t_mm.mini.syntax import (
    Clause,
    Compound,
    Coordination,
    Existential,
    Nominal,
    PrepositionalPhrase,
    Utterance,
    VerbPhrase,
)  # fmt: skip

MIN_WORDS, MAX_WORDS = 6, 17  # including the period
_MAX_ATTEMPTS = 500
_SHOW = dataclasses.replace(lexicon.SHOW, preposition="")  # "the picture shows a ball", without a recipient
_RELATIONS = {
    "left_of": PREPOSITIONS["to the left of"], "right_of": PREPOSITIONS["to the right of"],
    "above": PREPOSITIONS["above"], "below": PREPOSITIONS["below"],
}  # fmt: skip


def captions(scene: world.Scene, rng: np.random.Generator, count: int = 5) -> list[Sentence]:
    """Returns `count` different captions of 6 to 17 words (including the period) that are true of the scene.

    Raises:
      ValueError: the scene has fewer than two things, or the grammar does not have enough captions for it.
    """
    if len(scene.things) < 2:
        raise ValueError(f"A scene needs at least two things to be described, but this one has {len(scene.things)}.")
    found: dict[str, Sentence] = {}
    for _ in range(_MAX_ATTEMPTS):
        if len(found) == count:
            break
        sentence = realise(_Describer(scene, rng).utterance())
        if MIN_WORDS <= len(sentence.words()) <= MAX_WORDS:
            found.setdefault(sentence.english, sentence)
    if len(found) < count:
        raise ValueError(f"Only {len(found)} of {count} different captions could be found for {scene}.")
    return list(found.values())


class _Describer:
    """Describes a scene once, mentioning its things in a random order."""

    def __init__(self, scene: world.Scene, rng: np.random.Generator):
        self._scene = scene
        self._random = rng.random
        things = list(scene.things)
        self._things = [things.pop(int(self._random() * len(things))) for _ in scene.things]

    def utterance(self) -> Utterance:
        forms: tuple[Callable[[], Utterance], ...] = (
            self._there_is_beside, self._there_is_several, self._there_is_far, self._stands, self._bare,
            self._bare_place, self._picture, self._two_looks, self._all_in_place,
        )  # fmt: skip
        return forms[int(self._random() * len(forms))]()

    def _chance(self, probability: float) -> bool:
        return self._random() < probability

    def _thing(self, thing: world.Thing, determiner: str = "a", unsaid: str = "") -> Nominal:
        """Returns a noun phrase for a thing, without the attribute `unsaid` ("colour" or "size").

        A sentence that says "The ball is red" must not already name the colour in its subject.
        """
        adjectives = []
        if unsaid != "size" and self._chance(0.5):
            adjectives.append(ADJECTIVES[thing.size_name])
        if thing.pattern != "plain" and self._chance(0.6):
            adjectives.append(ADJECTIVES[thing.pattern])
        if unsaid != "colour" and self._chance(0.8):
            adjectives.append(ADJECTIVES[thing.colour])
        return Nominal(NOUNS[thing.kind], False, determiner, tuple(adjectives))

    def _place(self, determiner: str = "") -> PrepositionalPhrase:
        place = lexicon.PLACES[self._scene.place]
        determiner = determiner or ("the" if self._chance(0.7) else "a")
        return PrepositionalPhrase(place.location, Nominal(place.noun, False, determiner), "LOC")

    def _beside(self, first: world.Thing, second: world.Thing) -> PrepositionalPhrase:
        relation = _RELATIONS[self._scene.relation(first, second)]
        return PrepositionalPhrase(relation, self._thing(second), "LOC")

    def _thing_beside(self) -> Nominal:
        first, second = self._things[:2]
        phrase = self._thing(first)
        return Nominal(phrase.noun, False, "a", phrase.adjectives, modifiers=(self._beside(first, second),))

    def _several(self, most: int = 3) -> Coordination:
        count = 2 if self._chance(0.5) else most
        return Coordination(tuple(self._thing(thing) for thing in self._things[:count]))

    def _there_is_beside(self) -> Utterance:  # There is a ball above a box (in the garden).
        if self._chance(0.3):
            return Existential(self._thing_beside(), front=self._place("the"))
        return Existential(self._thing_beside(), (self._place(),) if self._chance(0.5) else ())

    def _there_is_several(self) -> Utterance:  # There is a ball and a box in the garden.
        return Existential(self._several(), (self._place(),))

    def _there_is_far(self) -> Utterance:  # In the garden, there is a red ball and a box.
        return Existential(self._several(), front=self._place("the"))

    def _stands(self) -> Utterance:  # A ball is to the left of a box.
        first, second = self._things[:2]
        predicate = VerbPhrase(lexicon.BE, predicate=self._beside(first, second))
        return Clause(self._thing(first, "a" if self._chance(0.6) else "the"), (predicate,))

    def _bare(self) -> Utterance:  # A ball above a box in the garden.
        phrase = self._thing_beside()
        where = (self._place(),) if self._chance(0.6) else ()
        return Nominal(phrase.noun, False, "a", phrase.adjectives, modifiers=phrase.modifiers + where)

    def _bare_place(self) -> Utterance:  # A garden with a ball and a box.
        place = lexicon.PLACES[self._scene.place].noun
        return Nominal(place, False, "a", modifiers=(PrepositionalPhrase(PREPOSITIONS["with"], self._several()),))

    def _picture(self) -> Utterance:  # The picture shows a ball and a box in the garden.
        picture = Nominal(NOUNS["picture"], False, "this" if self._chance(0.5) else "the")
        shown = self._thing_beside() if self._chance(0.4) else self._several()
        where = (self._place(),) if self._chance(0.4) else ()
        return Clause(picture, (VerbPhrase(_SHOW, object=shown, phrases=where),))

    def _two_looks(self) -> Utterance:  # The ball is red, and the box is blue.
        first, second = (self._looks(thing) for thing in self._things[:2])
        return Compound(first, "and", second)

    def _looks(self, thing: world.Thing) -> Clause:
        what = "colour" if self._chance(0.7) else "size"
        adjective = ADJECTIVES[thing.colour if what == "colour" else thing.size_name]
        subject = self._thing(thing, "the", unsaid=what)
        return Clause(subject, (VerbPhrase(lexicon.BE, predicate=adjective),))

    def _all_in_place(self) -> Utterance:  # A ball and a box are in the garden.
        return Clause(self._several(2), (VerbPhrase(lexicon.BE, predicate=self._place()),))
