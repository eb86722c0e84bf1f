"""Realises the structures of `syntax.py` in German.

German differs from English in these points: the verb is the second constituent of a main clause and the last one of a
subordinate clause; infinitives, participles and separable prefixes close the clause; articles, adjectives and relative
pronouns are inflected for case and gender; the past tense is the perfect, except for "sein", "haben", "wissen" and
modal verbs; a relative clause at the end of the middle field moves behind the closing verb.
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
)  # fmt: skip

# Columns: masculine, neuter, feminine, plural.
_COLUMNS = {"m": 0, "n": 1, "f": 2}
_PLURAL = 3
_DEFINITE = {
    "nom": ("der", "das", "die", "die"), "acc": ("den", "das", "die", "die"),
    "dat": ("dem", "dem", "der", "den"), "gen": ("des", "des", "der", "der"),
}  # fmt: skip
_RELATIVE = {
    "nom": ("der", "das", "die", "die"), "acc": ("den", "das", "die", "die"), "dat": ("dem", "dem", "der", "denen"),
}  # fmt: skip
# For dieser and jeder, and for viele and einige.
_DETERMINER_ENDINGS = {
    "nom": ("er", "es", "e", "e"), "acc": ("en", "es", "e", "e"),
    "dat": ("em", "em", "er", "en"), "gen": ("es", "es", "er", "er"),
}  # fmt: skip
# For ein, kein, sein and ihr.
_EIN_ENDINGS = _DETERMINER_ENDINGS | {"nom": ("", "", "e", "e"), "acc": ("en", "", "e", "e")}
# Adjective endings: weak after der and dieser, mixed after ein, strong without a determiner.
_WEAK = {
    "nom": ("e", "e", "e", "en"), "acc": ("en", "e", "e", "en"), "dat": ("en",) * 4, "gen": ("en",) * 4,
}  # fmt: skip
_MIXED = _WEAK | {"nom": ("er", "es", "e", "en"), "acc": ("en", "es", "e", "en")}
_STRONG = _DETERMINER_ENDINGS | {"gen": ("en", "en", "er", "er")}

_STEMS = {
    "this": "dies", "every": "jed", "some": "einig", "many": "viel",
    "a": "ein", "no": "kein", "his": "sein", "her": "ihr", "their": "ihr",
}  # fmt: skip
_PRONOUNS = {
    "he": {"nom": "er", "acc": "ihn", "dat": "ihm"}, "she": {"nom": "sie", "acc": "sie", "dat": "ihr"},
    "they": {"nom": "sie", "acc": "sie", "dat": "ihnen"},
}  # fmt: skip
_CONTRACTIONS = {
    ("in", "dem"): "im", ("an", "dem"): "am", ("von", "dem"): "vom", ("bei", "dem"): "beim", ("in", "das"): "ins",
    ("an", "das"): "ans",
}  # fmt: skip
_CONJUNCTIONS = {"and": ["und"], "but": [",", "aber"]}

# The words of a phrase and, separately, the relative clause at its end, which may move to the end of the sentence.
_Phrase = tuple[list[str], list[str]]


def text(utterance: Utterance) -> str:
    """Returns the sentence as normal text."""
    if isinstance(utterance, Clause):
        words = _main_clause(utterance)
    elif isinstance(utterance, Existential):
        words = _existential(utterance)
    elif isinstance(utterance, Compound):
        conjunction = _CONJUNCTIONS[utterance.conjunction]
        words = _main_clause(utterance.first) + conjunction + _main_clause(utterance.second)
    else:
        words = _inline(utterance, "nom")
    return _detokenise(words)


def _detokenise(words: list[str]) -> str:
    written: list[str] = []
    for word in words + ["."]:
        previous = written[-1] if written else ""
        if previous == "," and word in (",", "."):
            written[-1] = word  # where two clauses end at the same place, only one mark is written
        elif (previous, word) in _CONTRACTIONS:
            written[-1] = _CONTRACTIONS[previous, word]
        else:
            written.append(word)
    sentence = " ".join(written).replace(" ,", ",").replace(" .", ".")
    return sentence[0].upper() + sentence[1:]


def _inline(phrase: NounPhrase, case: str) -> list[str]:
    words, clause = _noun_phrase(phrase, case)
    return words + clause


def _noun_phrase(phrase: NounPhrase, case: str) -> _Phrase:
    if isinstance(phrase, Nominal):
        return _nominal(phrase, case)
    if isinstance(phrase, Pronoun):
        return [_PRONOUNS[phrase.word][case]], []
    if isinstance(phrase, ProperName):
        return [phrase.name.english], []
    if isinstance(phrase, Gap):
        return [], []
    words = []
    for part in phrase.parts[:-1]:
        words += _inline(part, case) + [","]
    last, clause = _noun_phrase(phrase.parts[-1], case)
    return words[:-1] + ["und"] + last, clause


def _nominal(phrase: Nominal, case: str, determiner: str | None = None) -> _Phrase:
    """Returns the phrase of a noun; `determiner` overrides its own ("no" for a negated object)."""
    noun = phrase.noun
    column = _PLURAL if phrase.plural else _COLUMNS[noun.german_gender]
    word = phrase.determiner if determiner is None else determiner
    words, endings = _determiner(word, case, column)
    if phrase.numeral:
        approximation = lexicon.QUANTIFIED[phrase.approximation][0]
        words += [approximation] if approximation else []
        words.append(lexicon.NUMERALS[phrase.numeral][0])
    ending = endings[case][column]
    words += [adjective.german_stem() + ending for adjective in phrase.adjectives]
    words.append(noun.german_form(case, phrase.plural))
    clause: list[str] = []
    for modifier in phrase.modifiers:
        words += clause
        more, clause = _prepositional_phrase(modifier)
        words += more
    if phrase.relative:
        clause = _relative(phrase, phrase.relative)
    return words, clause


def _determiner(word: str, case: str, column: int) -> tuple[list[str], dict]:
    """Returns the determiner and the table of endings of the adjectives that follow it."""
    if word == "the":
        return [_DEFINITE[case][column]], _WEAK
    if not word:
        return [], _STRONG
    if word in ("a", "no", "his", "her", "their"):
        return [_STEMS[word] + _EIN_ENDINGS[case][column]], _MIXED
    endings = _STRONG if word in ("some", "many") else _WEAK
    return [_STEMS[word] + _DETERMINER_ENDINGS[case][column]], endings


def _prepositional_phrase(phrase: PrepositionalPhrase) -> _Phrase:
    preposition = phrase.preposition
    if isinstance(phrase.object, Gap):
        return [], []
    if preposition is lexicon.OF:
        if isinstance(phrase.object, Nominal):
            return _noun_phrase(phrase.object, "gen")
        return ["von"] + _inline(phrase.object, "dat"), []
    words, clause = _noun_phrase(phrase.object, preposition.german_case)
    return preposition.german.split() + words, clause


def _relative(phrase: Nominal, relative: Relative) -> list[str]:
    predicate = relative.clause.predicates[0]
    case, preposition = "nom", ""
    if relative.gap == "object":
        case, preposition = predicate.verb.german_case, predicate.verb.german_preposition
    elif relative.gap == "place":
        gap = next(each for each in predicate.phrases if isinstance(each.object, Gap))
        case, preposition = "dat", gap.preposition.german
    pronoun = _RELATIVE[case][_PLURAL if phrase.plural else _COLUMNS[phrase.noun.german_gender]]
    # Preposition and pronoun are one token, because "in dem" only contracts to "im" if "dem" is an article.
    opening = f"{preposition} {pronoun}" if preposition else pronoun
    return [",", opening] + _verb_last_clause(relative.clause) + [","]


def _subordinate(subordinate: Subordinate) -> list[str]:
    word = lexicon.SUBORDINATORS[subordinate.conjunction][0]
    if subordinate.conjunction == "when" and subordinate.clause.predicates[0].past:
        word = "als"
    return [word] + _verb_last_clause(subordinate.clause)


def _verb_last_clause(clause: Clause) -> list[str]:
    words = _inline(clause.subject, "nom")
    for number, predicate in enumerate(clause.predicates):
        finite, middle, closing, after = _predicate(predicate, clause.subject.plural)
        words += ["und"] if number else []
        words += middle
        # A separable prefix rejoins its verb: "er kommt ... an", but "weil er ankommt".
        joined = [closing[0] + finite] if _is_separated(predicate) else closing + [finite]
        words += joined + after
    return words


def _main_clause(clause: Clause) -> list[str]:
    subject = _inline(clause.subject, "nom")
    first, *others = [_predicate(predicate, clause.subject.plural) for predicate in clause.predicates]
    finite, middle, closing, after = first
    if clause.front:
        words = _front(clause.front) + [finite] + subject
    else:
        words = subject + [finite]
    words = words + middle + closing + after
    for finite, middle, closing, after in others:
        words += ["und", finite] + middle + closing + after
    return words


def _front(front: PrepositionalPhrase | lexicon.Adverb | Subordinate) -> list[str]:
    if isinstance(front, lexicon.Adverb):
        return [front.german]
    if isinstance(front, Subordinate):
        return _subordinate(front) + [","]
    words, clause = _prepositional_phrase(front)
    return words + clause


def _existential(existential: Existential) -> list[str]:
    finite = "gab" if existential.past else "gibt"
    words = [finite, "es"] if existential.front else ["es", finite]
    words = (_front(existential.front) if existential.front else []) + words + _inline(existential.theme, "acc")
    for place in existential.places:
        words += _front(place)
    return words


def _is_separated(phrase: VerbPhrase) -> bool:
    """Whether the verb's prefix is separated from it in a main clause."""
    return bool(phrase.verb.german_prefix) and not (phrase.past or phrase.modal or phrase.passive)


