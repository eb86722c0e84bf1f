"""Penn Treebank trees: reading, cleaning, and the symbol sequences that the parsing problem learns.

The linearised form is that of Vinyals et al. 2015 ("Grammar as a Foreign Language"). It is depth-first, with an opening and
a closing symbol that both contain the label, and one symbol per word. This symbol is the actual part-of-speech tag, as in
T2T (which writes `NP ... /NP` for `(NP ... )NP`), or XX for every word, as in the paper of Vinyals et al. Nothing in this
module is recursive, because a tree may be nested deeper than Python's stack.
"""

import dataclasses
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from absl import logging

from t2t_mm.corpora.corpus_files import (  # fmt: skip
    MissingCorpus,
    check_split,
    matching_files,
    missing_corpus,
    read_lines,
    warn_of_count,
)
from t2t_mm.corpora.example import CorpusError, Example, Report

# The split used in all published results (LDC99T42, sections of the Wall Street Journal part).
SECTIONS = {"train": tuple(range(2, 22)), "dev": (22,), "test": (23,)}
_TREES = {"train": 39832, "dev": 1700, "test": 2416}
_LAYOUTS = ("wsj", os.path.join("parsed", "mrg", "wsj"))

_BRACKET = re.compile(r"[()]")
_UNSPELLABLE = re.compile("[<>]")  # characters that delimit a symbol in the vocabulary
_EMPTY_ELEMENT = "-NONE-"
_ROOT = "TOP"
_ROOTS = ("", _ROOT, "ROOT", "S1")  # labels used by treebanks and parsers for the root, which has no label in the Treebank
_COMMENTS = (";", "#", "%", "*")  # first characters of comment lines outside trees
_UNKNOWN_TAG = "XX"  # every tag in the form of Vinyals et al.; here also the tag of a word for which there is no symbol


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Tree:
    """A constituent and its children, or a part-of-speech tag and its word, which is a single str child."""

    label: str
    children: tuple["Tree | str", ...]

    @property
    def is_leaf(self) -> bool:
        """Whether this is a part-of-speech tag with its word."""
        return len(self.children) == 1 and isinstance(self.children[0], str)

    @property
    def word(self) -> str:
        """The word of a part-of-speech tag."""
        word = self.children[0]
        assert isinstance(word, str), self.label
        return word

    @property
    def parts(self) -> tuple["Tree", ...]:
        """The children of a constituent."""
        return tuple(child for child in self.children if isinstance(child, Tree))

    def walk(self) -> Iterator[tuple[str, "Tree"]]:
        """Yields ("open", constituent), its content and ("close", constituent), or ("leaf", tag), depth-first."""
        pending = [("visit", self)]
        while pending:
            step, node = pending.pop()
            if step == "close":
                yield "close", node
            elif node.is_leaf:
                yield "leaf", node
            else:
                yield "open", node
                pending.append(("close", node))
                pending.extend(("visit", child) for child in reversed(node.parts))

    def leaves(self) -> list["Tree"]:
        """Returns the part-of-speech tags with their words, from left to right."""
        return [node for step, node in self.walk() if step == "leaf"]

    def words(self) -> list[str]:
        """Returns the words, from left to right."""
        return [leaf.word for leaf in self.leaves()]

    def _key(self) -> tuple[tuple[str, str, str], ...]:
        return tuple((step, node.label, node.word if step == "leaf" else "") for step, node in self.walk())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Tree({to_brackets(self)})"


def split_trees(text: str) -> Iterator[tuple[int, str]]:
    """Yields (line, text) of the trees in the text of a .mrg file, where `line` counts from 1.

    A tree ends where its brackets balance. A tree whose brackets never balance ends before the next line that begins with a
    bracket, as every tree of the Treebank does, so that a broken tree does not affect the rest of the file. Superfluous
    closing brackets belong to the tree that began on such a line.
    """
    begin = len(text) - len(text.lstrip())
    line, counted, unclosed = 1, 0, _unclosed(text)
    while begin < len(text):
        starts, end = _scan(text, begin, unclosed)
        for start, stop in zip(starts, starts[1:] + [end]):
            line += text.count("\n", counted, start)
            counted = start
            yield line, text[start:stop]
        begin = end


