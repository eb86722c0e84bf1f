"""Labelled bracket F1, counted like EVALB with COLLINS.prm."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from t2t_mm.corpora.example import CorpusError, Example
from t2t_mm.corpora.treebank import Tree, delinearise, tags_of

# The tags that COLLINS.prm deletes (DELETE_LABEL), so that the attachment of punctuation does not matter.
PUNCTUATION = {",", ":", "``", "''", "."}
# COLLINS.prm deletes TOP. S1 and ROOT are other parsers' names of the same node.
_NOT_COUNTED = {"TOP", "S1", "ROOT", ""}
# EQ_LABEL of COLLINS.prm.
_EQUAL = {"PRT": "ADVP"}


def bracket_f1(predictions: Sequence[str], examples: Sequence[Example]) -> dict:
    """Returns precision, recall and F1 of labelled brackets over the corpus, all in percent.

    The brackets of a tree are a multiset of (label, first word, end), counted in words that are not punctuation. The tags of
    the reference determine punctuation, so that both trees have the same positions. Parts of speech and TOP are not
    brackets, and ADVP equals PRT. Outputs that are not trees are repaired first (see `delinearise`).

    Args:
      predictions: linearised trees.
      examples: the inputs are the words, and the targets are linearised trees. If the targets have no actual tags, the
        references are the trees with tags.

    Returns:
      "f1", "precision", "recall", "complete_match" (trees with all brackets correct), "tagging_accuracy", and "repaired"
      (outputs that had to be repaired).

    Raises:
      CorpusError: an example has several inputs, so its words are unknown; or a reference is no tree over its words.
    """
    if not examples:
        return {}
    matched = predicted = expected = complete = right_tags = words_in_all = repairs = 0
    for prediction, example in zip(predictions, examples, strict=True):
        if not isinstance(example.inputs, str):
            raise CorpusError(f"{example.origin}: {len(example.inputs)} inputs; use bracket_f1_without_words.")
        words = example.inputs.split()
        tree, repaired = delinearise((prediction or "").split(), words)
        reference, other = delinearise(example.accepted[0].split(), words)
        # EVALB does not compare trees over different words either. A repaired reference would agree with wrong answers.
        if other:
            raise CorpusError(
                f"{example.origin}: the reference is no tree over the {len(words)} words of the input "
                f"({example.input_line[:60]!r}). The input must be tokenised as the tree is."
            )
        tags = _tags(reference)
        counted = [tag not in PUNCTUATION for tag in tags]
        # Multisets: a unary chain may contain the same bracket twice.
        mine, theirs = brackets(tree, counted), brackets(reference, counted)
        common = sum((mine & theirs).values())
        matched += common
        predicted += sum(mine.values())
        expected += sum(theirs.values())
        complete += mine == theirs
        # Counted, because a repaired tree still scores: an F1 alone would hide how many outputs were no trees.
        repairs += repaired
        # A repaired tree has exactly one leaf per word, so the tags of both trees can be paired.
        pairs = [(a, b) for a, b, scored in zip(_tags(tree), tags, counted) if scored]
        right_tags += sum(a == b for a, b in pairs)
        words_in_all += len(pairs)
    # Micro-averaged: EVALB adds up the brackets of all sentences before it divides.
    precision, recall = matched / max(predicted, 1), matched / max(expected, 1)
    return {
        # 2·P·R / (P + R) in terms of the counts, which is defined even if nothing matches.
        "f1": 100 * 2 * matched / max(predicted + expected, 1),
        "precision": 100 * precision,
        "recall": 100 * recall,
        "complete_match": 100 * complete / len(examples),
        "tagging_accuracy": 100 * right_tags / max(words_in_all, 1),
        "repaired": 100 * repairs / len(examples),
    }


def bracket_f1_without_words(predictions: Sequence[str], examples: Sequence[Example]) -> dict:
    """Returns `bracket_f1` for inputs that are not text, such as speech. The tags of the reference replace the words."""
    spelled = [dataclasses.replace(example, inputs=" ".join(tags_of(example.target_text.split()))) for example in examples]
    return bracket_f1(predictions, spelled)


def brackets(tree: Tree, counted: Sequence[bool]) -> Counter:
    """Returns (label, start, end) of every constituent, as positions among the counted words."""
    found: Counter = Counter()
    starts, word, position = [], 0, 0
    for step, node in tree.walk():
        if step == "open":
            starts.append(position)
        elif step == "leaf":
            # True is 1: only counted words move the position.
            position += counted[word]
            word += 1
        else:
            start = starts.pop()
            # A constituent of punctuation alone spans no counted word, and is no bracket.
            if node.label not in _NOT_COUNTED and position > start:
                found[_EQUAL.get(node.label, node.label), start, position] += 1
    return found


def _tags(tree: Tree) -> list[str]:
    return [node.label for step, node in tree.walk() if step == "leaf"]
