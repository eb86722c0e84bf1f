"""The language-independent structures of the mini corpora: what a sentence says, before any language says it.

`grammar.py` and `captions.py` build these from chance; `english.py`, `german.py` and `french.py` each put them into
words. One structure gives one sentence in each language, which makes the three sentences translations.
"""

import dataclasses
from typing import Union

from t2t_mm.mini import lexicon


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Nominal:
    """A noun with what belongs to it.

    determiner: "the", "a", "this" (plural "these"), "every", "some", "many", "his", "her", "their", or "" (bare plural,
    or a numeral alone). numeral: a key of lexicon.NUMERALS, `approximation` one of lexicon.QUANTIFIED. A noun phrase has
    modifiers or a relative clause, never both, so that a relative clause always belongs to the last noun.
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
    def feminine(self) -> bool:  # in French
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
    def feminine(self) -> bool:  # French: masculine as soon as one part is
        return all(part.feminine for part in self.parts)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Gap:
    """Where a relative clause lacks the noun phrase it modifies."""

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
    """`function` is the Treebank's function tag: "LOC", "DIR" or none."""

    preposition: lexicon.Preposition
    object: NounPhrase
    function: str = ""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class VerbPhrase:
    """A verb with its objects and modifiers.

    `modal` is "can", "must" or "want". `passive` makes the subject what the verb acts on, and `agent` acts.
    With the verb lexicon.BE, `predicate` is adjectives ("very" before the first if `very`), a place or a profession.
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
        """Whether German and French negate an indefinite object: "keinen Ball", "pas de balle"."""
        return self.negated and is_indefinite(self.object)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Clause:
    """A subject and one or two verb phrases of the same tense; `front` stands before both."""

    subject: NounPhrase
    predicates: tuple[VerbPhrase, ...]
    front: Union[PrepositionalPhrase, lexicon.Adverb, "Subordinate", None] = None


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Existential:
    """There is something somewhere."""

    theme: Nominal | Coordination
    places: tuple[PrepositionalPhrase, ...] = ()
    past: bool = False
    front: PrepositionalPhrase | None = None


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Subordinate:
    """A clause after a key of lexicon.SUBORDINATORS."""

    conjunction: str
    clause: Clause


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Relative:
    """A relative clause; what it lacks is its "subject", its "object" or its "place" (in which)."""

    gap: str
    clause: Clause


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Compound:
    """Two main clauses joined by "and" or "but"."""

    first: Clause
    conjunction: str
    second: Clause


# What a whole sentence may be; a noun phrase alone is a caption.
Utterance = Clause | Existential | Compound | Nominal | Coordination


def is_indefinite(phrase: NounPhrase | None) -> bool:
    """Whether a noun phrase says "a ball" or "balls"."""
    return isinstance(phrase, Nominal) and phrase.determiner in ("a", "") and not phrase.numeral


def ends_in_clause(phrase: NounPhrase | None) -> bool:
    """Whether a noun phrase ends in a relative clause, to which whatever follows would seem to belong."""
    if isinstance(phrase, Coordination):
        return ends_in_clause(phrase.parts[-1])
    if not isinstance(phrase, Nominal):
        return False
    return phrase.relative is not None or any(ends_in_clause(each.object) for each in phrase.modifiers)
