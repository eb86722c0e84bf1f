"""The eight problems of the paper (3), and German→French, off by default.

Captions and transcripts share "To-English" with translation: what the input is, its modality net already tells.
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


def translation(root: str, source_language: str, target_language: str, folder: str, names=None) -> Problem:
    """Translation between two languages; one pair of files serves both directions."""
    return Problem(
        f"wmt_{source_language}_{target_language}",
        ParallelText(root, folder, source_language, target_language, names),
        inputs="language",
        targets="text",
        command=COMMANDS[target_language],
        metrics=(bleu,),
    )


def wmt_en_de(root: str, folder: str = "wmt/en-de", names: dict | None = None) -> Problem:
    return translation(root, "en", "de", folder, names)


def wmt_de_en(root: str, folder: str = "wmt/en-de", names: dict | None = None) -> Problem:
    return translation(root, "de", "en", folder, names)


def wmt_en_fr(root: str, folder: str = "wmt/en-fr", names: dict | None = None) -> Problem:
    return translation(root, "en", "fr", folder, names)


def wmt_fr_en(root: str, folder: str = "wmt/en-fr", names: dict | None = None) -> Problem:
    return translation(root, "fr", "en", folder, names)


def wmt_de_fr(root: str, folder: str = "wmt/de-fr", names: dict | None = None) -> Problem:
    """German→French: what the paper's table prints in its eighth line. Off by default."""
    return translation(root, "de", "fr", folder, names)


def wsj_parsing(root: str, folder: str = "ptb", splits: dict | None = None, tags: bool = True) -> Problem:
    source = Treebank(root, folder, splits, tags)
    return Problem("wsj_parsing", source, "language", "tree", "To-Parse-Tree", (bracket_f1,))


def imagenet(root: str, folder: str = "imagenet") -> Problem:
    return Problem("imagenet", ImageFolders(root, folder), "image", "class", "To-Class", (top_k,))


def coco(root: str, folder: str = "coco", year: int = 2014, karpathy: bool = False) -> Problem:
    return Problem("coco", CocoCaptions(root, folder, year, karpathy), "image", "text", "To-English", (captions,))


def wsj_speech(root: str, folder: str = "wsj", test: str = "eval92", splits: dict | None = None) -> Problem:
    """WSJ; or, with `splits`, a corpus in an open layout (see SpeechFolders) that stands in for it."""
    source = SpeechFolders(root, folder, splits) if splits else WSJSpeech(root, folder, test=test)
    return Problem("wsj_speech", source, "audio", "text", "To-English", (wer,))
