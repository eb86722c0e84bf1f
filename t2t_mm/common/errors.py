"""The error that runs raise, and a check of settings that raises it."""


class RunError(Exception):
    """The folder, checkpoint or settings of a run do not allow the requested action. The message says what to do."""


def check_at_least(least: float, settings: object, *names: str) -> None:
    """Raises a RunError if one of the named fields is less than `least`."""
    for name in names:
        value = getattr(settings, name)
        if value < least:
            raise RunError(f"{type(settings).__name__}.{name} is {value!r}; it must be at least {least}.")
