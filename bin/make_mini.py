"""Writes the mini corpora: eight small corpora in the layouts of the real ones.

    python bin/make_mini.py --root=corpora/mini
    python bin/make_mini.py --root=corpora/mini --questions    # and questions about their pictures, typed and spoken
"""

from absl import flags

from t2t_mm.mini import corpora, questions
from t2t_mm.run import command, config

_ROOT = flags.DEFINE_string("root", None, "Folder of the corpora, which is made where there is none.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed gives other sentences, pictures and voices.")
_QUESTIONS = flags.DEFINE_bool("questions", False, "Also write questions about the pictures (docs/your_data.md).")
_GIN_FILE = flags.DEFINE_multi_string("gin_file", ["gin/mini_corpora.gin"], "Sizes of the corpora.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings, which override the files.")


def main(_):
    config.parse(_GIN_FILE.value, _GIN_PARAM.value)
    sizes = config.configured(corpora.Sizes)()
    config.check_all_used()
    corpora.make_mini(_ROOT.value, _SEED.value, sizes)
    if _QUESTIONS.value:
        questions.make_questions(_ROOT.value)


if __name__ == "__main__":
    command.run(main)
