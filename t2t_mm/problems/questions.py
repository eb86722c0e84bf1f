"""Typed and spoken questions about images: problems with two inputs, on the mini corpora (`t2t_mm.mini.questions`).

Each problem can hide one of its inputs, which shows how much can be guessed from the other one.
"""

from t2t_mm.corpora.corpus_files import SPLITS
from t2t_mm.corpora.example import DeclarationError
from t2t_mm.corpora.table import Table
from t2t_mm.problem import Problem


def typed(root: str, hidden: str = "") -> Problem:
    """Returns the problem of typed questions about images. `hidden` is "image", "language" or empty.

    Raises:
      DeclarationError: `hidden` has another value.
    """
    files = {split: (f"{split}.tsv",) for split in SPLITS}
    return _problem("questions", root, files, {"image": "picture", "language": "question"}, hidden)


def spoken(root: str, hidden: str = "") -> Problem:
    """Returns the problem of spoken questions about images. `hidden` is "image", "audio" or empty.

    Raises:
      DeclarationError: `hidden` has another value.
    """
    files = {split: (f"{split}.spoken.tsv",) for split in SPLITS}
    return _problem("spoken_questions", root, files, {"image": "picture", "audio": "recording"}, hidden)


def _problem(name: str, root: str, files: dict, columns: dict[str, str], hidden: str) -> Problem:
    if hidden and hidden not in columns:
        raise DeclarationError(f"{name}: hidden is {hidden!r}; it must be one of {', '.join(columns)}, or empty.")
    shown = [modality for modality in columns if modality != hidden]
    # The paths of images and recordings in the tables are relative to the root, one folder up.
    media = [None if modality == "language" else ".." for modality in shown]
    source = Table(root, "questions", [columns[one] for one in shown], "answer", files, media)
    # A problem takes a single input by itself and not in a tuple (see `modalities_of`).
    inputs = tuple(shown) if len(shown) > 1 else shown[0]
    return Problem(f"{name}_without_{hidden}" if hidden else name, source, inputs, "text", "To-Answer")
