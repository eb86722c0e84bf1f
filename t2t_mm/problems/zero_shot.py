"""Pairs of an input and a command that no problem of the paper has; their references exist in the mini corpora alone.

A joint model knows their modality nets and their command tokens, and has never met the two together. Training sets are a
few examples, for fine-tuning. `paper.wmt_de_fr` is one more of them.
"""

from t2t_mm.corpora.coco import CocoCaptions
from t2t_mm.corpora.speech_folders import SpeechFolders
from t2t_mm.metrics.captioning import captions
from t2t_mm.metrics.parsing import bracket_f1_without_words
from t2t_mm.metrics.translation import bleu
from t2t_mm.problem import Problem
from t2t_mm.problems.paper import COMMANDS, translation


def wmt_fr_de(root: str) -> Problem:
    return translation(root, "fr", "de", "wmt/de-fr")


def caption(root: str, language: str) -> Problem:
    """The pictures of COCO, described in German ("de") or French ("fr")."""
    source = CocoCaptions(root, f"coco-{language}")
    return Problem(f"caption_{language}", source, "image", "text", COMMANDS[language], (captions,))


def speech(root: str, language: str) -> Problem:
    """English speech, written down in German ("de") or French ("fr")."""
    return Problem(f"speech_{language}", _spoken(root, language), "audio", "text", COMMANDS[language], (bleu,))


def speech_tree(root: str) -> Problem:
    """English speech to the parse tree of the sentence."""
    return Problem(
        "speech_tree", _spoken(root, "tree"), "audio", "tree", "To-Parse-Tree", (bracket_f1_without_words,)
    )


def _spoken(root: str, what: str) -> SpeechFolders:
    splits = {split: (f"{split}.{what}.tsv",) for split in ("train", "dev", "test")}
    return SpeechFolders(root, "wsj", splits, lower_case=False)
