"""Builds the SentencePiece vocabulary of the problems that the .gin files name.

    python bin/build_vocabulary.py --gin_file=gin/runs/joint_mini.gin --gin_file=gin/vocabulary.gin
"""

from absl import app, flags

from t2t_mm import config
from t2t_mm.data import example, vocabulary

_GIN_FILE = flags.DEFINE_multi_string("gin_file", None, "Configuration files, later ones over earlier.", required=True)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings over the files.")


def main(_):
    try:
        config.parse(_GIN_FILE.value, _GIN_PARAM.value)
        config.configured(vocabulary.build_vocabulary)()
    except (config.ConfigError, example.CorpusError) as error:
        raise SystemExit(f"build_vocabulary.py: {error}") from error


if __name__ == "__main__":
    app.run(main)
