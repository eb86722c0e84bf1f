"""Exports a trained model as a SavedModel for TensorFlow Serving, with the next version number in --export_dir.

    python bin/export.py --model_dir=runs/quickstart --export_dir=runs/quickstart/export
    python bin/export.py --model_dir=runs/quickstart --export_dir=exports/parser --problems=wsj_parsing --constrain_trees
    python bin/export.py --model_dir=runs/quickstart --export_dir=exports/several --n_best=4 --attention

docs/export.md describes the requests and answers.
"""

import os
import signal
import time

from absl import flags, logging

from t2t_mm.common import checkpoint_flags, command, config, search_flags

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Folder for the versions of the export.", required=True)
_PROBLEMS = flags.DEFINE_list(
    "problems",
    [],
    f"Problems to export, with only the nets that they use. Default: all problems of the run; {command.PROBLEM_HELP}.",
)
_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", [], "Configuration file; may be repeated. Default: the config.gin of the run."
)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the configuration; may be repeated.")
checkpoint_flags.define()
search_flags.define()
_N_BEST = flags.DEFINE_integer(
    "n_best", 0, "Number of answers to each input, with the log-probabilities of their tokens, in a signature n_best. 0: none.",
    lower_bound=0,
)  # fmt: skip
_ATTENTION = flags.DEFINE_bool(
    "attention",
    False,
    "Whether to add a signature attention, which also returns what each token of an answer attended to. Models without "
    "attention to positions of their source (attend of attention.AttentionBlock, reads of model.MultiModel) cannot have it.",
)
_CONSTRAIN_TREES = flags.DEFINE_bool(
    "constrain_trees",
    False,
    "Whether to constrain every parse to a tree with matching brackets and one leaf for each word. A sentence whose tree does "
    "not fit into --max_length is parsed without the constraint.",
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Data type of the stored weights.")
_RUN_WARMUP = flags.DEFINE_bool(
    "run_warmup", True, "Whether to load the new version and answer its warm-up records before it gets its number."
)


def _end(number, _):
    signal.signal(number, signal.SIG_IGN)  # so that the removal of the files is not interrupted
    raise KeyboardInterrupt


def main(_):
    start, model_dir = time.monotonic(), _MODEL_DIR.value
    other = bool(_GIN_FILE.value or _GIN_PARAM.value)
    command.check_problems(_PROBLEMS.value, command.check_model_dir(model_dir), other)
    checkpoint_flags.check()
    gin_files = _GIN_FILE.value or [os.path.join(model_dir, "config.gin")]
    config.check_files(gin_files)
    command.load_tensorflow()
    config.parse(gin_files, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.common.files import size_on_disk
    from t2t_mm.export import save
    from t2t_mm.run.folder import use_folder

    logging.set_verbosity(logging.WARNING)  # otherwise TensorFlow lists a thousand captured weights
    signal.signal(signal.SIGTERM, _end)  # raises an exception, so that the incomplete version is removed
    run = checkpoint_flags.chosen(use_folder(config.configured(experiment.Experiment)(), model_dir), model_dir)
    decoding = search_flags.chosen(run)
    try:
        folder = save.export(
            run, model_dir, _EXPORT_DIR.value, _PROBLEMS.value, decoding, _DTYPE.value, _RUN_WARMUP.value,
            say=lambda line: print(line, flush=True), n_best=_N_BEST.value,
            attention=_ATTENTION.value, constrain_trees=_CONSTRAIN_TREES.value,
        )  # fmt: skip
    except KeyboardInterrupt as error:
        raise SystemExit(f"{command.name()}: interrupted; no incomplete version remains.") from error
    print(f"Written to {folder} in {time.monotonic() - start:.0f} s")
    megabytes, seconds = size_on_disk(folder) / 1e6, save.load_seconds(folder)
    print(f"Size on disk: {megabytes:.1f} MB; load time, before warm-up: {seconds:.1f} s")


if __name__ == "__main__":
    command.run(main)
