"""The error that runs raise, and checks of settings that raise it."""

import math
from collections.abc import Mapping


class RunError(Exception):
    """The folder, checkpoint or settings of a run do not allow the requested action. The message says what to do."""


def check_at_least(least: float, settings: object, *names: str) -> None:
    """Raises a RunError if one of the named fields is less than `least`."""
    for name in names:
        value = getattr(settings, name)
        if value < least:
            raise RunError(f"{type(settings).__name__}.{name} is {value!r}; it must be at least {least}.")


def check_finite(settings: object, *names: str) -> None:
    """Raises a RunError if one of the named fields, or a value of one that is a dict, is infinite or not a number."""
    for name in names:
        field = getattr(settings, name)
        for key, value in field.items() if isinstance(field, Mapping) else [("", field)]:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                of = f" of {key}" if key else ""
                raise RunError(f"{type(settings).__name__}.{name}{of} is {value!r}; it must be a finite number.")
