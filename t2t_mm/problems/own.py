"""Problems on a user's own data, which need only a .gin file (docs/your_data.md has an example of each).

problems = [@reviews/own.table(), @en_it/own.translation()]
reviews/own.table.name = 'reviews'
…
"""

from collections.abc import Callable, Sequence

from t2t_mm.corpora.example import DeclarationError
from t2t_mm.corpora.image_folders import ImageFolders
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.table import Table
from t2t_mm.metrics.captioning import captions
from t2t_mm.metrics.classification import top_k
from t2t_mm.metrics.parsing import bracket_f1
from t2t_mm.metrics.recognition import wer
from t2t_mm.metrics.translation import bleu
from t2t_mm.problem import Problem

# The default metrics, by the modality of the input and the kind of target.
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
    """Returns a problem whose examples are the rows of CSV, TSV or JSON-lines files (see `Table`).

    Args:
      name: the name of the problem, unique in a run.
      root, folder, input, target, files, delimiter, held_out: see `Table`.
      inputs: the modality of the input column: "language" (text), "image" or "audio" (paths of files). If `input` names
        several columns, a list in the same order, such as ["image", "language"] for questions about images.
      targets: the kind of the target column: "text", "tree" (linearised) or "class".
      command: the command token. Problems whose output is in the same language may share one.
      media: the folder of the images or recordings below `folder`. Default: `folder` itself.
      metrics: the metrics. Default: BLEU for text from text, WER for text from audio, CIDEr-D and BLEU-4 for text from
        images, bracket F1 for trees from text, top-1 and top-5 accuracy for classes, and otherwise the share of exact
        matches.

    Raises:
      DeclarationError: the numbers of `input` columns and `inputs` differ.
    """
    names, columns = ([one] if isinstance(one, str) else list(one) for one in (inputs, input))
    if len(names) != len(columns):
        raise DeclarationError(f"{name}: {len(columns)} input columns, {columns}, and {len(names)} modalities, {names}.")
    source = Table(
        root, folder, input, target, files, media=[None if one == "language" else media for one in names],
        classes=targets == "class", delimiter=delimiter, held_out=held_out,
    )  # fmt: skip
    # An empty tuple is a choice: it means exact matches.
    if metrics is None:
        metrics = (top_k,) if targets == "class" else _METRICS.get(("+".join(names), targets), ())
    return Problem(name, source, inputs, targets, command, metrics)


def translation(
    name: str, root: str, folder: str, source: str, target: str, command: str, names: dict | None = None
) -> Problem:
    """Returns a translation problem for any two languages, from `<split>.<source>` and `<split>.<target>`.

    Args:
      name: the name of the problem, unique in a run.
      root, folder: see `ParallelText`.
      source, target: the suffixes of the files in the source and the target language, for instance "it" and "en".
      command: the command token, for instance "To-English".
      names: the file names of each split without suffix. Default: train, dev and test.
    """
    return Problem(name, ParallelText(root, folder, source, target, names, own=True), "language", "text", command, (bleu,))


def picture_classes(name: str, root: str, folder: str, command: str = "To-Class") -> Problem:
    """Returns a classification problem on images in one folder per class, below `train`, `val` and `test`.

    Args:
      name: the name of the problem, unique in a run.
      root, folder: see `ImageFolders`.
      command: the command token.
    """
    return Problem(name, ImageFolders(root, folder, own=True), "image", "class", command, (top_k,))
