"""Writes a trained model as a SavedModel for TensorFlow Serving: the next numbered version below --export_dir.

    python bin/export.py --model_dir=runs/quickstart --export_dir=runs/quickstart/export
    python bin/export.py --model_dir=runs/quickstart --export_dir=exports/parser --problems=wsj_parsing --beam_size=4
    python bin/export.py --model_dir=runs/quickstart --export_dir=exports/several --n_best=4

docs/export.md says what clients send and get.
"""

import os
import signal
import time

from absl import flags, logging

from t2t_mm.run import checkpoint_flags, command, config

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Folder of the export's versions.", required=True)
_PROBLEMS = flags.DEFINE_list(
    "problems", [], f"Only these problems, and only the nets they use; {command.PROBLEM_HELP}."
)
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration. Default: the config.gin of the run.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings, which override it.")
checkpoint_flags.define()
_BEAM_SIZE = flags.DEFINE_integer("beam_size", 1, "Hypotheses kept; 1 is greedy.", lower_bound=1)
_ALPHA = flags.DEFINE_float("alpha", 0.6, "Strength of the length penalty.")
_MAX_LENGTH = flags.DEFINE_integer("max_length", 128, "Most tokens of an answer.", lower_bound=1)
_N_BEST = flags.DEFINE_integer(
    "n_best", 0, "Adds the signature n_best: so many answers to each input, with the log-probabilities of their tokens.",
    lower_bound=0,
)  # fmt: skip
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Type of the stored weights.")
_RUN_WARMUP = flags.DEFINE_bool("run_warmup", True, "Answer every warm-up record before the version gets its number.")


def _end(number, _):
    signal.signal(number, signal.SIG_IGN)  # the clearing up is not to be interrupted
    raise KeyboardInterrupt


def main(_):
    start, model_dir = time.monotonic(), _MODEL_DIR.value
    command.check_problems(_PROBLEMS.value, command.check_model_dir(model_dir))
    checkpoint_flags.check()
    gin_files = _GIN_FILE.value or [os.path.join(model_dir, "config.gin")]
    config.check_files(gin_files)
    command.load_tensorflow()
    config.parse(gin_files, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.export import answers, save
    from t2t_mm.run.files import size_on_disk
    from t2t_mm.run.folder import use_folder

    logging.set_verbosity(logging.WARNING)  # TensorFlow would name each of a thousand captured weights
    signal.signal(signal.SIGTERM, _end)  # what is written aside is removed on the way out
    run = checkpoint_flags.chosen(use_folder(config.configured(experiment.Experiment)(), model_dir))
    decoding = answers.Decoding(_BEAM_SIZE.value, _ALPHA.value, _MAX_LENGTH.value)
    try:
        folder = save.export(
            run, model_dir, _EXPORT_DIR.value, _PROBLEMS.value, decoding, _DTYPE.value, _RUN_WARMUP.value,
            say=lambda line: print(line, flush=True), n_best=_N_BEST.value,
        )  # fmt: skip
    except KeyboardInterrupt as error:
        raise SystemExit(f"{command.name()}: interrupted; nothing has been left behind.") from error
    print(f"Written to {folder} in {time.monotonic() - start:.0f} s")
    megabytes, seconds = size_on_disk(folder) / 1e6, save.load_seconds(folder)
    print(f"Size on disk: {megabytes:.1f} MB; load time, before warm-up: {seconds:.1f} s")


if __name__ == "__main__":
    command.run(main)
