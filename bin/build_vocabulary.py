"""Builds the SentencePiece vocabulary of the problems that the .gin files name.

    python bin/build_vocabulary.py --gin_file=gin/runs/joint_mini.gin --size=1200
"""

from absl import app, flags

from t2t_mm import experiment
from t2t_mm.corpora import example
from t2t_mm.input import vocabulary
from t2t_mm.run import config
from t2t_mm.run.errors import RunError

_GIN_FILE = flags.DEFINE_multi_string("gin_file", None, "Configuration files, later ones over earlier.", required=True)
_SIZE = flags.DEFINE_integer("size", 8000, "Pieces, with padding, end, unknown, 256 bytes and the tree symbols.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings over the files.")


def main(_):
    try:
        config.parse(_GIN_FILE.value, _GIN_PARAM.value)
        run = config.configured(experiment.Experiment)()
        vocabulary.build_vocabulary(run.problems, run.vocabulary, _SIZE.value)
    except (config.ConfigError, example.CorpusError, RunError) as error:
        raise SystemExit(f"build_vocabulary.py: {error}") from error


if __name__ == "__main__":
    app.run(main)
