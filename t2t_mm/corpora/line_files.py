"""Examples in two or more files with one example per line: the inputs in one file, the references in the others."""

from collections.abc import Sequence

from t2t_mm.corpora.corpus_files import read_lines
from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.treebank import read_tree, targets_of


class LineFiles:
    """The lines of a file of inputs with those of one or more files of references, for evaluation on a user's own files.

    Args:
      inputs: the file with one input per line: a text, or the path of an image or a recording, relative to the current
        folder. If the problem has several inputs, they are separated by tabs.
      references: the files with one reference per line. Every file has as many lines as `inputs`.
      targets: the kind of the references: "text", "tree" (bracketed, as in the Treebank, one tree per line) or "class" (the
        name of a class). Only texts may have several references.
      count: number of inputs of the problem.
      classes: the names of the classes, by index, if the references are classes.
      tags: whether the trees of the problem have tags, see `Treebank`.
    """

    def __init__(
        self, inputs: str, references: Sequence[str], targets: str = "text", count: int = 1, classes: Sequence[str] = (),
        tags: bool = True,
    ):  # fmt: skip
        self.inputs, self.references, self.targets = inputs, tuple(references), targets
        self.count, self.classes, self.tags = count, list(classes), tags

    def class_names(self) -> list[str]:
        """Returns the names of the classes, by index."""
        return self.classes

    def examples(self, split: str, report: Report) -> list[Example]:
        """Returns one example per line. All splits are the same. Blank inputs and unusable references are reported.

        Raises:
          CorpusError: a file cannot be read or is empty, the files have different numbers of lines, no line is usable, or
            several files of references are given for trees or classes.
          TooManyBadExamples: there are more unusable lines than `report` allows.
        """
        if self.targets != "text" and len(self.references) > 1:
            raise CorpusError(
                f"{', '.join(self.references)}: only texts can have several references; give one file of {self.targets} "
                "references."
            )
        inputs, *references = [read_lines(path, report) for path in (self.inputs, *self.references)]
        for path, lines in zip(self.references, references):
            if len(lines) != len(inputs):
                raise CorpusError(
                    f"{self.inputs} has {len(inputs)} lines and {path} has {len(lines)}; they need one reference per input."
                )
        if not inputs:
            raise CorpusError(f"{self.inputs}: is empty; each line must have an input.")
        found = []
        for number, (line, *answers) in enumerate(zip(inputs, *references), start=1):
            if line is None or None in answers:
                continue  # already reported
            origin = f"{self.inputs}:{number}"
            try:
                found.append(self._example(line, answers, origin, f"{self.references[0]}:{number}"))
            except CorpusError as error:
                report.skip(origin, str(error).removeprefix(f"{origin}: "))
        if not found:
            origin, reason = next(iter(report.skipped.items()))
            raise CorpusError(f"{self.inputs}: none of its lines is usable; {origin}: {reason}")
        return found

    def _example(self, line: str, answers: list[str], origin: str, target_origin: str) -> Example:
        parts = [part.strip() for part in line.split("\t")] if self.count > 1 else [line.strip()]
        if len(parts) != self.count or not all(parts):
            wanted = "an input" if self.count == 1 else f"{self.count} inputs, separated by tabs"
            raise CorpusError(f"{origin}: {line.strip()[:60]!r}; the line must have {wanted}.")
        inputs = parts[0] if self.count == 1 else tuple(parts)
        answer = answers[0].strip()
        if not answer:
            raise CorpusError(f"{target_origin}: the reference is blank.")
        if self.targets == "class":
            if answer not in self.classes:
                raise CorpusError(f"{target_origin}: the model has no class {answer!r}.")
            return Example(inputs, self.classes.index(answer), origin)
        if self.targets == "tree":
            return Example(inputs, origin=origin, **targets_of(read_tree(answer, target_origin), target_origin, self.tags))
        return Example(inputs, answer, origin, tuple(filter(None, (one.strip() for one in answers))))
