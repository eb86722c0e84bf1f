"""The error of a run."""


class RunError(Exception):
    """A run's folder, checkpoint or settings do not allow what was asked; the message says what to do."""
