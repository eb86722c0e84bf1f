"""Words for messages: known names that are similar to a misspelt one, and numbers with their nouns."""

import difflib
import re
from collections.abc import Iterable

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


def whole_minutes(minutes: float) -> str:
    """Returns a time in words, as in "7 minutes" and "less than a minute"."""
    return counted(round(minutes), "minute") if round(minutes) else "less than a minute"


def counted(count: int, noun: str) -> str:
    """Returns a number with its noun, as in "1 run" and "2 runs"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
