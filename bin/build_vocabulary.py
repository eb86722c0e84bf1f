"""Builds the SentencePiece vocabulary of the problems that the .gin files name.

    python bin/build_vocabulary.py --gin_file=gin/runs/joint_mini.gin --size=1200
"""

from absl import flags

from t2t_mm.run import command, config

_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", None, "Configuration files; later ones override earlier ones.", required=True
)
_SIZE = flags.DEFINE_integer(
    "size", 8000, "Number of pieces; padding, end, unknown, 256 bytes and the tree symbols count too."
)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings, which override the files.")


def main(_):
    config.check_files(_GIN_FILE.value)
    command.load_tensorflow()
    config.parse(_GIN_FILE.value, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.input import vocabulary

    run = config.configured(experiment.Experiment)()
    vocabulary.build_vocabulary(run.problems, run.vocabulary, _SIZE.value)


if __name__ == "__main__":
    command.run(main)
