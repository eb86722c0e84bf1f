"""A sentence of the mini corpora in three languages, and its tree as the Treebank prints it."""

import dataclasses

from t2t_mm.mini import english, french, german
from t2t_mm.mini.syntax import Utterance


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """english, german, french: natural text; tree: that of the English, `(label, [children])` or `(tag, word)`."""

    english: str
    german: str
    french: str
    tree: english.Tree

    def words(self) -> list[str]:
        """The English words and punctuation marks as the Treebank tokenizes them."""
        return english.words(self.tree)


def realise(utterance: Utterance) -> Sentence:
    """Puts one structure into three languages."""
    tree = english.tree(utterance)
    return Sentence(english.text(tree), german.text(utterance), french.text(utterance), tree)


def to_mrg(tree: english.Tree) -> str:
    """The tree as it stands in a .mrg file of the Treebank, with the outer bracket and a final newline.

    As there, every constituent begins a line, and so does a word that follows one.
    """
    return f"( {_bracket(tree, 4)})\n"


def _bracket(node: english.Tree, indent: int) -> str:
    label, content = node
    if isinstance(content, str):
        return f"({label} {content}) "
    pieces, after_word = [f"({label} "], True
    for child in content:
        is_word = isinstance(child[1], str)
        pieces.append("" if is_word and after_word else "\n" + " " * indent)
        pieces.append(_bracket(child, indent + 2))
        after_word = is_word
    return "".join(pieces) + ")"
