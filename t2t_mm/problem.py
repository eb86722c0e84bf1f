"""The declaration of a problem."""

import dataclasses
from collections.abc import Callable
from typing import cast

from t2t_mm.corpora.source import ClassSource, Source

INPUT_MODALITIES = ("language", "image", "audio")
TARGET_KINDS = ("text", "tree", "class")


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem: where its examples come from, which modality nets they pass, its command token and its metrics.

    Attributes:
      name: the name, unique in a run. If the targets are classes, it is also the name of their label set.
      source: where the examples come from. If the targets are classes, it is a `ClassSource`.
      inputs: "language", "image" or "audio".
      targets: "text", "tree" (linearised) or "class".
      command: the command token from which decoding starts. Problems with the same target language may share it.
      metrics: functions of (answers, examples) that return {name: value} for a whole set. The answers are texts,
        linearised trees or, for classes, scores [classes]. Default: the share of exact matches is reported.

    Raises:
      ValueError: `inputs` or `targets` is none of these.
    """

    name: str
    source: Source
    inputs: str
    targets: str
    command: str
    metrics: tuple[Callable, ...] = ()

    def __post_init__(self):
        if self.inputs not in INPUT_MODALITIES:
            raise ValueError(f"{self.name}: inputs is {self.inputs!r}; choose one of {', '.join(INPUT_MODALITIES)}.")
        if self.targets not in TARGET_KINDS:
            raise ValueError(f"{self.name}: targets is {self.targets!r}; choose one of {', '.join(TARGET_KINDS)}.")

    def class_names(self) -> list[str]:
        """The names of the classes in the order of their indices, of a problem whose targets are classes."""
        return cast(ClassSource, self.source).class_names()
