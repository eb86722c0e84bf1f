"""A sentence of the mini corpora in three languages, and its tree in the format of the Penn Treebank."""

import dataclasses

from t2t_mm.mini import english, french, german
from t2t_mm.mini.english import Tree
from t2t_mm.mini.syntax import Utterance


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence in three languages.

    Attributes:
      english: English text.
      german: German text.
      french: French text.
      tree: parse tree of the English sentence, `(label, [children])` or `(tag, word)`.
    """

    english: str
    german: str
    french: str
    tree: Tree

    def words(self) -> list[str]:
        """Returns the English words and punctuation marks, tokenized as in the Treebank."""
        return english.words(self.tree)


def realise(utterance: Utterance) -> Sentence:
    """Expresses a structure in all three languages."""
    tree = english.tree(utterance)
    return Sentence(english.text(tree), german.text(utterance), french.text(utterance), tree)


def to_mrg(tree: english.Tree) -> str:
    """Formats a tree as in the .mrg files of the Treebank, with the outer bracket and a final newline.

    As in these files, every constituent begins on a new line, and so does a word that follows a constituent.
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
