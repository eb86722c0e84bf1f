"""The declaration of a problem."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

from t2t_mm.corpora.example import DeclarationError
from t2t_mm.corpora.source import ClassSource, Source
from t2t_mm.modalities.features import Features
from t2t_mm.modalities.modality import Modality

TARGET_KINDS = ("text", "tree", "class")


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem: the source of its examples, its modality nets, its command token and its metrics.

    Attributes:
      name: the name, unique in a run: letters, digits and underscores, because it is also the name of a signature of exports
        and of folders. If the targets are classes, it is also the name of their label set.
      source: where the examples come from. If the targets are classes, it is a `ClassSource`.
      inputs: "language", "image", "audio" or a custom `Modality`; or a sequence of several, in which case the inputs of
        each example are a tuple in the same order.
      targets: "text", "tree" (linearised) or "class".
      command: the command token from which decoding starts. Problems with the same target language may share it.
      metrics: functions of (answers, examples) that return {name: value} for a whole set. The answers are texts,
        linearised trees or, for classes, scores [classes]. Default: the share of exact matches.
      words_in_trees: whether each leaf of a tree follows its word, so that the decoder copies the sentence while it parses, and
        keeps its place in it (docs/learning.md, "Trees whose leaves have their words"). It requires trees of a single text. The
        answers are linearised trees without words in either case.

    Raises:
      DeclarationError: `name`, `inputs` or `targets` has another value, or a modality has no features.
    """

    name: str
    source: Source
    inputs: str | Modality | Sequence[str | Modality]
    targets: str
    command: str
    metrics: tuple[Callable, ...] = ()
    words_in_trees: bool = False

    def __post_init__(self):
        if not (self.name.isidentifier() and self.name.isascii()):
            raise DeclarationError(
                f"The name of a problem is {self.name!r}; it must consist of letters, digits and underscores, and not begin "
                "with a digit."
            )
        # `modalities` is computed here only for its checks, whose messages do not know which problem they are about.
        try:
            modalities = self.modalities
        except ValueError as error:
            raise DeclarationError(f"{self.name}: {error}") from error
        for modality in modalities:
            if modality.features is None:
                raise DeclarationError(f"{self.name}: the modality {modality.name} has no features, so no example can be read.")
        if self.targets not in TARGET_KINDS:
            raise DeclarationError(f"{self.name}: targets is {self.targets!r}; choose one of {', '.join(TARGET_KINDS)}.")
        if self.words_in_trees and (self.targets, self.modality) != ("tree", "language"):
            raise DeclarationError(
                f"{self.name}: words_in_trees requires trees of a single text, not {self.targets} of {self.modality}."
            )

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities of the inputs, in order."""
        # Imported here, because the nets need Keras, which commands that only read files do not import.
        from t2t_mm.modalities.known import modalities_of

        return modalities_of(self.inputs)

    @property
    def features(self) -> tuple[Features, ...]:
        """How each input becomes an array."""
        return tuple(modality.features for modality in self.modalities if modality.features is not None)

    @property
    def modality(self) -> str | tuple[str, ...]:
        """The name of the input modality, or a tuple of names for several inputs, as `MultiModel.encode` takes it."""
        # A single name for a single input, because then there is nothing to be joined and the grid of an image is kept.
        names = tuple(modality.name for modality in self.modalities)
        return names if len(names) > 1 else names[0]

    @property
    def kind(self) -> tuple[str | tuple[str, ...], str]:
        """A key that is equal for problems that only differ in their command, which therefore share traced functions."""
        # Texts and trees are both sequences from one softmax. Each label set has a head of its own, so a class problem shares
        # its functions with no other.
        return self.modality, self.name if self.targets == "class" else "sequence"

    def padding(self, given: Any) -> Any:
        """Returns the "input_padding" of a batch as `MultiModel.encode` takes it, with None if a modality is not padded."""
        if len(self.modalities) == 1:
            return given if self.modalities[0].padded else None
        return tuple(one if modality.padded else None for modality, one in zip(self.modalities, given))

    def class_names(self) -> list[str]:
        """Returns the names of the classes in the order of their indices. The targets of the problem must be classes."""
        return cast(ClassSource, self.source).class_names()
