"""Writes the mini corpora: eight small corpora in the layouts of the real ones.

python bin/make_mini.py --root=corpora/mini
python bin/make_mini.py --root=corpora/mini --questions    # also writes typed and spoken questions about the images
"""

import os

# There is one worker process per core. Threads of BLAS in each of them would only wait for each other, which takes half as
# long again. NumPy reads this when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from absl import flags  # noqa: E402

from t2t_mm.common import command, config  # noqa: E402
from t2t_mm.mini import corpora, questions  # noqa: E402

_ROOT = flags.DEFINE_string("root", None, "Folder for the corpora; it is created if it does not exist.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Random seed of the sentences, images and voices.")
_QUESTIONS = flags.DEFINE_bool("questions", False, "Whether to write questions about the images, too (docs/your_data.md).")
_GIN_FILE = flags.DEFINE_multi_string("gin_file", ["gin/mini_corpora.gin"], "Configuration file with the sizes of the corpora.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the files; may be repeated.")


def main(_):
    config.parse(_GIN_FILE.value, _GIN_PARAM.value)
    sizes = config.configured(corpora.Sizes)()
    config.check_all_used()
    corpora.make_mini(_ROOT.value, _SEED.value, sizes)
    if _QUESTIONS.value:
        questions.make_questions(_ROOT.value)


if __name__ == "__main__":
    command.run(main)
