"""Writes a trained model as a SavedModel for TensorFlow Serving: the next numbered version below --export_dir.

    python bin/export.py --model_dir=runs/quickstart --export_dir=runs/quickstart/export
    python bin/export.py --model_dir=runs/quickstart --export_dir=exports/parser --problems=wsj_parsing --beam_size=4

docs/export.md says what clients send and get.
"""

import os
import signal
import time

import tensorflow as tf
from absl import app, flags, logging

from t2t_mm import experiment
from t2t_mm.corpora import example
from t2t_mm.export import answers, save
from t2t_mm.run import config
from t2t_mm.run.errors import RunError
from t2t_mm.run.folder import use_folder

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Folder of the export's versions.", required=True)
_PROBLEMS = flags.DEFINE_list("problems", [], "Only these problems, and only the nets they use.")
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration, where not the run's own config.gin.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings over it.")
_BEAM_SIZE = flags.DEFINE_integer("beam_size", 1, "Hypotheses kept; 1 is greedy.", lower_bound=1)
_ALPHA = flags.DEFINE_float("alpha", 0.6, "Strength of the length penalty.")
_MAX_LENGTH = flags.DEFINE_integer("max_length", 128, "Most tokens of an answer.", lower_bound=1)
_DTYPE = flags.DEFINE_enum("dtype", "float32", save.DTYPES, "Type of the stored weights.")
_RUN_WARMUP = flags.DEFINE_bool("run_warmup", True, "Answer every warm-up record before the version gets its number.")


def _end(number, _):
    signal.signal(number, signal.SIG_IGN)  # the clearing up is not to be interrupted
    raise KeyboardInterrupt


def main(_):
    logging.set_verbosity(logging.WARNING)  # TensorFlow would name each of a thousand captured weights
    tf.get_logger().setLevel("ERROR")  # it warns that a server's way into a session is old
    start, model_dir = time.monotonic(), _MODEL_DIR.value
    signal.signal(signal.SIGTERM, _end)  # what is written aside is removed on the way out
    try:
        config.parse(_GIN_FILE.value or [os.path.join(model_dir, "config.gin")], _GIN_PARAM.value)
        run = use_folder(config.configured(experiment.Experiment)(), model_dir)
        decoding = answers.Decoding(_BEAM_SIZE.value, _ALPHA.value, _MAX_LENGTH.value)
        folder = save.export(
            run, model_dir, _EXPORT_DIR.value, _PROBLEMS.value, decoding, _DTYPE.value, _RUN_WARMUP.value
        )
    except (config.ConfigError, example.CorpusError, RunError) as error:
        raise SystemExit(f"export.py: {error}") from error
    except KeyboardInterrupt as error:
        raise SystemExit("export.py: interrupted; nothing has been left behind.") from error
    print(f"Written to {folder} in {time.monotonic() - start:.0f} s")
    megabytes, seconds = save.size_on_disk(folder) / 1e6, save.load_seconds(folder)
    print(f"Size on disk: {megabytes:.1f} MB; load time, before warm-up: {seconds:.1f} s")


if __name__ == "__main__":
    app.run(main)
