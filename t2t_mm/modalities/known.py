"""The paper's three input modalities by name, so that problems and .gin files can refer to them."""

from collections.abc import Sequence

from t2t_mm.modalities.audio import AUDIO
from t2t_mm.modalities.image import IMAGE
from t2t_mm.modalities.language import LANGUAGE
from t2t_mm.modalities.modality import Modality

# The model builds its nets in this order (see `MultiModel.build`).
KNOWN = {modality.name: modality for modality in (LANGUAGE, IMAGE, AUDIO)}


def modalities_of(inputs: str | Modality | Sequence[str | Modality]) -> tuple[Modality, ...]:
    """Returns the modalities of the inputs of a problem.

    Args:
      inputs: the name or the declaration of a modality, or a sequence of at least two of them.

    Raises:
      ValueError: a name is not one of the three known names, or a sequence has fewer than two elements.
    """
    if isinstance(inputs, str | Modality):
        inputs = [inputs]
    # The model would treat a tuple of one as several inputs, and add the timing signal of `joined`.
    elif len(inputs) < 2:
        raise ValueError(f"inputs is {inputs!r}; give a single modality by itself, and several in a tuple.")
    found = []
    for one in inputs:
        if not isinstance(one, Modality) and one not in KNOWN:
            raise ValueError(f"inputs is {one!r}; choose one of {', '.join(KNOWN)}, or declare a Modality.")
        found.append(one if isinstance(one, Modality) else KNOWN[one])
    return tuple(found)


def spelled(modality: str | Sequence[str]) -> str:
    """Returns the name of a modality, or the names of several, such as "image + language"."""
    return modality if isinstance(modality, str) else " + ".join(modality)
