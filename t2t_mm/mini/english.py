"""Realises the structures of `syntax.py` in English, as Penn Treebank trees with function tags and empty elements.

A tree is a pair: (label, [children]) or, for a word, (part-of-speech tag, word). Labels, function tags and traces
follow the Treebank II bracketing guidelines (Bies et al. 1995).
"""

from typing import Any

from t2t_mm.mini import lexicon
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
)  # fmt: skip

# The second element is a list of trees or a word. Its type is not more specific, because lists are extended in place and
# written as literals of pairs, for which a type checker infers narrower types.
Tree = tuple[str, Any]

_DETERMINER_TAGS = {"his": "PRP$", "her": "PRP$", "their": "PRP$", "many": "JJ"}
_OBJECT_PRONOUNS = {"he": "him", "she": "her", "they": "them"}
_SUBORDINATE_LABELS = {"because": "SBAR-PRP", "although": "SBAR-ADV", "while": "SBAR-TMP", "when": "SBAR-TMP"}
_PERIOD = (".", ".")


def tree(utterance: Utterance) -> Tree:
    """Returns the tree of a complete sentence, with a capitalised first word and a final period."""
    node = _Realiser().utterance(utterance)
    _capitalise(node)
    return node


def leaves(node: Tree) -> list[tuple[str, str]]:
    """Returns (tag, word) for every leaf from left to right, including empty elements."""
    found, pending = [], [node]
    while pending:
        label, content = pending.pop()
        if isinstance(content, str):
            found.append((label, content))
        else:
            pending.extend(reversed(content))
    return found


def words(node: Tree) -> list[str]:
    """Returns the words and punctuation marks from left to right, without empty elements."""
    return [word for tag, word in leaves(node) if tag != "-NONE-"]


def text(node: Tree) -> str:
    """Returns the sentence as normal text."""
    return " ".join(words(node)).replace(" ,", ",").replace(" .", ".")


def _capitalise(node: Tree) -> None:
    # No sentence begins with an empty element, so the first word is found by following the first children.
    while not isinstance(node[1][0][1], str):
        node = node[1][0]
    tag, word = node[1][0]
    node[1][0] = (tag, word[0].upper() + word[1:])


