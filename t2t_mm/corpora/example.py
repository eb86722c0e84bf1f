"""The output of a corpus reader: examples, and a report of those that could not be used."""

import dataclasses
import threading

from absl import logging


class CorpusError(Exception):
    """A corpus is missing, empty or unreadable. The message says what was expected, where, and what to do."""


class DeclarationError(CorpusError, ValueError):
    """A problem or corpus is declared with a value that cannot be. The message names it and what is possible."""


class MediaError(CorpusError):
    """An image or audio file cannot be decoded. The message names the file and the reason."""


class TooManyBadExamples(CorpusError):
    """More examples of one corpus were unusable than the run tolerates."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One training or evaluation example as in its corpus.

    Attributes:
      inputs: text, or the path of an image or audio file; a tuple of these if the problem has several inputs.
      targets: text, or a class index.
      origin: `file:line` or a path, which every error about this example contains.
      references: all accepted answers if there are several (such as captions), otherwise empty.
    """

    inputs: str | tuple[str, ...]
    targets: str | int
    origin: str
    references: tuple[str, ...] = ()

    @property
    def input_parts(self) -> tuple[str, ...]:
        """The inputs as a tuple, even if there is only one."""
        return (self.inputs,) if isinstance(self.inputs, str) else self.inputs

    @property
    def input_line(self) -> str:
        """The inputs on one line."""
        return " | ".join(self.input_parts)

    @property
    def target_text(self) -> str:
        """The target of a problem whose targets are texts or trees."""
        return str(self.targets)

    @property
    def accepted(self) -> tuple[str, ...]:
        """All accepted answers of a problem whose targets are texts or trees: the references, or else the target alone."""
        return self.references or (self.target_text,)

    @property
    def target_class(self) -> int:
        """The target of a problem whose targets are classes."""
        return int(self.targets)


class Report:
    """Counts the examples of one problem that could not be used, and stops the run if there are too many.

    It is thread-safe, because tf.data decodes media in several threads.

    Args:
      name: the name of the problem or corpus, for messages.
      max_bad: maximum number of unusable examples. One more raises TooManyBadExamples.
      logged: whether each of them is logged. A command that shows them itself does not need that.

    Attributes:
      has_batches: whether a batch has been made of the examples, so that at least some of them are usable.
    """

    def __init__(self, name: str, max_bad: int = 100, logged: bool = True):
        self.name, self._logged = name, logged
        self.max_bad = max_bad
        self.skipped: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        # The error that has ended the stream, which TensorFlow only passes on as a text.
        self.failure: CorpusError | None = None
        self.has_batches = False
        self._lock = threading.Lock()

    def skip(self, origin: str, reason: str) -> None:
        """Records that the example at `origin` is unusable. If it occurs again in a later epoch, it is not counted again.

        Raises:
          TooManyBadExamples: there are more than `max_bad` unusable examples.
        """
        with self._lock:
            if origin in self.skipped:
                return
            self.skipped[origin] = reason
            count = len(self.skipped)
        if self._logged:
            logging.warning("%s: skipped %s: %s", self.name, origin, reason)
        if count > self.max_bad:
            self.failure = TooManyBadExamples(
                f"{self.name}: {count} unusable examples, more than the {self.max_bad} allowed (the last: {origin}: "
                f"{reason}). Fix the corpus, or increase max_bad_examples."
            )
            raise self.failure

    def leave_out(self, origin: str, reason: str) -> None:
        """Records a valid example that the settings exclude (for instance, a long one). It never stops the run."""
        with self._lock:
            known = origin in self.left_out
            self.left_out[origin] = reason
        if not known:
            logging.log_first_n(logging.INFO, "%s: left out %s: %s (and others like it)", 5, self.name, origin, reason)