def _predicate(phrase: VerbPhrase, plural: bool) -> tuple[str, list[str], list[str], list[str]]:
    """Returns the finite verb, the middle field, the closing verb forms, and the clauses that follow them."""
    finite, closing = _verb_forms(phrase, plural)
    fields = _middle_field(phrase)
    middle = []
    for words, clause in fields[:-1]:
        middle += words + clause
    after: list[str] = []
    if fields:
        words, after = fields[-1]
        middle += words
    if phrase.complement:
        after = after + [",", "dass"] + _verb_last_clause(phrase.complement) + [","]
    if phrase.subordinate:
        after = after + [","] + _subordinate(phrase.subordinate) + [","]
    return finite, middle, closing, after


def _verb_forms(phrase: VerbPhrase, plural: bool) -> tuple[str, list[str]]:
    """Returns the finite verb, and the verb forms that close the clause."""
    verb = phrase.verb
    participle = verb.german_prefix + verb.german_participle
    if phrase.passive:
        forms = ("wurde", "wurden") if phrase.past else ("wird", "werden")
        return forms[plural], [participle]
    if phrase.modal:
        return _finite(lexicon.MODALS[phrase.modal], plural, phrase.past), [verb.german_prefix + verb.german]
    if phrase.past and not verb.german_past:
        auxiliary = lexicon.BE if verb.german_auxiliary == "sein" else lexicon.HAVE
        return _finite(auxiliary, plural, past=False), [participle]
    return _finite(verb, plural, phrase.past), [verb.german_prefix] if verb.german_prefix else []


