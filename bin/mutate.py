"""Plants small faults in the code, one at a time, and counts how many of them the tests detect (mutation testing).

    bash bin/mutate.sh --mutants=300 --output=docs/results/mutation.json

The checkout itself is never changed: each fault is planted in a copy. The results are kept in --state, so an interrupted run
can be resumed, and a run after a change to the tests only tries the faults that survived. tests/equivalent_mutants.toml lists
faults that no test can detect.
"""

import os
import time

from absl import flags

from t2t_mm.common import command
from t2t_mm.common.errors import RunError
from t2t_mm.lab import results
from t2t_mm.lab.mutation import faults
from t2t_mm.lab.mutation.run import NO_RESULT, page, run

_MUTANTS = flags.DEFINE_integer("mutants", 300, "Number of faults to plant.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Random seed that selects the faults.")
_JOBS = flags.DEFINE_integer("jobs", os.cpu_count() or 1, "Number of faults tested at the same time.", lower_bound=1)
_SECONDS = flags.DEFINE_float(
    "seconds", 120.0, "Maximum total time of a fault's tests on unchanged code; the others are left out.", lower_bound=1.0
)
_PART = flags.DEFINE_multi_string("part", list(faults.PARTS), "File or folder to plant faults in; may be repeated.")
_STATE = flags.DEFINE_string("state", "runs/mutation", "Folder for the results so far.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the results; a page (.md) is written next to it.")


def main(_):
    start = time.monotonic()
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    missing = [part for part in _PART.value if not os.path.exists(os.path.join(top, part))]
    if missing:
        raise RunError(f"{', '.join(missing)}: no such file or folder below {top}.")
    progress = lambda line: print(line, flush=True)  # noqa: E731
    found = run(
        top, _PART.value, _MUTANTS.value, _SEED.value, _JOBS.value, _SECONDS.value, os.path.abspath(_STATE.value), progress
    )
    print(page(found))
    if _OUTPUT.value:
        shown = {
            "all": {name: found[name] for name in ("mutants", "noticed", "equivalent", NO_RESULT, "share")},
            "noticed, by kind": found["kinds"],
        }
        results.write_results(
            _OUTPUT.value, command.line(), _SEED.value, (time.monotonic() - start) / 60, shown, survivors=found["survivors"],
            test_minutes=round(found["test_minutes"], 1),
            render=lambda record: results.default_page(record) + "\n" + page(found),
        )  # fmt: skip


if __name__ == "__main__":
    command.run(main)
