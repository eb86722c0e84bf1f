"""Evaluates a trained model on all its problems: a table on the screen, JSON on disk.

    python bin/evaluate.py --model_dir=runs/joint_mini --split=test
"""

import os
import shlex
import sys
import time

from absl import app, flags, logging

from t2t_mm import experiment
from t2t_mm.corpora import example
from t2t_mm.evaluation import curves, evaluate
from t2t_mm.lab import results
from t2t_mm.run import config
from t2t_mm.run.errors import RunError
from t2t_mm.run.folder import use_folder

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_SPLIT = flags.DEFINE_enum("split", "dev", ["dev", "test"], "Which set.")
_PROBLEM = flags.DEFINE_multi_string("problem", [], "Only these problems.")
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration, where not the run's own config.gin.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings over it.")
_BEAM_SIZE = flags.DEFINE_integer("beam_size", 1, "Hypotheses kept in decoding; 1 is greedy.", lower_bound=1)
_ALPHA = flags.DEFINE_float("alpha", 0.6, "Strength of the length penalty.")
_MAX_LENGTH = flags.DEFINE_integer("max_length", 128, "Most tokens of a decoded answer.", lower_bound=1)
_BEST = flags.DEFINE_bool("best", False, "The checkpoint of the best evaluation in training, not the newest.")
_BASELINES = flags.DEFINE_bool("baselines", True, "Score the trivial baselines too.")
_COMMAND = flags.DEFINE_string("command", None, "The command to record, where another one called this.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file; MODEL_DIR/evaluation_SPLIT.json without.")


def main(_):
    start = time.monotonic()
    model_dir, split, names, baselines = _MODEL_DIR.value, _SPLIT.value, _PROBLEM.value, {}
    path = _OUTPUT.value or os.path.join(model_dir, f"evaluation_{split}.json")

    def finished(found: dict) -> None:
        """Writes what is found so far: a problem that ends the process costs those before it nothing."""
        if _BASELINES.value:
            for name in found["results"].keys() - baselines.keys():
                try:
                    baselines.update(evaluate.evaluate_baselines(run, split, [name]))
                except example.CorpusError as error:
                    logging.error("%s: no baseline: %s", name, error)
                    baselines[name] = {}
        more = {key: found[key] for key in ("step", "samples", "skipped", "failed")}
        minutes = found["training_minutes"]
        results.write_results(
            path,
            _COMMAND.value or shlex.join(["python", *sys.argv]),
            found["seed"],
            minutes + (time.monotonic() - start) / 60,
            found["results"],
            baselines=baselines,
            training_minutes=round(minutes, 1),
            training_loss={name: curves.thinned(steps) for name, steps in curves.curves(model_dir)["train"].items()},
            split=split,
            **more,
        )

    try:
        config.parse(_GIN_FILE.value or [os.path.join(model_dir, "config.gin")], _GIN_PARAM.value)
        run = use_folder(config.configured(experiment.Experiment)(), model_dir)
        decoding = evaluate.Decoding(_BEAM_SIZE.value, _ALPHA.value, _MAX_LENGTH.value)
        found = evaluate.evaluate(run, model_dir, split, names, decoding, best=_BEST.value, finished=finished)
    except (config.ConfigError, example.CorpusError, RunError) as error:
        raise SystemExit(f"evaluate.py: {error}") from error
    evaluate.to_tensorboard(found, model_dir, split)
    with open(path.removesuffix(".json") + ".md", encoding="utf-8") as file:
        print(file.read())
    print(f"Written to {path}")
    if found["failed"]:
        raise SystemExit("\n".join(f"evaluate.py: {name}: {reason}" for name, reason in found["failed"].items()))


if __name__ == "__main__":
    app.run(main)
