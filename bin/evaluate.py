"""Evaluates a trained model on all its problems, prints a table and writes the results as JSON.

    python bin/evaluate.py --model_dir=runs/joint_mini --split=test

The model can also be evaluated on your own files, with one input and one reference per line:

    python bin/evaluate.py --model_dir=runs/joint_mini --problem=wmt_en_de --inputs=news.en --references=news.de

Every answer is written with its input and reference to answers_SPLIT/PROBLEM.jsonl, which bin/score.py --answers scores.

The results of an earlier evaluation are replaced only at the end. Until then, the results and answers of the problems that
have been evaluated are in files and a folder with ".unfinished" in their names, where they stay if the command is stopped.
"""

import os
import time

from absl import flags, logging

from t2t_mm.common import checkpoint_flags, command, config, search_flags
from t2t_mm.common.errors import RunError
from t2t_mm.evaluation.outputs import outputs

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_SPLIT = flags.DEFINE_enum("split", "dev", ["dev", "test"], "Split to evaluate on.")
_MAX_BAD = flags.DEFINE_integer(
    "max_bad_examples", 100, "Maximum number of unusable examples of a problem, which are left out; with more, it fails.",
    lower_bound=0,
)  # fmt: skip
_PROBLEM = flags.DEFINE_multi_string(
    "problem", [], f"Problem to evaluate; may be repeated. Default: all problems of the run; {command.PROBLEM_HELP}."
)
_INPUTS = flags.DEFINE_string(
    "inputs", None,
    "File with one input per line (a text, or the path of an image or a recording) to evaluate on instead of a split; needs "
    "one --problem.",
)  # fmt: skip
_REFERENCES = flags.DEFINE_multi_string(
    "references", [], "File with one reference per line for --inputs: a text, a bracketed tree or a class; may be repeated "
    "if there are several references.",
)  # fmt: skip
_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", [], "Configuration file; may be repeated. Default: the config.gin of the run."
)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the configuration; may be repeated.")
checkpoint_flags.define()
search_flags.define()
_CONSTRAIN_TREES = flags.DEFINE_bool(
    "constrain_trees",
    False,
    "Whether to parse sentences a second time with parses constrained to trees, and to score both parses.",
)
_PIVOT = flags.DEFINE_string(
    "pivot",
    None,
    "Command token, such as To-English. Problems with another command are answered a second time through this language, with "
    "two directions of the model, and both answers are scored.",
)
_RETRIEVAL = flags.DEFINE_bool(
    "retrieval",
    False,
    "Whether to also measure how often the target of an input is the nearest one of all targets, by the cosine of the means of "
    "their encoded positions. It is meant for models that were trained with settings.Objective.contrast_weight.",
)
_BASELINES = flags.DEFINE_bool("baselines", True, "Whether to score the trivial baselines too.")
_COMMAND = flags.DEFINE_string("command", None, "Command to record in the results. Default: this command line.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "JSON file for the results; a table (.md) and the printed summary (.txt) are written next to it. Default: "
    "MODEL_DIR/evaluation_SPLIT.json; with --inputs, evaluation_own.json, and otherwise with --problem, "
    "evaluation_SPLIT_PROBLEM.json (several names are joined by +)."
)  # fmt: skip
_ANSWERS = flags.DEFINE_string(
    "answers",
    None,
    'Folder for the answers, in files PROBLEM.jsonl; "" writes none. Default: MODEL_DIR/answers_SPLIT, or a folder named '
    "like the results with --inputs or --problem.",
)


def check_own_files() -> None:
    """Checks the flags for evaluation on one's own files.

    Raises:
      RunError: --inputs is given without --references or one --problem, --references without --inputs, or a file is missing.
    """
    if not _INPUTS.value and not _REFERENCES.value:
        return
    if not _INPUTS.value or not _REFERENCES.value or len(_PROBLEM.value) != 1:
        raise RunError("Evaluation on your own files takes --inputs, --references and one --problem.")
    for path in (_INPUTS.value, *_REFERENCES.value):
        if not os.path.isfile(path):
            raise RunError(f"{path}: no such file.")


def main(_):
    start = time.monotonic()
    check_own_files()
    own = bool(_INPUTS.value)
    model_dir, split, names = _MODEL_DIR.value, "own" if own else _SPLIT.value, _PROBLEM.value
    trained = command.check_model_dir(model_dir)
    command.check_problems(names, trained, other_configuration=bool(_GIN_FILE.value or _GIN_PARAM.value))
    checkpoint_flags.check()
    written = outputs(model_dir, split, names, _OUTPUT.value, _ANSWERS.value)
    gin_files = _GIN_FILE.value or [os.path.join(model_dir, "config.gin")]
    config.check_files(gin_files)
    command.load_tensorflow()
    config.parse(gin_files, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.common.files import write_whole
    from t2t_mm.corpora.example import CorpusError
    from t2t_mm.evaluation import curves, evaluate, tensorboard
    from t2t_mm.lab import results, summary
    from t2t_mm.run.folder import use_folder
    from t2t_mm.training import strategy

    strategy.divide_cores()
    run = checkpoint_flags.chosen(use_folder(config.configured(experiment.Experiment)(), model_dir), model_dir)
    if own:
        run = evaluate.on_own_files(run, model_dir, names[0], _INPUTS.value, _REFERENCES.value)
    decoding = search_flags.chosen(run)
    baselines: dict = {}
    cosines = curves.cosines(model_dir)
    training_loss = {name: curves.thinned(steps) for name, steps in curves.curves(model_dir)["train"].items()}

    def write(found: dict, path: str = written.unfinished) -> dict:
        """Writes and returns the results so far, which are not lost if a later problem ends the process."""
        if _BASELINES.value and not own:
            for name in found["results"].keys() - baselines.keys():
                try:
                    baselines.update(evaluate.evaluate_baselines(run, split, [name], _MAX_BAD.value))
                except CorpusError as error:
                    logging.error("%s: no baseline: %s", name, error)
                    baselines[name] = {}
        minutes = found["training_minutes"]
        return results.write_results(
            path,
            _COMMAND.value or command.line(),
            found["seed"],
            minutes + (time.monotonic() - start) / 60,
            found["results"],
            baselines=baselines,
            training_minutes=round(minutes, 1),
            training_loss=training_loss,
            split=split,
            render=summary.page,
            **({"gradient_cosines": cosines} if cosines else {}),
            **{key: found[key] for key in ("step", "samples", "skipped", "failed")},
        )

    written.begin()
    found = evaluate.evaluate(
        run, model_dir, split, names, decoding, max_bad_examples=_MAX_BAD.value, finished=write,
        answers_folder=written.unfinished_answers, constrain_trees=_CONSTRAIN_TREES.value, at_once=strategy.problems_at_once(),
        through=_PIVOT.value, retrieval=_RETRIEVAL.value,
    )  # fmt: skip
    if any(figures["examples"] for figures in found["results"].values()):
        tensorboard.write(found, model_dir, split, run.problems, run.audio)
        text = summary.summary(write(found, written.path))
        write_whole(f"{written.stem}.txt", text)
        print(f"{text}\nAll metrics and samples: {written.stem}.md")
        if written.answers:
            print(f"Every answer: {os.path.join(written.answers, 'PROBLEM.jsonl')}")
    written.finish()
    if found["failed"]:
        lines = (f"{command.name()}: {name}: {reason}" for name, reason in found["failed"].items())
        raise SystemExit("\n".join(lines))


if __name__ == "__main__":
    command.run(main)
