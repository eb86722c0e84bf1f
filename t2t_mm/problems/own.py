"""Problems on a user's own data, declared in a .gin file alone (docs/your_data.md shows each of them).

    problems = [@reviews/own.table(), @en_it/own.translation()]
    reviews/own.table.name = 'reviews'
    …
"""

from collections.abc import Callable, Sequence

from t2t_mm.corpora.image_folders import ImageFolders
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.table import Table
from t2t_mm.metrics.captioning import captions
from t2t_mm.metrics.classification import top_k
from t2t_mm.metrics.parsing import bracket_f1
from t2t_mm.metrics.recognition import wer
from t2t_mm.metrics.translation import bleu
from t2t_mm.problem import Problem

# What is reported where a declaration names no metric, by the input's modality and the kind of target.
_METRICS = {
    ("language", "text"): (bleu,),
    ("audio", "text"): (wer,),
    ("image", "text"): (captions,),
    ("language", "tree"): (bracket_f1,),
}


def table(
    name: str,
    root: str,
    folder: str,
    input: str | Sequence[str],
    target: str,
    inputs: str | Sequence[str] = "language",
    targets: str = "text",
    command: str = "To-English",
    files: dict[str, Sequence[str]] | None = None,
    media: str = "",
    delimiter: str = ",",
    held_out: float = 0.1,
    metrics: tuple[Callable, ...] | None = None,
) -> Problem:
    """A problem whose examples are the rows of CSV, TSV or JSON-lines files (see `Table`).

    Args:
      name: The problem's name, unique in a run.
      root, folder, input, target, files, delimiter, held_out: As in `Table`.
      inputs: The modality of the input column: "language" (text), or "image" or "audio" (paths of files). Where `input`
        names several columns, as many in the same order: ["image", "language"] for questions about pictures.
      targets: The kind of the target column: "text", "tree" (linearised) or "class".
      command: The command token. Problems that write the same language may share one.
      media: The folder of the pictures or recordings below `folder`. Default: `folder` itself.
      metrics: Default: BLEU for text from text, WER for text from audio, CIDEr-D and BLEU-4 for text from pictures,
        bracket F1 for trees from text, top-1 and top-5 accuracy for classes, the share of exact matches for others.

    Raises:
      ValueError: `input` and `inputs` differ in number.
    """
    names, columns = ([one] if isinstance(one, str) else list(one) for one in (inputs, input))
    if len(names) != len(columns):
        raise ValueError(f"{name}: {len(columns)} input columns, {columns}, and {len(names)} modalities, {names}.")
    source = Table(
        root, folder, input, target, files, media=[None if one == "language" else media for one in names],
        classes=targets == "class", delimiter=delimiter, held_out=held_out,
    )  # fmt: skip
    if metrics is None:
        metrics = (top_k,) if targets == "class" else _METRICS.get(("+".join(names), targets), ())
    return Problem(name, source, inputs, targets, command, metrics)


def translation(
    name: str, root: str, folder: str, source: str, target: str, command: str, names: dict | None = None
) -> Problem:
    """Translation between any two languages, from `<split>.<source>` and `<split>.<target>` (see `ParallelText`).

    Args:
      source, target: The endings of the files to translate from and to, for instance "it" and "en".
      command: The command token, for instance "To-Italian".
      names: The file names of each split without their ending. Default: train, dev and test.
    """
    return Problem(name, ParallelText(root, folder, source, target, names), "language", "text", command, (bleu,))


def picture_classes(name: str, root: str, folder: str, command: str = "To-Class") -> Problem:
    """Pictures in one folder for each class, below `train`, `val` and `test` (see `ImageFolders`)."""
    return Problem(name, ImageFolders(root, folder), "image", "class", command, (top_k,))
