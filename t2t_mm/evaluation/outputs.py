"""Where an evaluation writes its results and answers, so that it replaces those of an earlier one only at the end."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Sequence

from t2t_mm.common.errors import RunError

_LONGEST = 200  # characters of a name, of which file systems allow 255 bytes including the endings


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The files of an evaluation.

    Attributes:
      path: the JSON file of the results; their page (.md) and summary (.txt) lie next to it.
      answers: the folder for the answers, or None if no answers are wanted.
    """

    path: str
    answers: str | None

    @property
    def stem(self) -> str:
        """The path without its ending."""
        return self.path.removesuffix(".json")

    @property
    def unfinished(self) -> str:
        """The JSON file for the results of the problems that have been evaluated so far."""
        return f"{self.stem}.unfinished.json"

    @property
    def unfinished_answers(self) -> str | None:
        """The folder for the answers of the problems that have been evaluated so far."""
        return f"{self.answers}.unfinished" if self.answers else None

    def begin(self) -> None:
        """Removes what an evaluation that was stopped has left."""
        for ending in (".json", ".md"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.unfinished.removesuffix(".json") + ending)
        if self.unfinished_answers:
            shutil.rmtree(self.unfinished_answers, ignore_errors=True)

    def finish(self) -> None:
        """Moves the answers to their folder and removes the unfinished results. Call this after the results are at `path`."""
        if self.answers and self.unfinished_answers and os.path.isdir(self.unfinished_answers):
            os.makedirs(self.answers, exist_ok=True)
            for name in os.listdir(self.unfinished_answers):
                os.replace(os.path.join(self.unfinished_answers, name), os.path.join(self.answers, name))
        self.begin()


def outputs(
    model_dir: str, split: str, problems: Sequence[str] = (), path: str | None = None, answers: str | None = None
) -> Outputs:
    """Returns where an evaluation writes.

    An evaluation of some of the problems must not replace the results of all of them, so its default names contain theirs.

    Args:
      model_dir: the folder of the run.
      split: the split, or "own" for one's own files.
      problems: the names of the problems, if they are not all of the run.
      path: the JSON file for the results. Default: in the folder of the run.
      answers: the folder for the answers; "" for none. Default: in the folder of the run.

    Raises:
      RunError: the names of the problems are too long for that of a file.
    """
    named = "_".join([split, *(["+".join(problems)] if problems and split != "own" else [])])
    if len(named) > _LONGEST and (not path or answers is None):
        raise RunError(
            f"The names of {len(problems)} problems are too long for the name of a file. Give --output and --answers."
        )
    folder = os.path.join(model_dir, f"answers_{named}") if answers is None else answers or None
    return Outputs(path or os.path.join(model_dir, f"evaluation_{named}.json"), folder)
