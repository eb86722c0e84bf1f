"""Scores a run for the tables: dev and test sets by example, decoded metrics, learning curves, use of the experts.

    python bin/score.py --model_dir=runs/joint_mini --output=runs/joint_mini/scores.json

bin/reproduce.py calls it for each of its runs; bin/evaluate.py is what one reads.
"""

import os

from absl import app, flags

from t2t_mm import experiment
from t2t_mm.corpora import example
from t2t_mm.evaluation import evaluate
from t2t_mm.lab.tables import scores
from t2t_mm.run import config
from t2t_mm.run.errors import RunError
from t2t_mm.run.folder import use_folder

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.", required=True)
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration, where not the run's own config.gin.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings over it.")
_DECODE = flags.DEFINE_bool("decode", True, "Decode answers too, and score them.")
_BASELINES = flags.DEFINE_bool("baselines", False, "Score the trivial baselines too.")


def main(_):
    model_dir = _MODEL_DIR.value
    try:
        config.parse(_GIN_FILE.value or [os.path.join(model_dir, "config.gin")], _GIN_PARAM.value)
        run = use_folder(config.configured(experiment.Experiment)(), model_dir)
        decoding = evaluate.Decoding() if _DECODE.value else None
        scores.write(_OUTPUT.value, scores.score(run, model_dir, decoding, _BASELINES.value))
    except (config.ConfigError, example.CorpusError, RunError) as error:
        raise SystemExit(f"score.py: {error}") from error


if __name__ == "__main__":
    app.run(main)
