"""The declaration of a modality: its name, its net, how an example becomes an array, and how a batch is padded.

The paper's three modalities are declared next to their nets (`language.py`, `image.py`, `audio.py`). A custom modality can
be declared anywhere and passed to the problems that use it (docs/your_data.md).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from t2t_mm.modalities.features import Features

_TAKEN = ("command",)  # names of nets that do not belong to a modality


@dataclasses.dataclass(frozen=True, eq=False)
class Modality:
    """One kind of input.

    Attributes:
      name: the name, unique in a run. The model's net for it is the part `NAME_in`.
      net: constructor of its net, an `InputNet` (`net.py`). For the paper's three modalities, the constructors are arguments
        of the MultiModel instead.
      shape: the shape of the array of an example, with None for sizes that differ between examples: (None,) for ids,
        (None, 80) for frames. The last axis contains the channels.
      features: how an example becomes an array; None if the model is only used with arrays.
      padded: whether the first axis differs between examples. Batches are then padded along it.

    Raises:
      ValueError: the name is not a lower-case identifier, is the name of another net, or the shape is empty.
    """

    name: str
    net: Callable[..., Any] | dict
    shape: tuple[int | None, ...]
    features: Features | None = None
    padded: bool = True

    def __post_init__(self):
        # The name becomes a part of the name of an attribute and of weight paths.
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name in _TAKEN:
            raise ValueError(
                f"A modality is named {self.name!r}; a name has lower-case letters, digits and underscores, and is not "
                f"{' or '.join(map(repr, _TAKEN))}."
            )
        if not self.shape:
            raise ValueError(f"{self.name}: shape is {self.shape!r}; an example has at least one dimension.")

    @property
    def axes(self) -> str:
        """The shape of a batch for messages, such as "[B, ?, 80]"."""
        return f"[B, {', '.join('?' if size is None else str(size) for size in self.shape)}]"

    def saved(self, net: dict[str, Any]) -> dict[str, Any]:
        """Returns the modality as it is stored in the configuration of a model. `net` is the saved constructor of its net."""
        return {"name": self.name, "net": net, "shape": list(self.shape), "padded": self.padded}

    @staticmethod
    def loaded(saved: dict[str, Any]) -> Modality:
        """Returns the modality from the result of `saved`, without features."""
        # A model computes with arrays and needs no features; a run declares the modality again, with them.
        return Modality(**(saved | {"shape": tuple(saved["shape"])}))
