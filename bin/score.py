"""Scores a run for the tables: dev and test sets by example, decoded metrics, learning curves, use of the experts.

    python bin/score.py --model_dir=runs/joint_mini --output=runs/joint_mini/scores.json

bin/reproduce.py calls it for each of its runs; bin/evaluate.py is what one reads.
"""

import os

from absl import flags

from t2t_mm.run import checkpoint_flags, command, config

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.", required=True)
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration. Default: the config.gin of the run.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings, which override it.")
checkpoint_flags.define()
_DECODE = flags.DEFINE_bool("decode", True, "Decode answers too, and score them.")
_BASELINES = flags.DEFINE_bool("baselines", False, "Score the trivial baselines too.")


def main(_):
    model_dir = _MODEL_DIR.value
    checkpoint_flags.check()
    gin_files = _GIN_FILE.value or [os.path.join(model_dir, "config.gin")]
    config.check_files(gin_files)
    command.load_tensorflow()
    config.parse(gin_files, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.evaluation import evaluate
    from t2t_mm.lab.tables import scores
    from t2t_mm.run.folder import use_folder

    run = checkpoint_flags.chosen(use_folder(config.configured(experiment.Experiment)(), model_dir))
    decoding = evaluate.Decoding() if _DECODE.value else None
    scores.write(_OUTPUT.value, scores.score(run, model_dir, decoding, _BASELINES.value))


if __name__ == "__main__":
    command.run(main)
