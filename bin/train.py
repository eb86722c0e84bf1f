"""Trains one model on all problems that the .gin files name; the same command again goes on where it stopped.

    python bin/train.py --gin_file=gin/runs/joint_mini.gin --model_dir=runs/joint_mini
"""

from absl import app, flags

from t2t_mm import config
from t2t_mm.data import example
from t2t_mm.experiment import RunError
from t2t_mm.training import loop, mixing

_GIN_FILE = flags.DEFINE_multi_string("gin_file", None, "Configuration files, later ones over earlier.", required=True)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings over the files.")
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Where checkpoints and logs go.", required=True)


def checked_configuration() -> str:
    config.check_all_used()
    return config.resolved()


def main(_):
    try:
        config.parse(_GIN_FILE.value, _GIN_PARAM.value)
        config.configured(loop.train)(model_dir=_MODEL_DIR.value, configuration=checked_configuration)
    except (config.ConfigError, example.CorpusError, RunError, mixing.MixingError) as error:
        raise SystemExit(f"train.py: {error}") from error


if __name__ == "__main__":
    app.run(main)