def _unclosed(text: str) -> set[int]:
    """Returns the positions of brackets that are never closed, so that `_scan` never reads the rest of a text repeatedly."""
    open_brackets: list[int] = []
    for bracket in _BRACKET.finditer(text):
        if bracket.group() == "(":
            open_brackets.append(bracket.start())
        elif open_brackets:
            open_brackets.pop()
    return set(open_brackets)


def _scan(text: str, begin: int, unclosed: set[int]) -> tuple[list[int], int]:
    """Returns the positions of the next trees from `begin` on (at least one), and the end of the last of them."""
    starts, depth = [begin], 0
    for bracket in _BRACKET.finditer(text, begin):
        position = bracket.start()
        if bracket.group() == ")":
            depth -= 1
            if depth < 0:
                starts, depth = starts[:1], 0
            continue
        if depth == 0 and position > begin:
            if text[position - 1] == "\n":
                return starts, position
            starts.append(position)
        if depth == 0 and position in unclosed:
            next_line = text.find("\n(", position)
            return starts, len(text) if next_line < 0 else next_line + 1
        depth += 1
    return starts, len(text)


def parse_tree(text: str, origin: str = "tree") -> Tree:
    """Returns the tree of one s-expression as in the Treebank (see `clean`).

    Args:
      text: `(label child ...)`; the label of the outermost bracket may be missing.
      origin: where the tree begins, for errors.

    Raises:
      CorpusError: brackets do not balance, a bracket is empty or has no label, or a word has no part-of-speech tag.
    """
    stack: list[tuple[str | None, list[Tree | str]]] = []
    root = None
    for token in re.findall(r"[()]|[^\s()]+", text, re.ASCII):
        token = "_".join(token.split())  # other spaces of Unicode inside a word would split it later
        if not token:
            raise CorpusError(f"{origin}: a word or a label only consists of special space characters.")
        if root is not None:
            problem = "more brackets are closed than opened" if token == ")" else f"{token!r} follows the tree"
            raise CorpusError(f"{origin}: unbalanced tree: {problem}.")
        if token == "(":
            stack.append((None, []))
        elif not stack:
            raise CorpusError(f"{origin}: not a tree: it begins with {token!r} where '(' should stand.")
        elif token == ")":
            label, children = stack.pop()
            tree = _checked(label, children, not stack, origin)
            if stack:
                stack[-1][1].append(tree)
            else:
                root = tree
        elif stack[-1][0] is None and not stack[-1][1]:
            stack[-1] = (token, [])
        else:
            stack[-1][1].append(token)
    if root is None:
        raise CorpusError(f"{origin}: unbalanced tree: {len(stack)} of its brackets are never closed.")
    return root


def _checked(label: str | None, children: list[Tree | str], is_root: bool, origin: str) -> Tree:
    if label is None and not is_root:
        raise CorpusError(f"{origin}: a bracket inside the tree has no label.")
    if label is not None and not children:
        raise CorpusError(f"{origin}: the bracket {label!r} has neither a word nor another bracket in it.")
    if len(children) != 1:
        for child in children:
            if isinstance(child, str):
                raise CorpusError(f"{origin}: the word {child!r} is not the only child of its bracket {label!r}.")
    return Tree(label or "", tuple(children))


