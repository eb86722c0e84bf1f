"""Builds the SentencePiece vocabulary for the problems in the .gin files.

python bin/build_vocabulary.py --gin_file=gin/runs/joint_mini.gin --size=1200
"""

import os

from absl import flags

from t2t_mm.common import command, config

_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", None, "Configuration file; may be repeated, later files override earlier ones.", required=True
)
_SIZE = flags.DEFINE_integer("size", 8000, "Number of pieces, including padding, end, unknown, 256 bytes and the tree symbols.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the files; may be repeated.")
_MAX_BAD = flags.DEFINE_integer(
    "max_bad_examples", 100, "Maximum number of unusable examples of a problem; with more, the command stops.", lower_bound=0
)


def main(_):
    config.check_files(_GIN_FILE.value)
    command.load_tensorflow()
    config.parse(_GIN_FILE.value, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.input import vocabulary

    run = config.configured(experiment.Experiment)()
    replaced = os.path.exists(run.vocabulary)
    vocabulary.build_vocabulary(run.problems, run.vocabulary, _SIZE.value, max_bad_examples=_MAX_BAD.value)
    print(f"Written to {run.vocabulary}{' in place of an earlier vocabulary' if replaced else ''}")


if __name__ == "__main__":
    command.run(main)
