"""Reproduces the paper's tables with one command: trains and scores all the models they need, and writes a report.

    python bin/reproduce.py --table=2 --corpora=mini --seeds=3 --output=docs/results/tables
    python bin/reproduce.py --corpora=mini --plan

Finished runs are skipped and interrupted ones are resumed. Exit codes: 0 if everything succeeded, 1 after an error or a
failed run (all other runs are still done), 75 after SIGTERM, and 130 after Ctrl-C; in the last two cases the same
command resumes. See docs/reproduce.md.
"""

import os
import signal
import sys

from absl import flags

from t2t_mm.common import command, config, shipped
from t2t_mm.common.errors import RunError
from t2t_mm.spelling import counted

_TABLE = flags.DEFINE_multi_string(
    "table",
    [],
    "Table to reproduce: 1, 2, 3, 4, curve, partner_settings, experts, zero_shot, zero_shot_options or pairs. "
    "Default: all tables.",
)
_CORPORA = flags.DEFINE_enum("corpora", "mini", ["mini", "real"], "Corpora to train on.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds of each run.", lower_bound=1)
_RUNS = flags.DEFINE_string("runs", None, "Folder of all runs. Default: runs/tables/CORPORA.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Path of the report, which is written to OUTPUT.json, .md and .html. Default: RUNS/tables."
)
_FINDINGS = flags.DEFINE_string("findings", None, "Path of a page (.md) to write with the answers to the paper's questions.")
_RUN = flags.DEFINE_multi_string("run", [], "Run to train and score, a name or a pattern such as 'alone_*'. Default: all runs.")
_KEEP = flags.DEFINE_multi_string(
    "keep", [], "Earlier report (.json) whose scores are reused for runs with the same configuration."
)
_SIZE = flags.DEFINE_string(
    "size", None, "Size of the models on the real corpora, the name of a file in gin/sizes. Default: base."
)
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration file applied to all runs; may be repeated.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding applied after the files; may be repeated.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Number of jobs that run at the same time and share the cores.", lower_bound=1)
_TRAIN = flags.DEFINE_bool("train", True, "Whether to run missing jobs; --notrain only reports the finished runs.")
_PACK = flags.DEFINE_string("pack", None, "Folder to which to pack the runs that are left, for bin/train_jax.py; then exit.")
_TRAINED = flags.DEFINE_string("trained", None, "Folder of bin/train_jax.py, from which trained runs are taken over.")
_PLAN = flags.DEFINE_bool("plan", False, "Whether to only print all runs, the steps done and the estimated time left.")


def main(_: list[str]) -> None:
    runs = _RUNS.value or os.path.join("runs", "tables", _CORPORA.value)
    config.check_files(_GIN_FILE.value)
    if _RUN.value and not (_TRAIN.value or _PLAN.value or _PACK.value):
        raise RunError("--run chooses what is trained, and --notrain trains nothing; leave one of them out.")
    command.load_tensorflow()
    from t2t_mm.lab.tables import reproduce

    try:
        study = reproduce.Study(
            _CORPORA.value,
            _TABLE.value,
            _SEEDS.value,
            runs,
            shipped.bin_folder(),
            _GIN_FILE.value,
            _GIN_PARAM.value,
            _SIZE.value,
        )
        for path in _KEEP.value:
            print(f"Scores reused from {path}: {', '.join(study.keep(path)) or 'none'}")
        if _PLAN.value:
            print(study.describe(_RUN.value))
            return
        if _PACK.value or _TRAINED.value or _TRAIN.value:
            study.prepare()
        if _PACK.value:
            print(f"Packed in {_PACK.value}: {counted(study.pack(_PACK.value, _RUN.value), 'run')}")
            return
        failed = {}
        if _TRAINED.value:
            print(f"Taken over from {_TRAINED.value}: {counted(study.take_over(_TRAINED.value), 'run')}")
        if _TRAIN.value:
            failed = study.run(_JOBS.value, _RUN.value)
        written = study.report(_OUTPUT.value or os.path.join(runs, "tables"), command.line(), _FINDINGS.value)
    except reproduce.Stopped as error:
        print(f"{command.name()}: {error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL if error.number == signal.SIGTERM else 130)
    print(f"Written to {', '.join(written)}")
    if failed:
        lines = "\n  ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise SystemExit(f"{command.name()}: {counted(len(failed), 'job')} failed; run the same command to retry:\n  {lines}")


if __name__ == "__main__":
    command.run(main)
