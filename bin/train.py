"""Trains one model on all problems that the .gin files name; the same command again continues where it stopped.

    python bin/train.py --gin_file=gin/runs/joint_mini.gin --model_dir=runs/joint_mini

Exit codes: 0 done (or stopped by Ctrl-C and saved), 75 stopped by SIGTERM and saved (EX_TEMPFAIL: start the same
command again), 1 an error, which the last line states. docs/distributed.md is about several devices and hosts.
"""

import os
import sys

from absl import flags

from t2t_mm.run import command, config

_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", None, "Configuration files; later ones override earlier ones.", required=True
)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings, which override the files.")
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder for checkpoints and logs.", required=True)
_INIT_FROM = flags.DEFINE_string("init_from", None, "Folder of another run whose weights a new run starts from.")
_STRATEGY = flags.DEFINE_enum(
    "strategy", None, ["one", "mirrored", "multi_worker", "tpu"],
    "How to spread the run over devices. Default: loop.train.strategy.",
)  # fmt: skip
_HEADER = """
from __gin__ import dynamic_registration
from t2t_mm.training import loop
from t2t_mm.training import strategy
"""


def chosen_by_flags() -> str:
    """Bindings that override those of the files."""
    lines = [f"loop.train.strategy = @strategy.{_STRATEGY.value}"] if _STRATEGY.value else []
    lines += [f"loop.train.init_from = {_INIT_FROM.value!r}"] if _INIT_FROM.value else []
    return "\n".join([_HEADER, *lines]) if lines else ""


def checked_configuration() -> str:
    config.check_all_used()
    return config.resolved()


def main(_):
    config.check_files(_GIN_FILE.value)
    command.load_tensorflow()
    config.parse(_GIN_FILE.value, _GIN_PARAM.value, chosen_by_flags())
    config.check_macros()
    from t2t_mm.training import loop, strategy

    if _STRATEGY.value in (None, "one"):
        strategy.divide_cores()
    try:
        config.configured(loop.train)(model_dir=_MODEL_DIR.value, configuration=checked_configuration)
    except loop.Preempted as error:
        print(f"{command.name()}: {error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    command.run(main)