def clean(tree: Tree) -> Tree | None:
    """Returns the tree on which parsers are trained and scored, or None if nothing is left of it.

    The steps are as follows. Empty elements (-NONE-) and constituents that become empty are removed. Function tags and
    indices are removed from labels (NP-SBJ-1 and NP=2 become NP; -LRB- and -RRB- are kept). A root without a label, or with
    the label TOP, ROOT or S1, is removed, or labelled TOP if it has several children.
    """
    open_children: list[list[Tree]] = [[]]
    for step, node in tree.walk():
        if step == "open":
            open_children.append([])
        elif step == "leaf":
            if node.label != _EMPTY_ELEMENT:
                open_children[-1].append(Tree(_bare(node.label), node.children))
        else:
            children = open_children.pop()
            if children:
                open_children[-1].append(Tree(_bare(node.label), tuple(children)))
    if not open_children[0]:
        return None
    root = open_children[0][0]
    while root.label in _ROOTS and len(root.children) == 1 and not root.is_leaf:
        root = root.parts[0]
    return Tree(_ROOT if root.label in _ROOTS else root.label, root.children)


def _bare(label: str) -> str:
    return label if label.startswith("-") else re.split("[-=]", label, maxsplit=1)[0] or label


def linearise(tree: Tree, tags: bool = True) -> list[str]:
    """Returns the symbols of a cleaned tree: `(S (NP DT NN )NP (VP VBD )VP )S`. A TOP root has no symbols.

    Without `tags`, they are `(S (NP XX XX )NP (VP XX )VP )S`.
    """
    symbols = []
    for step, node in tree.walk():
        if step == "leaf":
            symbols.append(node.label if tags else _UNKNOWN_TAG)
        elif node is not tree or node.label != _ROOT:
            symbols.append(("(" if step == "open" else ")") + node.label)
    return symbols


def tags_of(symbols: Iterable[str]) -> list[str]:
    """Returns the tags among the symbols of a linearised tree. They stand for the words where the input is no text."""
    return [symbol for symbol in symbols if symbol[0] not in "()"]


def delinearise(symbols: Iterable[str], words: Sequence[str]) -> tuple[Tree, bool]:
    """Returns the tree that the symbols and the given words describe, and whether the symbols had to be repaired.

    The tree always has exactly these words. The repairs are as follows. Constituents that are open at the closing symbol of
    an outer constituent or at the end are closed. Closing symbols without an open constituent, constituents without words,
    and tags after the last word are dropped. Words after the last tag get the tag XX under the root. Several trees in a
    row, which is the form of a TOP root with several children, become children of TOP.
    """
    open_constituents: list[tuple[str, list[Tree]]] = [(_ROOT, [])]
    used, repaired = 0, False

    def close() -> bool:
        label, children = open_constituents.pop()
        if children:
            open_constituents[-1][1].append(Tree(label, tuple(children)))
        return bool(children)

    for symbol in symbols:
        label = symbol[1:]
        if symbol in ("", "(", ")"):
            repaired = True
        elif symbol[0] == "(":
            open_constituents.append((label, []))
        elif symbol[0] == ")":
            depth = _innermost(label, open_constituents)
            repaired |= depth == 0 or depth != len(open_constituents) - 1
            while depth and len(open_constituents) > depth:
                repaired |= not close()
        elif used < len(words):
            open_constituents[-1][1].append(Tree(symbol, (words[used],)))
            used += 1
        else:
            repaired = True
    repaired |= len(open_constituents) > 1 or used < len(words)
    while len(open_constituents) > 1:
        close()
    return _rooted(open_constituents[0][1], [Tree(_UNKNOWN_TAG, (word,)) for word in words[used:]]), repaired


def _innermost(label: str, open_constituents: list[tuple[str, list[Tree]]]) -> int:
    """Returns the depth of the innermost open constituent with this label, or 0 if there is none."""
    for depth in range(len(open_constituents) - 1, 0, -1):
        if open_constituents[depth][0] == label:
            return depth
    return 0


def _rooted(trees: list[Tree], untagged: list[Tree]) -> Tree:
    if len(trees) == 1 and not trees[0].is_leaf:
        return Tree(trees[0].label, trees[0].children + tuple(untagged))
    trees = trees + untagged
    return trees[0] if len(trees) == 1 else Tree(_ROOT, tuple(trees))


