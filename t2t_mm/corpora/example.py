"""What a corpus reader hands on: examples, and a report of the ones it could not use."""

import dataclasses
import threading

from absl import logging


class CorpusError(Exception):
    """A corpus is missing, empty or unreadable; the message says what was looked for, where, and what to do."""


class MediaError(CorpusError):
    """A picture or sound cannot be decoded; the message names it and says why."""


class TooManyBadExamples(CorpusError):
    """More examples of one corpus were unusable than the run tolerates."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One training or evaluation example as its corpus states it.

    inputs: text, or the path of an image or sound file; of a problem with several inputs a tuple of them.
    targets: text, or a class index.
    origin: `file:line` or a path, quoted in every error about this example.
    references: all accepted answers where there are several (captions), else empty.
    """

    inputs: str | tuple[str, ...]
    targets: str | int
    origin: str
    references: tuple[str, ...] = ()

    @property
    def input_parts(self) -> tuple[str, ...]:
        """The inputs, of which there may be one."""
        return (self.inputs,) if isinstance(self.inputs, str) else self.inputs

    @property
    def input_line(self) -> str:
        """The inputs to be shown on one line; a single one as it is."""
        return " | ".join(self.input_parts)

    @property
    def target_text(self) -> str:
        """The targets of a problem whose targets are texts or trees."""
        return str(self.targets)

    @property
    def target_class(self) -> int:
        """The targets of a problem whose targets are classes."""
        return int(self.targets)


class Report:
    """Counts the examples of one problem that could not be used, and stops the run when they are too many.

    Thread-safe: tf.data decodes media on several threads.

    Args:
      name: the problem's or corpus's name, quoted in messages.
      max_bad: how many bad examples are skipped (each is logged); one more raises TooManyBadExamples.
    """

    def __init__(self, name: str, max_bad: int = 100):
        self.name = name
        self.max_bad = max_bad
        self.skipped: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.failure: TooManyBadExamples | None = None
        self._lock = threading.Lock()

    def skip(self, origin: str, reason: str) -> None:
        """Records that the example at `origin` is left out. An example met again in a later epoch counts once.

        Raises:
          TooManyBadExamples: the threshold is passed.
        """
        with self._lock:
            if origin in self.skipped:
                return
            self.skipped[origin] = reason
            count = len(self.skipped)
        logging.warning("%s: skipped %s: %s", self.name, origin, reason)
        if count > self.max_bad:
            self.failure = TooManyBadExamples(
                f"{self.name}: {count} unusable examples, more than the {self.max_bad} allowed (the last: {origin}: "
                f"{reason}). Mend the corpus, or raise max_bad_examples."
            )
            raise self.failure

    def leave_out(self, origin: str, reason: str) -> None:
        """Records a sound example that the settings exclude (too long, say). It is counted, and never stops the run."""
        with self._lock:
            known = origin in self.left_out
            self.left_out[origin] = reason
        if not known:
            logging.log_first_n(logging.INFO, "%s: left out %s: %s (and others like it)", 5, self.name, origin, reason)