def _finite(verb: lexicon.Verb, plural: bool, past: bool) -> str:
    if past:
        assert verb.german_past is not None  # without it, the past is the perfect tense, which has a finite verb of its own
        return verb.german_past[plural]
    if verb is lexicon.BE:
        return "sind" if plural else "ist"
    return verb.german if plural else verb.german_third


def _middle_field(phrase: VerbPhrase) -> list[_Phrase]:
    """Returns, in order: pronouns, time, recipient, object, "nicht", manner, prepositional phrases and predicate."""
    verb, obj = phrase.verb, phrase.object
    pronouns: list[_Phrase] = []
    nouns: list[_Phrase] = []
    prepositional: list[_Phrase] = []
    if phrase.recipient:
        (pronouns if isinstance(phrase.recipient, Pronoun) else nouns).append(_noun_phrase(phrase.recipient, "dat"))
    if obj and verb.german_preposition:
        if not isinstance(obj, Gap):
            words, clause = _noun_phrase(obj, verb.german_case)
            prepositional.append(([verb.german_preposition] + words, clause))
    elif isinstance(obj, Pronoun):
        pronouns.insert(0, _noun_phrase(obj, verb.german_case))
    elif isinstance(obj, Nominal) and phrase.negates_object:
        nouns.append(_nominal(obj, verb.german_case, "no"))
    elif obj:
        nouns.append(_noun_phrase(obj, verb.german_case))
    adverbs = [adverb.german for adverb in (phrase.time, phrase.frequency) if adverb]
    fields = pronouns + [([adverb], []) for adverb in adverbs] + nouns
    if phrase.negated and not phrase.negates_object:
        fields.append((["nicht"], []))
    if phrase.manner:
        fields.append(([phrase.manner.german], []))
    fields += prepositional
    if phrase.agent:
        fields.append((["von"] + _inline(phrase.agent, "dat"), []))
    fields += [_prepositional_phrase(each) for each in phrase.phrases]
    if phrase.predicate:
        fields.append(_predicative(phrase))
    return [field for field in fields if field[0]]


def _predicative(phrase: VerbPhrase) -> _Phrase:
    predicate = phrase.predicate
    if isinstance(predicate, lexicon.Adjective):
        return (["sehr"] if phrase.very else []) + [predicate.german], []
    if isinstance(predicate, PrepositionalPhrase):
        return _prepositional_phrase(predicate)
    assert predicate is not None  # the caller has checked this
    if predicate.adjectives:
        return _noun_phrase(predicate, "nom")
    return [predicate.noun.german], []  # professions have no article: Er ist Lehrer.
