"""The declaration of a modality: its name, its net, how an example becomes an array, how a batch is padded.

The three of the paper stand beside their nets (`language.py`, `image.py`, `audio.py`); a further one is declared where it
is needed and given to the problems that read it (docs/your_data.md).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from t2t_mm.modalities.features import Features

_TAKEN = ("command",)  # names of nets that are no modality's


@dataclasses.dataclass(frozen=True, eq=False)
class Modality:
    """One kind of input.

    Attributes:
      name: unique in a run. The model's net for it is the part `NAME_in`.
      net: constructor of its net, an `InputNet` (`net.py`). Those of the paper's three are arguments of the MultiModel instead.
      shape: of an example's array, None where examples differ: (None,) for ids, (None, 80) for frames. The last one is
        the channels.
      features: how an example becomes its array; None for a model by itself, which is given arrays.
      padded: whether examples differ along the first axis, along which batches are then padded.

    Raises:
      ValueError: the name is no identifier in lower case, or is that of another net, or the shape is empty.
    """

    name: str
    net: Callable[..., Any] | dict
    shape: tuple[int | None, ...]
    features: Features | None = None
    padded: bool = True

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name in _TAKEN:
            raise ValueError(
                f"A modality is named {self.name!r}; a name has lower-case letters, digits and underscores, and is not "
                f"{' or '.join(map(repr, _TAKEN))}."
            )
        if not self.shape:
            raise ValueError(f"{self.name}: shape is {self.shape!r}; an example has at least one dimension.")

    @property
    def axes(self) -> str:
        """The shape of a batch, for messages: "[B, ?, 80]"."""
        return f"[B, {', '.join('?' if size is None else str(size) for size in self.shape)}]"

    def saved(self, net: dict[str, Any]) -> dict[str, Any]:
        """What a model's configuration says of it; `net` is the saved constructor of its net."""
        return {"name": self.name, "net": net, "shape": list(self.shape), "padded": self.padded}

    @staticmethod
    def loaded(saved: dict[str, Any]) -> Modality:
        """The inverse of `saved`, for a model by itself."""
        return Modality(**(saved | {"shape": tuple(saved["shape"])}))
