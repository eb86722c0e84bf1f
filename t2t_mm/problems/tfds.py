"""The paper's kinds of problem on data sets that were prepared with tensorflow-datasets (`tfds build NAME`)."""

from t2t_mm.corpora.tfds_source import TFDS
from t2t_mm.metrics.captioning import captions
from t2t_mm.metrics.classification import top_k
from t2t_mm.metrics.parsing import bracket_f1
from t2t_mm.metrics.recognition import wer
from t2t_mm.metrics.translation import bleu
from t2t_mm.problem import Problem
from t2t_mm.problems.paper import COMMANDS


def imagenet(data_dir: str | None = None) -> Problem:
    """Declares image classification on ImageNet (ILSVRC 2012)."""
    source = TFDS("imagenet2012", "image", "label", data_dir, {"train": "train", "dev": "validation"})
    return Problem("imagenet", source, "image", "class", "To-Class", (top_k,))


def coco(data_dir: str | None = None) -> Problem:
    """Declares image captioning on COCO 2014, in the split of Karpathy and Fei-Fei, which TFDS uses."""
    splits = {"train": "train+restval", "dev": "val", "test": "test"}
    source = TFDS("coco_captions/2014", "image", "captions/text", data_dir, splits)
    return Problem("coco", source, "image", "text", "To-English", (captions,))


def wmt14(source_language: str, target_language: str, data_dir: str | None = None) -> Problem:
    """Declares WMT14 translation between English and German or French, in either direction."""
    # TFDS names a pair after its foreign language, whatever the direction.
    (foreign,) = {source_language, target_language} - {"en"}
    source = TFDS(f"wmt14_translate/{foreign}-en", source_language, target_language, data_dir)
    name = f"wmt_{source_language}_{target_language}"
    return Problem(name, source, "language", "text", COMMANDS[target_language], (bleu,))


def librispeech(data_dir: str | None = None) -> Problem:
    """Declares speech recognition on the clean parts of LibriSpeech, trained on 100 hours."""
    splits = {"train": "train_clean100", "dev": "dev_clean", "test": "test_clean"}
    source = TFDS("librispeech", "speech", "text", data_dir, splits)
    return Problem("librispeech", source, "audio", "text", "To-English", (wer,))


def wsj_speech(data_dir: str | None = None) -> Problem:
    """Declares speech recognition on WSJ, prepared by the builder in t2t_mm/corpora/tfds_builders/wsj_speech.py."""
    source = TFDS("wsj_speech", "speech", "text", data_dir)
    return Problem("wsj_speech", source, "audio", "text", "To-English", (wer,))


def wsj_parsing(data_dir: str | None = None) -> Problem:
    """Declares parsing on the Penn Treebank, prepared by the builder in t2t_mm/corpora/tfds_builders/wsj_parsing.py."""
    source = TFDS("wsj_parsing", "sentence", "tree", data_dir)
    return Problem("wsj_parsing", source, "language", "tree", "To-Parse-Tree", (bracket_f1,))
