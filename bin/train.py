"""Trains one model on all problems in the .gin files. If it is stopped, the same command resumes it.

    python bin/train.py --gin_file=gin/runs/joint_mini.gin --model_dir=runs/joint_mini

Exit codes: 0 if training is complete, or saved after Ctrl-C; 75 if it was saved after SIGTERM (EX_TEMPFAIL: start the same
command again); 1 after an error, which the last line describes. docs/distributed.md describes several devices and hosts.
"""

import os
import sys

from absl import flags

from t2t_mm.common import command, config

_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", None, "Configuration file; may be repeated, later files override earlier ones.", required=True
)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the files; may be repeated.")
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder for checkpoints and logs.", required=True)
_INIT_FROM = flags.DEFINE_string("init_from", None, "Folder of another run, from whose weights a new run starts.")
_PROFILE_STEPS = flags.DEFINE_integer(
    "profile_steps", 0, "Number of steps to profile for TensorBoard, after the first steps.", lower_bound=0
)
_DRY_RUN = flags.DEFINE_boolean(
    "dry_run", False,
    "Whether to only read some of every corpus, make a few steps, and print counts, lengths, what would be left out, time and "
    "memory.",
)  # fmt: skip
_STRATEGY = flags.DEFINE_enum(
    "strategy", None, ["one", "mirrored", "multi_worker", "tpu"],
    "Strategy that distributes the run over devices. Default: loop.train.strategy.",
)  # fmt: skip
_HEADER = """
from __gin__ import dynamic_registration
from t2t_mm.training import loop
from t2t_mm.training import strategy
"""
_PROFILE = """
from t2t_mm.training import settings
loop.train.observation = @settings.Observation()
settings.Observation.profile_steps = {steps}
"""


def chosen_by_flags(profile_steps: int = 0) -> str:
    """Returns the bindings that the flags set, which override those of the files."""
    lines = [f"loop.train.strategy = @strategy.{_STRATEGY.value}"] if _STRATEGY.value else []
    lines += [f"loop.train.init_from = {_INIT_FROM.value!r}"] if _INIT_FROM.value else []
    lines += [_PROFILE.format(steps=profile_steps)] if profile_steps else []
    return "\n".join([_HEADER, *lines]) if lines else ""


def main(_):
    config.check_files(_GIN_FILE.value)
    command.load_tensorflow()
    config.parse(_GIN_FILE.value, _GIN_PARAM.value, chosen_by_flags())
    saved = config.resolved()
    if _PROFILE_STEPS.value:  # after `saved`, because config.gin must not make a resumed run profile again
        config.parse(_GIN_FILE.value, _GIN_PARAM.value, chosen_by_flags(_PROFILE_STEPS.value))
    config.check_macros()
    from t2t_mm.training import loop, stopping, strategy
    from t2t_mm.training.settings import Configuration

    def checked_configuration() -> str:
        config.check_all_used()
        return saved

    if config.arguments_of(loop.train).get("strategy", strategy.one) is strategy.one:
        strategy.divide_cores()
    try:
        config.configured(loop.train)(
            model_dir=_MODEL_DIR.value,
            configuration=Configuration(checked_configuration, config.hyper_parameters),
            **({"only_try": True} if _DRY_RUN.value else {}),
        )
    except stopping.Preempted as error:
        print(f"{command.name()}: {config.without_calls(str(error))}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    command.run(main)
