"""Plants small faults in the code one at a time, and counts how many of them the tests notice.

    bash bin/mutate.sh --mutants=300 --output=docs/results/mutation.json

It takes about an hour on two cores. The checkout itself is never changed: each fault is planted in a copy.
"""

import os
import shlex
import sys
import time

from absl import app, flags

from t2t_mm.lab import mutation, results

_MUTANTS = flags.DEFINE_integer("mutants", 300, "How many faults to plant.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Which faults are drawn.")
_JOBS = flags.DEFINE_integer("jobs", os.cpu_count() or 1, "How many faults are tested side by side.", lower_bound=1)
_PART = flags.DEFINE_multi_string("part", list(mutation.PARTS), "File or folder to plant faults in; may be repeated.")
_OUTPUT = flags.DEFINE_string("output", None, "The JSON file to write; a page (.md) is rendered beside it.")


def main(_):
    start = time.monotonic()
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    missing = [part for part in _PART.value if not os.path.exists(os.path.join(top, part))]
    if missing:
        raise SystemExit(f"mutate.py: {', '.join(missing)}: no such file or folder below {top}.")
    found = mutation.run(top, _PART.value, _MUTANTS.value, _SEED.value, _JOBS.value)
    print(mutation.page(found))
    if _OUTPUT.value:
        command = shlex.join(["python", *sys.argv])
        minutes = (time.monotonic() - start) / 60
        shown = {"all": {name: found[name] for name in ("mutants", "noticed", "share")}, "noticed, by kind": found["kinds"]}
        results.write_results(
            _OUTPUT.value, command, _SEED.value, minutes, shown, survivors=found["survivors"],
            render=lambda record: results.default_page(record) + "\n" + mutation.page(found),
        )  # fmt: skip


if __name__ == "__main__":
    app.run(main)
