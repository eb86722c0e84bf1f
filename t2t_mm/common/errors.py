"""The error that runs raise."""


class RunError(Exception):
    """The folder, checkpoint or settings of a run do not allow the requested action. The message says what to do."""
