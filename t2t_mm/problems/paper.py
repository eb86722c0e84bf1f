"""The eight problems of the paper (section 3), and German→French, which is off by default.

Captions and transcripts share the command "To-English" with translation, because the modality net of the input already
distinguishes them.
"""

from t2t_mm.corpora.coco import CocoCaptions
from t2t_mm.corpora.image_folders import ImageFolders
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.speech_folders import SpeechFolders
from t2t_mm.corpora.treebank import Treebank
from t2t_mm.corpora.wsj import WSJSpeech
from t2t_mm.metrics.captioning import captions
from t2t_mm.metrics.classification import top_k
from t2t_mm.metrics.parsing import bracket_f1
from t2t_mm.metrics.recognition import wer
from t2t_mm.metrics.translation import bleu
from t2t_mm.problem import Problem

COMMANDS = {"en": "To-English", "de": "To-German", "fr": "To-French"}


def translation(root: str, source_language: str, target_language: str, folder: str, names: dict | None = None) -> Problem:
    """Declares translation between two languages. Both directions read the same pair of files."""
    return Problem(
        f"wmt_{source_language}_{target_language}",
        ParallelText(root, folder, source_language, target_language, names),
        inputs="language",
        targets="text",
        command=COMMANDS[target_language],
        metrics=(bleu,),
    )


def wmt_en_de(root: str, folder: str = "wmt/en-de", names: dict | None = None) -> Problem:
    """Declares WMT English→German translation."""
    return translation(root, "en", "de", folder, names)


def wmt_de_en(root: str, folder: str = "wmt/en-de", names: dict | None = None) -> Problem:
    """Declares WMT German→English translation."""
    return translation(root, "de", "en", folder, names)


def wmt_en_fr(root: str, folder: str = "wmt/en-fr", names: dict | None = None) -> Problem:
    """Declares WMT English→French translation."""
    return translation(root, "en", "fr", folder, names)


def wmt_fr_en(root: str, folder: str = "wmt/en-fr", names: dict | None = None) -> Problem:
    """Declares WMT French→English translation."""
    return translation(root, "fr", "en", folder, names)


def wmt_de_fr(root: str, folder: str = "wmt/de-fr", names: dict | None = None) -> Problem:
    """Declares German→French translation, which the paper's table lists in its eighth row. It is off by default."""
    return translation(root, "de", "fr", folder, names)


def wsj_parsing(
    root: str,
    folder: str = "ptb",
    splits: dict | None = None,
    tags: bool = True,
    constituents: bool = False,
    words_in_trees: bool = False,
) -> Problem:
    """Declares parsing on the WSJ part of the Penn Treebank; `Treebank` and `Problem` describe the arguments."""
    source = Treebank(root, folder, splits, tags, constituents)
    return Problem("wsj_parsing", source, "language", "tree", "To-Parse-Tree", (bracket_f1,), words_in_trees)


def imagenet(root: str, folder: str = "imagenet") -> Problem:
    """Declares image classification on ImageNet (ILSVRC)."""
    return Problem("imagenet", ImageFolders(root, folder), "image", "class", "To-Class", (top_k,))


def coco(root: str, folder: str = "coco", year: int = 2014, karpathy: bool = False) -> Problem:
    """Declares image captioning on COCO."""
    return Problem("coco", CocoCaptions(root, folder, year, karpathy), "image", "text", "To-English", (captions,))


def wsj_speech(root: str, folder: str = "wsj", test: str = "eval92", splits: dict | None = None) -> Problem:
    """Declares speech recognition on WSJ, or with `splits` on a substitute corpus in an open layout (see SpeechFolders)."""
    source = SpeechFolders(root, folder, splits) if splits else WSJSpeech(root, folder, test=test)
    return Problem("wsj_speech", source, "audio", "text", "To-English", (wer,))
