"""Suggests known names that are similar to a misspelt one, for the messages of everything that checks names."""

import difflib
import fnmatch
import re
from collections.abc import Iterable, Sequence

from t2t_mm.common.errors import RunError

_WORSE = 0.1  # by how much the similarity of a suggestion may be below that of the best one


def near(wanted: object, known: Iterable[str]) -> str:
    """Returns the part of a message that suggests known names similar to a misspelt one, or an empty string."""
    found = difflib.get_close_matches(str(wanted), list(known), n=3)
    likeness = [difflib.SequenceMatcher(None, name, str(wanted)).ratio() for name in found]
    shown = [
        name if re.fullmatch(r"\S+", name) else repr(name)
        for name, ratio in zip(found, likeness)
        if ratio > likeness[0] - _WORSE
    ]
    return f" (did you mean {' or '.join(shown)}?)" if shown else ""


def matching(patterns: Sequence[str], names: Sequence[str], kind: str) -> list[str]:
    """Returns the names that match at least one of the shell-style patterns, in their order; without patterns, all names.

    Raises:
      RunError: a pattern matches no name. `kind` says in the message what the names are, such as "run".
    """
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise RunError(f"No {kind} matches {pattern!r}{near(pattern, names)}; choose from {', '.join(names)}.")
    return [name for name in names if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
