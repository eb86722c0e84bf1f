"""The language-independent structures of the mini corpora: the content of a sentence before it is put into words.

`grammar.py` and `captions.py` draw random structures, and `english.py`, `german.py` and `french.py` put them into
words. A structure has one sentence in each language, so that the three sentences are translations of each other.
"""

import dataclasses
from typing import Union

from t2t_mm.mini import lexicon


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Nominal:
    """A noun with its determiner, adjectives and modifiers.

    It has modifiers or a relative clause but never both, so that a relative clause always belongs to the last noun.

    Attributes:
      determiner: "the", "a", "this" (plural "these"), "every", "some", "many", "his", "her" or "their", or "" for a
        bare plural or a numeral without determiner.
      numeral: a key of lexicon.NUMERALS, or "".
      approximation: a key of lexicon.QUANTIFIED.
    """

    noun: lexicon.Noun
    plural: bool = False
    determiner: str = "the"
    adjectives: tuple[lexicon.Adjective, ...] = ()
    numeral: str = ""
    approximation: str = ""
    modifiers: tuple["PrepositionalPhrase", ...] = ()
    relative: Union["Relative", None] = None

    @property
    def feminine(self) -> bool:  # grammatical gender in French, here and below
        return self.noun.french_gender == "f"


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Pronoun:
    """A personal pronoun, named by its English subject form: "he", "she" or "they"."""

    word: str

    @property
    def plural(self) -> bool:
        return self.word == "they"

    @property
    def feminine(self) -> bool:
        return self.word == "she"


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class ProperName:
    name: lexicon.Name
    plural = False

    @property
    def feminine(self) -> bool:
        return self.name.sex == "f"


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Coordination:
    """Two or more noun phrases joined by commas and "and"."""

    parts: tuple["NounPhrase", ...]
    plural = True

    @property
    def feminine(self) -> bool:  # masculine if at least one part is masculine
        return all(part.feminine for part in self.parts)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Gap:
    """The place in a relative clause where the noun phrase that it modifies is missing."""

    antecedent: Nominal

    @property
    def plural(self) -> bool:
        return self.antecedent.plural

    @property
    def feminine(self) -> bool:
        return self.antecedent.feminine


NounPhrase = Nominal | Pronoun | ProperName | Coordination | Gap


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class PrepositionalPhrase:
    """A preposition and its object. `function` is the Treebank's function tag: "LOC", "DIR" or "" for none."""

    preposition: lexicon.Preposition
    object: NounPhrase
    function: str = ""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class VerbPhrase:
    """A verb with its objects and modifiers.

    Attributes:
      modal: "can", "must" or "want", or "".
      agent: who acts in a passive clause; None in an active one.
      predicate: an adjective, a place or a profession; only with the verb lexicon.BE.
      very: whether "very" precedes the adjective in `predicate`.
    """

    verb: lexicon.Verb
    past: bool = False
    negated: bool = False
    modal: str = ""
    object: NounPhrase | None = None
    recipient: NounPhrase | None = None
    agent: NounPhrase | None = None
    predicate: lexicon.Adjective | PrepositionalPhrase | Nominal | None = None
    very: bool = False
    frequency: lexicon.Adverb | None = None
    manner: lexicon.Adverb | None = None
    phrases: tuple[PrepositionalPhrase, ...] = ()
    time: lexicon.Adverb | None = None
    complement: Union["Clause", None] = None
    subordinate: Union["Subordinate", None] = None

    @property
    def passive(self) -> bool:
        return self.agent is not None

    @property
    def negates_object(self) -> bool:
        """Whether the object is indefinite, so that German and French negate it: "keinen Ball", "pas de balle"."""
        return self.negated and is_indefinite(self.object)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Clause:
    """A subject and one or two verb phrases in the same tense. `front` precedes the subject."""

    subject: NounPhrase
    predicates: tuple[VerbPhrase, ...]
    front: Union[PrepositionalPhrase, lexicon.Adverb, "Subordinate", None] = None


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Existential:
    """A sentence of the form "there is something somewhere"."""

    theme: Nominal | Coordination
    places: tuple[PrepositionalPhrase, ...] = ()
    past: bool = False
    front: PrepositionalPhrase | None = None


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Subordinate:
    """A clause introduced by a conjunction, which is a key of lexicon.SUBORDINATORS."""

    conjunction: str
    clause: Clause


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Relative:
    """A relative clause. `gap` is the missing part: "subject", "object" or "place" (in which)."""

    gap: str
    clause: Clause


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Compound:
    """Two main clauses joined by "and" or "but"."""

    first: Clause
    conjunction: str
    second: Clause


# A complete sentence; captions may consist of a noun phrase only.
Utterance = Clause | Existential | Compound | Nominal | Coordination


def is_indefinite(phrase: NounPhrase | None) -> bool:
    """Whether a noun phrase is indefinite, such as "a ball" or "balls"."""
    return isinstance(phrase, Nominal) and phrase.determiner in ("a", "") and not phrase.numeral


def ends_in_clause(phrase: NounPhrase | None) -> bool:
    """Whether a noun phrase ends in a relative clause, so that whatever follows would seem to belong to the clause."""
    if isinstance(phrase, Coordination):
        return ends_in_clause(phrase.parts[-1])
    if not isinstance(phrase, Nominal):
        return False
    return phrase.relative is not None or any(ends_in_clause(each.object) for each in phrase.modifiers)
