"""Writes the mini corpora: eight small corpora in the layouts of the real ones.

    python bin/make_mini.py --root=corpora/mini
"""

from absl import app, flags

from t2t_mm.corpora import example
from t2t_mm.mini import corpora
from t2t_mm.run import config

_ROOT = flags.DEFINE_string("root", None, "Folder of the corpora; made if it is not there.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed gives other sentences, pictures and voices.")
_GIN_FILE = flags.DEFINE_multi_string("gin_file", ["gin/mini_corpora.gin"], "Sizes of the corpora.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings over the files.")


def main(_):
    try:
        config.parse(_GIN_FILE.value, _GIN_PARAM.value)
        corpora.make_mini(_ROOT.value, _SEED.value, config.configured(corpora.Sizes)())
        config.check_all_used()
    except (config.ConfigError, example.CorpusError) as error:
        raise SystemExit(f"make_mini.py: {error}") from error


if __name__ == "__main__":
    app.run(main)
