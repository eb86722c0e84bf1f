"""Estimates how long runs take, first from their declaration, then from the jobs that were timed on this machine."""

import json
import os

from t2t_mm.common.files import write_json
from t2t_mm.lab.tables.runs import Planned
from t2t_mm.lab.tables.tables import PROBLEMS
from t2t_mm.spelling import counted

TIMINGS = "timings.json"
_OF_PROBLEM = {problem.name: problem.seconds for problem in PROBLEMS}
_OTHER = 0.25  # seconds per update on a problem that is not in PROBLEMS
_START, _TRACE = 15.0, 6.0  # seconds to start a process, and to trace the graph of each problem
_SCORE, _DECODE = 5.0, 13.0  # seconds to score the dev and test sets of a problem, and to decode them


class Costs:
    """Estimated seconds of training and scoring jobs. Measured times are kept in a file in the folder of the runs.

    A run is expected to take as long with its next seed as it did before. For a run that has not been timed, the guess
    from the declaration is multiplied by the ratio of measured to guessed times so far.
    """

    def __init__(self, folder: str, problems: dict[str, tuple[str, ...]]):
        """Reads the times measured so far.

        Args:
          folder: folder of all runs.
          problems: run -> the names of its problems.
        """
        self._path, self._problems = os.path.join(folder, TIMINGS), problems
        self._timed = self._read()

    def _read(self) -> list[dict]:
        if not os.path.isfile(self._path):
            return []
        with open(self._path, encoding="utf-8") as file:
            return json.load(file)

    def add(self, planned: Planned, job: str, steps: int, seconds: float) -> None:
        """Records the time of a job that succeeded."""
        record = {"run": planned.run.name, "job": job, "steps": steps, "seconds": round(seconds, 1)}
        record["guessed"] = round(self._guess(planned, job, steps), 1)
        self._timed = [*self._read(), record]  # read again, since another process may have added to the file
        write_json(self._path, self._timed, indent=1)

    def seconds(self, planned: Planned, job: str, steps: int) -> float:
        """Estimates the seconds of a job: "train" for the given number of steps, or "score"."""
        same = [t for t in self._timed if t["run"] == planned.run.name and t["job"] == job]
        if same and job == "score":
            return same[-1]["seconds"]
        if same and sum(t["steps"] for t in same):
            return steps * sum(t["seconds"] for t in same) / sum(t["steps"] for t in same)
        alike = [t for t in self._timed if t["job"] == job]
        scale = sum(t["seconds"] for t in alike) / sum(t["guessed"] for t in alike) if alike else 1.0
        return scale * self._guess(planned, job, steps)

    def basis(self) -> str:
        """Says what the estimates are based on."""
        if not self._timed:
            return "guessed for the mini size on two CPU cores; nothing has been timed here yet"
        return f"estimated from {counted(len(self._timed), 'job')} timed here"

    def spent(self) -> float:
        """Returns the total seconds of all timed jobs."""
        return sum(timed["seconds"] for timed in self._timed)

    def _guess(self, planned: Planned, job: str, steps: int) -> float:
        problems = self._problems[planned.run.name]
        if job == "score":
            return _START + (_SCORE + _DECODE * planned.run.decode) * len(problems)
        a_step = sum(_OF_PROBLEM.get(name, _OTHER) for name in problems)
        return _START + _TRACE * len(problems) + steps * a_step
