"""Answers the paper's questions: trains, scores and reports what its tables need, each by one command.

    python bin/reproduce.py --table=2 --corpora=mini --seeds=3 --output=docs/results/tables
    python bin/reproduce.py --corpora=mini --plan

What is finished is skipped, what was interrupted goes on. Exit codes: 0 done, 1 an error or a failed run (the others
are done all the same), 75 stopped by SIGTERM, 130 by Ctrl-C: the same command goes on. See docs/reproduce.md.
"""

import os
import signal
import sys

from absl import flags

from t2t_mm.run import command, config, shipped

_TABLE = flags.DEFINE_multi_string("table", [], "1, 2, 3, 4, curve or zero_shot. Default: all.")
_CORPORA = flags.DEFINE_enum("corpora", "mini", ["mini", "real"], "On which corpora.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each kind that differ by their seed.", lower_bound=1)
_RUNS = flags.DEFINE_string("runs", None, "Folder of all runs. Default: runs/tables/CORPORA.")
_OUTPUT = flags.DEFINE_string("output", None, "Report to write: OUTPUT.json, .md and .html. Default: RUNS/tables.")
_RUN = flags.DEFINE_multi_string("run", [], "Make these runs alone; a name, or a pattern such as 'alone_*'.")
_KEEP = flags.DEFINE_multi_string(
    "keep", [], "An earlier report (.json); what it has of runs of the same configuration is not made again."
)
_SIZE = flags.DEFINE_string("size", None, "Size of the models on real corpora, a file of gin/sizes. Default: base.")
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration files that override those of all runs.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings, which override the files.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Trainings at once, which share the cores.", lower_bound=1)
_TRAIN = flags.DEFINE_bool("train", True, "Make the missing runs; --notrain reports what is finished.")
_PLAN = flags.DEFINE_bool("plan", False, "Print the runs, what each lacks and how long it takes, and do nothing.")


def main(_):
    runs = _RUNS.value or os.path.join("runs", "tables", _CORPORA.value)
    config.check_files(_GIN_FILE.value)
    command.load_tensorflow()
    from t2t_mm.lab.tables import reproduce

    try:
        study = reproduce.Study(
            _CORPORA.value, _TABLE.value, _SEEDS.value, runs, shipped.bin_folder(), _GIN_FILE.value, _GIN_PARAM.value,
            _SIZE.value,
        )
        for path in _KEEP.value:
            print(f"Kept from {path}: {', '.join(study.keep(path)) or 'nothing more'}")
        if _PLAN.value:
            print(study.describe())
            return
        failed = {}
        if _TRAIN.value:
            study.prepare()
            failed = study.run(_JOBS.value, _RUN.value)
        written = study.report(_OUTPUT.value or os.path.join(runs, "tables"), command.line())
    except reproduce.Stopped as error:
        print(f"{command.name()}: {error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL if error.number == signal.SIGTERM else 130)
    print(f"Written to {', '.join(written)}")
    if failed:
        lines = "\n  ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise SystemExit(f"{command.name()}: {len(failed)} failed; the same command tries them again:\n  {lines}")


if __name__ == "__main__":
    command.run(main)
