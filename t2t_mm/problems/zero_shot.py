"""Pairs of input and command that no problem of the paper has. Only the mini corpora have references for them.

A joint model knows both the modality nets and the command tokens of these problems, but has never seen them together.
The training sets are a few examples for fine-tuning. `paper.wmt_de_fr` is another such problem.
"""

from collections.abc import Sequence

from t2t_mm.corpora.coco import CocoCaptions
from t2t_mm.corpora.speech_folders import SpeechFolders
from t2t_mm.metrics.captioning import captions
from t2t_mm.metrics.parsing import bracket_f1_without_words
from t2t_mm.metrics.translation import bleu
from t2t_mm.problem import Problem
from t2t_mm.problems.paper import COMMANDS, translation


def wmt_fr_de(root: str) -> Problem:
    """Declares French→German translation."""
    return translation(root, "fr", "de", "wmt/de-fr")


def caption(root: str, language: str) -> Problem:
    """Declares captioning of the COCO images in German ("de") or French ("fr")."""
    source = CocoCaptions(root, f"coco-{language}")
    return Problem(f"caption_{language}", source, "image", "text", COMMANDS[language], (captions,))


def speech(root: str, language: str) -> Problem:
    """Declares translation of English speech into German ("de") or French ("fr") text."""
    return Problem(f"speech_{language}", _spoken(root, language), "audio", "text", COMMANDS[language], (bleu,))


def speech_tree(root: str) -> Problem:
    """Declares parsing of English speech."""
    return Problem("speech_tree", _spoken(root, "tree"), "audio", "tree", "To-Parse-Tree", (bracket_f1_without_words,))


def _spoken(root: str, what: str) -> SpeechFolders:
    # The recordings are those of the mini WSJ; only the tables with the references differ.
    splits: dict[str, Sequence[str]] = {split: (f"{split}.{what}.tsv",) for split in ("train", "dev", "test")}
    # Trees and German nouns need their capitals, unlike transcripts.
    return SpeechFolders(root, "wsj", splits, lower_case=False)