def to_brackets(tree: Tree) -> str:
    """Returns a tree on one line, `(S (NP (DT The) (NN dog)) (VP (VBD slept)))`. Brackets in words become -LRB-, -RRB-."""
    pieces = []
    for step, node in tree.walk():
        if step == "close":
            pieces.append(")")
        else:
            pieces.append(f" ({node.label}" if step == "open" else f" {_leaf_brackets(node)}")
    return "".join(pieces).lstrip()


def to_indented(tree: Tree) -> str:
    """Returns a tree in readable form, with one line per constituent; a constituent that only has tags is on one line."""
    lines: list[str] = []
    depth, flat = 0, False
    for step, node in tree.walk():
        if step == "close":
            lines[-1] += ")"
            depth, flat = depth - 1, False
        elif step == "open":
            lines.append("  " * depth + f"({node.label}")
            depth, flat = depth + 1, all(child.is_leaf for child in node.parts)
        elif flat:
            lines[-1] += f" {_leaf_brackets(node)}"
        else:
            lines.append("  " * depth + _leaf_brackets(node))
    return "\n".join(lines)


def _leaf_brackets(leaf: Tree) -> str:
    return f"({leaf.label} {leaf.word.replace('(', '-LRB-').replace(')', '-RRB-')})"


class Treebank:
    """Parsing: the input is the words of a sentence, and the target is its linearised tree.

    Args:
      root: the folder of all corpora.
      folder: the folder of the Treebank in `root`. It contains `wsj/SS/*.mrg` or `parsed/mrg/wsj/SS/*.mrg`, where SS is the
        section.
      splits: glob patterns below the folder for each split. Default: the usual sections (train 02-21, dev 22, test 23).
      tags: whether the targets have the actual part-of-speech tags instead of XX. If not, the tree with actual tags is the
        reference of the example, because scoring must know which words are punctuation.
      constituents: whether the training split also contains the constituents of each tree as examples of their own (see
        `constituents`). They help if there are few trees (docs/learning.md, "Parsing"). The dev and test splits never do.
    """

    def __init__(
        self,
        root: str,
        folder: str = "ptb",
        splits: dict[str, Sequence[str]] | None = None,
        tags: bool = True,
        constituents: bool = False,
    ):
        self.folder = os.path.join(root, folder)
        self.splits = splits
        self.tags = tags
        self.constituents = constituents

    def examples(self, split: str, report: Report) -> list[Example]:
        """Returns one example per tree, with its words as the input and its symbols as the target, separated by spaces.

        The constituents of a tree follow it and have the same origin.

        Raises:
          CorpusError: there are no files, or no usable trees in them.
          TooManyBadExamples: there are more broken trees than `report` allows. Each is reported as `file:line` of its start.
        """
        check_split(split)
        files = self._files(split)
        with_constituents = self.constituents and split == "train"
        by_tree = [found for path in files for found in _file_examples(path, self.tags, with_constituents, report)]
        if self.splits is None:
            warn_of_count(self.folder, f"trees of {split}", len(by_tree), _TREES[split])
        if not by_tree:
            raise CorpusError(f"{self.folder}: the {len(files)} files of split {split} contain no usable tree.")
        return [example for examples in by_tree for example in examples]

    def _files(self, split: str) -> list[str]:
        if self.splits is None:
            return self._section_files(split)
        if split not in self.splits:
            raise MissingCorpus(f"{self.folder}: `splits` has no patterns for {split}.")
        files = matching_files(self.folder, self.splits[split])
        if not files:
            raise missing_corpus(self.folder, f"Penn Treebank files {', '.join(self.splits[split])}", "LDC99T42", "ptb")
        return files

    def _section_files(self, split: str) -> list[str]:
        for layout in _LAYOUTS:
            sections = {
                section: sorted(glob.glob(os.path.join(glob.escape(self.folder), layout, f"{section:02d}", "*.[mM][rR][gG]")))
                for section in SECTIONS[split]
            }
            absent = [f"{section:02d}" for section, files in sections.items() if not files]
            if len(absent) == len(sections):
                continue
            if absent:
                logging.warning("%s: split %s lacks sections %s.", self.folder, split, ", ".join(absent))
            return [path for files in sections.values() for path in files]
        numbers = ", ".join(f"{section:02d}" for section in SECTIONS[split])
        raise missing_corpus(
            self.folder,
            f"Penn Treebank files wsj/SS/*.mrg or parsed/mrg/wsj/SS/*.mrg of sections SS = {numbers} "
            "(other sections: set `splits`)",
            "LDC99T42",
            "ptb",
        )


