"""Realises the structures of `syntax.py` in French.

French differs from English in these points: most adjectives follow their noun and agree with it; object pronouns
precede the verb; negation is ne ... pas; the past tense is the passé composé, whose participle agrees; "bien que"
requires the subjunctive; words are contracted (du, aux) or lose their final vowel (l', qu').
"""

from t2t_mm.mini import lexicon
from t2t_mm.mini.syntax import (
    Clause,
    Compound,
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
    is_indefinite,
)  # fmt: skip

_VOWELS = frozenset("aàâeéèêiîoôuhAÀÂEÉÈÊIÎOÔUH")  # including h, because every h in the lexicon is mute
_ELIDED = {word: word[:-1] + "'" for word in ("le", "la", "de", "ne", "que")}
_CONTRACTIONS = {
    ("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux",
    ("de", "des"): "de", ("de", "de"): "de",
}  # fmt: skip
# Forms: masculine, feminine, plural.
_DETERMINERS = {
    "the": ("le", "la", "les"), "a": ("un", "une", "des"), "": ("", "", "des"), "this": ("ce", "cette", "ces"),
    "every": ("chaque", "chaque", ""), "some": ("", "", "quelques"), "many": ("", "", "beaucoup de"),
    "his": ("son", "sa", "ses"), "her": ("son", "sa", "ses"), "their": ("leur", "leur", "leurs"),
    "no": ("de", "de", "de"),
}  # fmt: skip
_BEFORE_VOWEL = {"ce": "cet", "sa": "son"}
_SUBJECTS = {"he": "il", "she": "elle", "they": "ils"}
_DIRECT = {"he": "le", "she": "la", "they": "les"}
_INDIRECT = {"he": "lui", "she": "lui", "they": "leur"}
_STRESSED = {"he": "lui", "she": "elle", "they": "eux"}
_CONJUNCTIONS = {"and": ["et"], "but": [",", "mais"]}


def text(utterance: Utterance) -> str:
    """Returns the sentence as normal text."""
    if isinstance(utterance, Clause):
        words = _clause(utterance)
    elif isinstance(utterance, Existential):
        words = _existential(utterance)
    elif isinstance(utterance, Compound):
        words = _clause(utterance.first) + _CONJUNCTIONS[utterance.conjunction] + _clause(utterance.second)
    else:
        words = _noun_phrase(utterance)
    return _detokenise(words)


def _detokenise(words: list[str]) -> str:
    """Joins the words with contraction (de le: du) and elision (le homme: l'homme); elided words do not contract."""
    written: list[str] = []
    for word in words:
        if written and word[0] in _VOWELS and written[-1] in _ELIDED:
            written[-1] = _ELIDED[written[-1]]
        # Whether "le" contracts is only known once its noun has been seen: au parc, but à l'arbre.
        if len(written) > 1 and (written[-2], written[-1]) in _CONTRACTIONS:
            written[-2:] = [_CONTRACTIONS[written[-2], written[-1]]]
            if word[0] in _VOWELS and written[-1] in _ELIDED:
                written[-1] = _ELIDED[written[-1]]
        written.append(word)
    sentence = " ".join(written).replace("' ", "'").replace(" ,", ",") + "."
    return sentence[0].upper() + sentence[1:]


def _noun_phrase(phrase: NounPhrase) -> list[str]:
    """Returns the words of a noun phrase. Pronouns that are the subject or object of a verb are handled elsewhere."""
    if isinstance(phrase, Nominal):
        return _nominal(phrase)
    if isinstance(phrase, ProperName):
        return [phrase.name.english]
    if isinstance(phrase, Pronoun):
        return [_STRESSED[phrase.word]]
    if isinstance(phrase, Gap):
        return []
    words = []
    for part in phrase.parts[:-1]:
        words += _noun_phrase(part) + [","]
    return words[:-1] + ["et"] + _noun_phrase(phrase.parts[-1])


def _nominal(phrase: Nominal, determiner: str | None = None) -> list[str]:
    """Returns the words of a noun phrase; `determiner` overrides its own ("no" is the "de" of negation)."""
    noun = phrase.noun
    form = phrase.feminine + 2 * phrase.plural
    words = [noun.french_form(phrase.plural)]
    # Adjectives before the noun are in English order, those after it in reverse: la petite balle rouge rayée.
    before = [adjective for adjective in phrase.adjectives if adjective.before]
    for adjective in reversed(before):
        vowel = words[0][0] in _VOWELS and form == 0 and adjective.before_vowel
        words.insert(0, adjective.before_vowel if vowel else adjective.french[form])
    words += [adjective.french[form] for adjective in reversed(phrase.adjectives) if not adjective.before]
    word = phrase.determiner if determiner is None else determiner
    if phrase.numeral:
        number = [lexicon.NUMERALS[phrase.numeral][1]]
        words = lexicon.QUANTIFIED[phrase.approximation][1].split() + number + words
    if not (word == "" and phrase.numeral):
        words = _determiner(word, phrase, words[0], bool(before)) + words
    for modifier in phrase.modifiers:
        words += _prepositional_phrase(modifier)
    if phrase.relative:
        words += _relative(phrase, phrase.relative)
    return words


def _determiner(word: str, phrase: Nominal, following: str, adjective_follows: bool) -> list[str]:
    if phrase.plural:
        found = _DETERMINERS[word][2]
        # De petites maisons, but des maisons rouges.
        return ["de"] if found == "des" and adjective_follows else found.split()
    found = _DETERMINERS[word][phrase.feminine]
    return [_BEFORE_VOWEL.get(found, found) if following[0] in _VOWELS else found]


def _prepositional_phrase(phrase: PrepositionalPhrase) -> list[str]:
    if isinstance(phrase.object, Gap):
        return []
    return phrase.preposition.french.split() + _noun_phrase(phrase.object)


def _relative(phrase: Nominal, relative: Relative) -> list[str]:
    if relative.gap == "subject":
        return ["qui"] + _clause(relative.clause)
    if relative.gap == "object":
        return ["que"] + _clause(relative.clause)
    place = next(each for each in relative.clause.predicates[0].phrases if isinstance(each.object, Gap))
    pronoun = ("lequel", "laquelle", "lesquels", "lesquelles")[phrase.feminine + 2 * phrase.plural]
    return [place.preposition.french, pronoun] + _clause(relative.clause)


def _subordinate(subordinate: Subordinate) -> list[str]:
    conjunction = lexicon.SUBORDINATORS[subordinate.conjunction][1].split()
    return conjunction + _clause(subordinate.clause, subjunctive=subordinate.conjunction == "although")


def _clause(clause: Clause, subjunctive: bool = False) -> list[str]:
    words = _front(clause.front) if clause.front else []
    subject = clause.subject
    words += [_SUBJECTS[subject.word]] if isinstance(subject, Pronoun) else _noun_phrase(subject)
    for number, predicate in enumerate(clause.predicates):
        words += ["et"] if number else []
        words += _predicate(predicate, subject, subjunctive)
    return words


def _front(front: PrepositionalPhrase | lexicon.Adverb | Subordinate) -> list[str]:
    if isinstance(front, lexicon.Adverb):
        return [front.french, ","]
    words = _subordinate(front) if isinstance(front, Subordinate) else _prepositional_phrase(front)
    return words + [","]


def _existential(existential: Existential) -> list[str]:
    words = _front(existential.front) if existential.front else []
    words += ["il", "y", "avait" if existential.past else "a"] + _noun_phrase(existential.theme)
    for place in existential.places:
        words += _prepositional_phrase(place)
    return words


def _predicate(phrase: VerbPhrase, subject: NounPhrase, subjunctive: bool) -> list[str]:
    finite, others = _verb_forms(phrase, subject, subjunctive)
    clitics = _clitics(phrase)
    negated = phrase.negated or phrase.frequency is lexicon.NEVER
    words = ["ne"] if negated else []
    words += [finite] if phrase.modal else clitics + [finite]
    words += ["pas"] if phrase.negated else []
    words += [phrase.frequency.french] if phrase.frequency else []
    words += clitics + others if phrase.modal else others
    return words + _after_verb(phrase, subject)


def _clitics(phrase: VerbPhrase) -> list[str]:
    words = [_DIRECT[phrase.object.word]] if isinstance(phrase.object, Pronoun) else []
    return words + ([_INDIRECT[phrase.recipient.word]] if isinstance(phrase.recipient, Pronoun) else [])


def _verb_forms(phrase: VerbPhrase, subject: NounPhrase, subjunctive: bool) -> tuple[str, list[str]]:
    """Returns the finite verb, and the participles or the infinitive that follow it."""
    verb, plural = phrase.verb, subject.plural
    if phrase.passive:
        participle = _agree(verb.french_participle, subject)
        if phrase.past:
            return _present(lexicon.HAVE, plural, subjunctive), [lexicon.BE.french_participle, participle]
        return _present(lexicon.BE, plural, subjunctive), [participle]
    finite = lexicon.MODALS[phrase.modal] if phrase.modal else verb
    infinitive = [verb.french] if phrase.modal else []
    if not phrase.past:
        return _present(finite, plural, subjunctive), infinitive
    if finite.french_past and not subjunctive:
        return finite.french_past[plural], infinitive
    if finite.french_auxiliary == "être":
        return _present(lexicon.BE, plural, subjunctive), [_agree(finite.french_participle, subject)]
    participle = finite.french_participle
    if isinstance(phrase.object, Pronoun | Gap) and not phrase.modal:
        participle = _agree(participle, phrase.object)  # agrees with a preceding object: la fleur qu'il a vue
    return _present(lexicon.HAVE, plural, subjunctive), [participle] + infinitive


def _present(verb: lexicon.Verb, plural: bool, subjunctive: bool) -> str:
    if subjunctive:
        return verb.subjunctive(plural)
    return verb.french_plural if plural else verb.french_third


def _agree(participle: str, phrase: NounPhrase) -> str:
    return participle + "e" * phrase.feminine + "s" * phrase.plural


def _after_verb(phrase: VerbPhrase, subject: NounPhrase) -> list[str]:
    words: list[str] = []
    denied = phrase.negates_object or (phrase.frequency is lexicon.NEVER and is_indefinite(phrase.object))
    if denied and isinstance(phrase.object, Nominal):  # nothing else is indefinite
        words += _nominal(phrase.object, "no")
    elif phrase.object and not isinstance(phrase.object, Pronoun):
        words += _noun_phrase(phrase.object)
    if phrase.recipient and not isinstance(phrase.recipient, Pronoun):
        words += ["à"] + _noun_phrase(phrase.recipient)
    if phrase.agent:
        words += ["par"] + _noun_phrase(phrase.agent)
    if phrase.predicate:
        words += _predicative(phrase, subject)
    words += [phrase.manner.french] if phrase.manner else []
    for each in phrase.phrases:
        words += _prepositional_phrase(each)
    words += [phrase.time.french] if phrase.time else []
    if phrase.complement:
        words += ["que"] + _clause(phrase.complement)
    if phrase.subordinate:
        words += _subordinate(phrase.subordinate)
    return words


def _predicative(phrase: VerbPhrase, subject: NounPhrase) -> list[str]:
    predicate = phrase.predicate
    if isinstance(predicate, lexicon.Adjective):
        return ["très"] * phrase.very + [predicate.french[subject.feminine + 2 * subject.plural]]
    if isinstance(predicate, PrepositionalPhrase):
        return _prepositional_phrase(predicate)
    assert predicate is not None  # the caller has checked this
    # Professions have no article: Il est professeur.
    return _noun_phrase(predicate) if predicate.adjectives else [predicate.noun.french]
