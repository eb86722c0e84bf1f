"""The paper's three modalities by name, so that problems and .gin files can name them."""

from collections.abc import Sequence

from t2t_mm.modalities.audio import AUDIO
from t2t_mm.modalities.image import IMAGE
from t2t_mm.modalities.language import LANGUAGE
from t2t_mm.modalities.modality import Modality

KNOWN = {modality.name: modality for modality in (LANGUAGE, IMAGE, AUDIO)}


def modalities_of(inputs: str | Modality | Sequence[str | Modality]) -> tuple[Modality, ...]:
    """The modalities of a problem's inputs, which may be named or declared, one or several.

    Raises:
      ValueError: a name that is none of the three, or a sequence of fewer than two.
    """
    if isinstance(inputs, str | Modality):
        inputs = [inputs]
    elif len(inputs) < 2:
        raise ValueError(f"inputs is {inputs!r}; one modality is named alone, several in a tuple.")
    found = []
    for one in inputs:
        if not isinstance(one, Modality) and one not in KNOWN:
            raise ValueError(f"inputs is {one!r}; choose one of {', '.join(KNOWN)}, or declare a Modality.")
        found.append(one if isinstance(one, Modality) else KNOWN[one])
    return tuple(found)


def spelled(modality: str | Sequence[str]) -> str:
    """The name of a modality, or those of several: "image + language"."""
    return modality if isinstance(modality, str) else " + ".join(modality)