def _file_examples(path: str, tags: bool, with_constituents: bool, report: Report) -> Iterator[list[Example]]:
    """Yields the examples of each usable tree of a file."""
    lines = read_lines(path, report)
    unreadable = [number for number, line in enumerate(lines, start=1) if line is None]
    for first_line, text in split_trees("\n".join(_without_comments(lines))):
        origin = f"{path}:{first_line}"
        try:
            tree = read_tree(text, origin)
            last_line = first_line + text.rstrip().count("\n")
            if any(first_line <= number <= last_line for number in unreadable):
                raise CorpusError(f"{origin}: the tree has a line that is not UTF-8")
            examples = [_example(one, origin, tags) for one in (constituents(tree) if with_constituents else [tree])]
        except CorpusError as error:
            report.skip(origin, str(error).removeprefix(f"{origin}: "))
            continue
        yield examples


def _example(tree: Tree, origin: str, tags: bool) -> Example:
    return Example(inputs=" ".join(tree.words()), origin=origin, **targets_of(tree, origin, tags))


def targets_of(tree: Tree, origin: str, tags: bool) -> dict[str, Any]:
    """Returns the `targets` and `references` of the example with this tree, which is learnt with or without its tags.

    Raises:
      CorpusError: see `target_of`.
    """
    symbols = target_of(tree, origin)
    if tags:
        return {"targets": symbols}
    return {"targets": " ".join(linearise(tree, tags=False)), "references": (symbols,)}


def constituents(tree: Tree) -> list[Tree]:
    """Returns the tree and all constituents in it that have at least two words.

    Of several constituents with the same words, only the outermost is returned.
    """
    by_words: dict[tuple[int, int], Tree] = {}  # (first word, end) -> constituent
    begins: list[int] = []
    read = 0
    for step, node in tree.walk():
        if step == "open":
            begins.append(read)
        elif step == "leaf":
            read += 1
        else:
            # An outer constituent closes later and replaces an inner one with the same words.
            by_words[begins.pop(), read] = node
    return [tree] + [node for (begin, end), node in by_words.items() if end - begin > 1 and node is not tree]


def read_tree(text: str, origin: str) -> Tree:
    """Returns the cleaned tree that a bracketed text describes.

    Raises:
      CorpusError: the brackets do not form a tree, or the tree has no words.
    """
    tree = clean(parse_tree(text, origin))
    if tree is None:
        raise CorpusError(f"{origin}: the tree has no words")
    return tree


def target_of(tree: Tree, origin: str) -> str:
    """Returns the linearised tree, the target of a parsing example.

    Raises:
      CorpusError: a label has a character that no symbol of the vocabulary can have.
    """
    symbols = " ".join(linearise(tree))
    if _UNSPELLABLE.search(symbols):
        raise CorpusError(f"{origin}: a label has one of the characters {_UNSPELLABLE.pattern[1:-1]}")
    return symbols


def _without_comments(lines: Iterable[str | None]) -> Iterator[str]:
    """Yields the lines, with comments outside trees replaced by blank lines, so that the others keep their numbers."""
    depth = 0
    for line in lines:
        line = line or ""
        if line.startswith("("):  # true for the first line of every tree in the Treebank, and for no other
            depth = 0
        if depth <= 0 and line.lstrip().startswith(_COMMENTS):
            yield ""
            continue
        depth = max(depth + line.count("(") - line.count(")"), 0)
        yield line
