"""What runs take: guessed from the declaration first, then from what has been timed on this machine."""

import json
import os

from t2t_mm.lab.tables.runs import Planned
from t2t_mm.lab.tables.tables import PROBLEMS
from t2t_mm.run.files import write_json

TIMINGS = "timings.json"
_OF_PROBLEM = {problem.name: problem.seconds for problem in PROBLEMS}
_OTHER = 0.25  # seconds of an update on a problem that the declaration does not know
_START, _TRACE = 15.0, 6.0  # seconds of a process, and more for each problem's graph
_SCORE, _DECODE = 5.0, 13.0  # seconds for a problem's dev and test sets, and for their decoding


class Costs:
    """Seconds of trainings and scorings; what was timed lies in a file of the runs' folder.

    A run that was timed takes as long with its next seed. Another's guess is scaled by what was timed so far.
    """

    def __init__(self, folder: str, problems: dict[str, tuple[str, ...]]):
        """problems: run -> the names of its problems."""
        self._path, self._problems = os.path.join(folder, TIMINGS), problems
        self._timed = self._read()

    def _read(self) -> list[dict]:
        if not os.path.isfile(self._path):
            return []
        with open(self._path, encoding="utf-8") as file:
            return json.load(file)

    def add(self, planned: Planned, job: str, steps: int, seconds: float) -> None:
        """A job that ended well."""
        record = {"run": planned.run.name, "job": job, "steps": steps, "seconds": round(seconds, 1)}
        record["guessed"] = round(self._guess(planned, job, steps), 1)
        self._timed = [*self._read(), record]  # another process may have added to it
        write_json(self._path, self._timed, indent=1)

    def seconds(self, planned: Planned, job: str, steps: int) -> float:
        """Of a job ("train" of so many steps, or "score")."""
        same = [t for t in self._timed if t["run"] == planned.run.name and t["job"] == job]
        if same and job == "score":
            return same[-1]["seconds"]
        if same and sum(t["steps"] for t in same):
            return steps * sum(t["seconds"] for t in same) / sum(t["steps"] for t in same)
        alike = [t for t in self._timed if t["job"] == job]
        scale = sum(t["seconds"] for t in alike) / sum(t["guessed"] for t in alike) if alike else 1.0
        return scale * self._guess(planned, job, steps)

    def basis(self) -> str:
        """What the estimates rest on."""
        if not self._timed:
            return "guessed for the mini size on two CPU cores; nothing was timed here yet"
        return f"from {len(self._timed)} jobs timed here"

    def spent(self) -> float:
        """Seconds of all that was timed."""
        return sum(timed["seconds"] for timed in self._timed)

    def _guess(self, planned: Planned, job: str, steps: int) -> float:
        problems = self._problems[planned.run.name]
        if job == "score":
            return _START + (_SCORE + _DECODE * planned.run.decode) * len(problems)
        a_step = sum(_OF_PROBLEM.get(name, _OTHER) for name in problems)
        return _START + _TRACE * len(problems) + steps * a_step