class _Realiser:
    """Builds the tree of one sentence. It numbers the traces and keeps track of the relative clauses that are open."""

    def __init__(self):
        self._last_index = 0
        self._open_relatives = []  # trace indices, innermost last

    def _new_index(self) -> int:
        self._last_index += 1
        return self._last_index

    def utterance(self, utterance: Utterance) -> Tree:
        if isinstance(utterance, Clause):
            node = self.clause(utterance)
        elif isinstance(utterance, Existential):
            node = self.existential(utterance)
        elif isinstance(utterance, Compound):
            first, second = self.clause(utterance.first), self.clause(utterance.second)
            node = ("S", [first, (",", ","), ("CC", utterance.conjunction), second])
        else:
            node = self.noun_phrase(utterance)
        node[1].append(_PERIOD)
        return node

    def noun_phrase(self, phrase: NounPhrase, label: str = "NP") -> Tree:
        if isinstance(phrase, Nominal):
            return self._nominal(phrase, label)
        if isinstance(phrase, Coordination):
            return (label, self._coordination(phrase))
        if isinstance(phrase, Pronoun):
            subject = label.startswith("NP-SBJ")
            return (label, [("PRP", phrase.word if subject else _OBJECT_PRONOUNS[phrase.word])])
        if isinstance(phrase, ProperName):
            return (label, [("NNP", phrase.name.english)])
        return (label, [("-NONE-", f"*T*-{self._open_relatives[-1]}")])

    def _coordination(self, phrase: Coordination) -> list[Tree]:
        children = []
        for number, part in enumerate(phrase.parts, start=1):
            if number == len(phrase.parts):
                children.append(("CC", "and"))
            elif number > 1:
                children.append((",", ","))
            children.append(self.noun_phrase(part))
        return children

    def _nominal(self, phrase: Nominal, label: str) -> Tree:
        noun = ("NNS", phrase.noun.plural) if phrase.plural else ("NN", phrase.noun.english)
        rest = [("JJ", adjective.english) for adjective in phrase.adjectives] + [noun]
        if phrase.numeral:
            rest.insert(0, _numeral(phrase))
        if phrase.determiner:
            word = "these" if phrase.determiner == "this" and phrase.plural else phrase.determiner
            if word == "a" and rest[0][1][0] in "aeiou":
                word = "an"
            rest.insert(0, (_DETERMINER_TAGS.get(word, "DT"), word))
        if phrase.modifiers:
            return (label, [("NP", rest)] + [self.prepositional_phrase(each) for each in phrase.modifiers])
        if phrase.relative:
            return (label, [("NP", rest), self.relative(phrase, phrase.relative)])
        return (label, rest)

    def prepositional_phrase(self, phrase: PrepositionalPhrase) -> Tree:
        label = f"PP-{phrase.function}" if phrase.function else "PP"
        if isinstance(phrase.object, Gap):
            return (label, [("-NONE-", f"*T*-{self._open_relatives[-1]}")])
        inner = self.noun_phrase(phrase.object)
        *outer, last = phrase.preposition.english.split()
        if outer:  # in front of, to the left of
            tags = {"the": "DT", "front": "NN", "left": "NN", "right": "NN"}
            noun = ("NP", [(tags[word], word) for word in outer[1:]])
            inner, last = ("NP", [noun, ("PP", [("IN", last), inner])]), outer[0]
        return (label, [("TO" if last == "to" else "IN", last), inner])

    def relative(self, phrase: Nominal, relative: Relative) -> Tree:
        person, index = phrase.noun.kind == "person", self._new_index()
        if relative.gap == "place":
            preposition = _gap_preposition(relative).english
            opening = (f"WHPP-{index}", [("IN", preposition), ("WHNP", [("WDT", "which")])])
        elif person:
            opening = (f"WHNP-{index}", [("WP", "who" if relative.gap == "subject" else "whom")])
        else:
            opening = (f"WHNP-{index}", [("WDT", "that")])
        self._open_relatives.append(index)
        clause = self.clause(relative.clause)
        self._open_relatives.pop()
        return ("SBAR", [opening, clause])

    def subordinate(self, subordinate: Subordinate) -> Tree:
        label = _SUBORDINATE_LABELS[subordinate.conjunction]
        if subordinate.conjunction != "when":
            return (label, [("IN", subordinate.conjunction), self.clause(subordinate.clause)])
        index = self._new_index()
        clause = self.clause(subordinate.clause)
        clause[1][-1][1].append(("ADVP-TMP", [("-NONE-", f"*T*-{index}")]))
        return (label, [(f"WHADVP-{index}", [("WRB", "when")]), clause])

    def clause(self, clause: Clause) -> Tree:
        children = []
        if isinstance(clause.front, lexicon.Adverb):
            children.append(_time(clause.front))
        elif clause.front:
            if isinstance(clause.front, Subordinate):
                front = self.subordinate(clause.front)
            else:
                front = self.prepositional_phrase(clause.front)
            children += [front, (",", ",")]
        controls = any(predicate.passive or predicate.modal == "want" for predicate in clause.predicates)
        index = self._new_index() if controls else 0
        plural = clause.subject.plural
        children.append(self.noun_phrase(clause.subject, f"NP-SBJ-{index}" if controls else "NP-SBJ"))
        predicate = clause.predicates[0]
        if len(clause.predicates) == 2:
            first, second = (self.verb_phrase(each, plural, index) for each in clause.predicates)
            children.append(("VP", [first, ("CC", "and"), second]))
            return ("S", children)
        if predicate.frequency and predicate.verb is not lexicon.BE:
            children.append(("ADVP-TMP", [("RB", predicate.frequency.english)]))
        children.append(self.verb_phrase(predicate, plural, index))
        return ("S", children)

    def existential(self, existential: Existential) -> Tree:
        children = []
        if existential.front:
            children += [self.prepositional_phrase(existential.front), (",", ",")]
        theme = existential.theme
        # "There is a cat and a dog": the verb agrees with the noun next to it.
        plural = theme.parts[0].plural if isinstance(theme, Coordination) else theme.plural
        verb_phrase = [_be(plural, existential.past), self.noun_phrase(theme, "NP-PRD")]
        verb_phrase += [self.prepositional_phrase(place) for place in existential.places]
        return ("S", children + [("NP-SBJ", [("EX", "there")]), ("VP", verb_phrase)])

    def verb_phrase(self, phrase: VerbPhrase, plural: bool, index: int) -> Tree:
        """Returns the tree of a verb phrase. `index` is the index of the subject, for empty elements that refer to it."""
        verb, rest = phrase.verb, self._after_verb(phrase)
        negation = [("RB", "not")] if phrase.negated else []
        if phrase.agent is not None:  # passive
            agent = ("PP", [("IN", "by"), self.noun_phrase(phrase.agent, "NP-LGS")])
            participle = [("VBN", verb.participle), ("NP", [("-NONE-", f"*-{index}")]), agent]
            return ("VP", [_be(plural, phrase.past)] + negation + [("VP", participle + rest)])
        if verb is lexicon.BE:
            frequency = [("ADVP-TMP", [("RB", phrase.frequency.english)])] if phrase.frequency else []
            return ("VP", [_be(plural, phrase.past)] + negation + frequency + rest)
        infinitive = ("VP", [("VB", verb.english)] + rest)
        if phrase.modal == "want":
            to = ("S", [("NP-SBJ", [("-NONE-", f"*-{index}")]), ("VP", [("TO", "to"), infinitive])])
            return ("VP", [_finite(lexicon.MODALS["want"], plural, phrase.past), to])
        if phrase.modal:
            modal = lexicon.MODALS[phrase.modal]
            return ("VP", [("MD", modal.past if phrase.past else modal.third), infinitive])
        if phrase.negated:
            do = ("VBD", "did") if phrase.past else ("VBP", "do") if plural else ("VBZ", "does")
            return ("VP", [do] + negation + [infinitive])
        return ("VP", [_finite(verb, plural, phrase.past)] + rest)

    def _after_verb(self, phrase: VerbPhrase) -> list[Tree]:
        children = [("PRT", [("RP", phrase.verb.particle)])] if phrase.verb.particle else []
        children += self._objects(phrase)
        if phrase.predicate:
            children.append(self._predicate(phrase))
        if phrase.manner:
            children.append(("ADVP-MNR", [("RB", phrase.manner.english)]))
        children += [self.prepositional_phrase(each) for each in phrase.phrases]
        if phrase.time:
            children.append(_time(phrase.time))
        if phrase.complement:
            that = ("-NONE-", "0") if phrase.verb.english == "think" else ("IN", "that")
            children.append(("SBAR", [that, self.clause(phrase.complement)]))
        if phrase.subordinate:
            children.append(self.subordinate(phrase.subordinate))
        return children

    def _objects(self, phrase: VerbPhrase) -> list[Tree]:
        preposition = ("TO" if phrase.verb.preposition == "to" else "IN", phrase.verb.preposition)
        if not phrase.object:
            return []
        node = self.noun_phrase(phrase.object)
        if not phrase.recipient:
            return [("PP-CLR", [preposition, node])] if phrase.verb.preposition else [node]
        recipient = self.noun_phrase(phrase.recipient)
        if phrase.verb.preposition:
            return [node, ("PP-DTV", [preposition, recipient])]
        return [recipient, node]

    def _predicate(self, phrase: VerbPhrase) -> Tree:
        predicate = phrase.predicate
        if isinstance(predicate, lexicon.Adjective):
            very = [("RB", "very")] if phrase.very else []
            return ("ADJP-PRD", very + [("JJ", predicate.english)])
        if isinstance(predicate, PrepositionalPhrase):
            return ("PP-LOC-PRD", self.prepositional_phrase(predicate)[1])
        assert predicate is not None  # the caller has checked this
        return self.noun_phrase(predicate, "NP-PRD")


def _gap_preposition(relative: Relative) -> lexicon.Preposition:
    """Returns the preposition that a relative clause of place moves to its front, as in "the house in which ..."."""
    for phrase in relative.clause.predicates[0].phrases:
        if isinstance(phrase.object, Gap):
            return phrase.preposition
    raise ValueError("A relative clause of place has no prepositional phrase with a gap.")


def _numeral(phrase: Nominal) -> Tree:
    numeral = ("CD", phrase.numeral)
    if not phrase.approximation:
        return numeral
    if phrase.approximation == "about":
        return ("QP", [("IN", "about"), numeral])
    return ("QP", [("JJR", "more"), ("IN", "than"), numeral])


def _time(adverb: lexicon.Adverb) -> Tree:
    return ("NP-TMP", [("NN", adverb.english)])


def _be(plural: bool, past: bool) -> Tree:
    if past:
        return ("VBD", "were" if plural else "was")
    return ("VBP", "are") if plural else ("VBZ", "is")


def _finite(verb: lexicon.Verb, plural: bool, past: bool) -> Tree:
    if past:
        return ("VBD", verb.past)
    return ("VBP", verb.english) if plural else ("VBZ", verb.third)
