"""Scores a run for the paper's tables, or scores a file of answers.

    python bin/score.py --model_dir=runs/joint_mini --output=runs/joint_mini/scores.json

The scores of a run contain those of each dev and test example, decoded metrics, learning curves and the use of the experts.
bin/reproduce.py calls this command for each of its runs; use bin/evaluate.py for results to read. A file of answers is
written by bin/evaluate.py or by another system, and has a JSON object with "reference" and "answer" in each line:

    python bin/score.py --answers=runs/joint_mini/answers_test/wmt_en_de.jsonl
    python bin/score.py --answers=theirs.jsonl --metric=bleu
"""

import os

from absl import flags

from t2t_mm.common import checkpoint_flags, command, config
from t2t_mm.common.errors import RunError

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the scores.")
_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", [], "Configuration file; may be repeated. Default: the config.gin of the run."
)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the configuration; may be repeated.")
checkpoint_flags.define()
_DECODE = flags.DEFINE_bool("decode", True, "Whether to decode answers and score them.")
_BASELINES = flags.DEFINE_bool("baselines", False, "Whether to score the trivial baselines too.")
_ANSWERS = flags.DEFINE_string("answers", None, "File of answers to score instead of a run.")
_METRIC = flags.DEFINE_multi_enum(
    "metric", [], ["bleu", "wer", "captions", "brackets", "classes", "exact_match"],
    "Metric for the answers; may be repeated. Default: the metrics of the problem that the file names.",
)  # fmt: skip


def score_answers() -> None:
    """Prints the scores of --answers, and writes them to --output if it is given."""
    from t2t_mm.evaluation import answers

    if _METRIC.value:
        if "classes" in _METRIC.value and (others := sorted(set(_METRIC.value) - {"classes", "exact_match"})):
            raise RunError(f"--metric=classes is for names of classes, and --metric={others[0]} for texts; give one of them.")
        metrics = [answers.METRICS[name] for name in _METRIC.value]
        found = answers.read(_ANSWERS.value, "classes" in _METRIC.value)
    else:
        found = answers.read(_ANSWERS.value)
        problem = problem_of(found.problem)
        metrics = problem.metrics
        if problem.targets == "class":  # also if the lines of another system have no rankings
            found = answers.read(_ANSWERS.value, classes=True)
    figures = answers.score(metrics, found.predictions, found.examples)
    figures |= {"examples": len(found.examples)} | ({"skipped": found.skipped} if found.skipped else {})
    for name, value in figures.items():
        print(f"{name}\t{value:.2f}" if isinstance(value, float) else f"{name}\t{value}")
    if _OUTPUT.value:
        from t2t_mm.common.files import write_json

        write_json(_OUTPUT.value, figures, indent=1)


def problem_of(name: str):
    """Returns the problem with a name.

    It is looked up in the given .gin files or run, or else in the run whose folder contains the file of answers.

    Raises:
      RunError: there is no such configuration or problem, or the file of answers does not name its problem.
    """
    around = os.path.dirname(os.path.dirname(os.path.abspath(_ANSWERS.value)))
    gin_files = _GIN_FILE.value or [os.path.join(_MODEL_DIR.value or around, "config.gin")]
    if _MODEL_DIR.value and not _GIN_FILE.value:
        command.check_model_dir(_MODEL_DIR.value)
    if not name:
        raise RunError(
            f'{_ANSWERS.value}: its lines name no problem, or different ones ("problem"). Give --metric, for instance '
            "--metric=bleu."
        )
    if not os.path.isfile(gin_files[0]) and not _GIN_FILE.value:
        raise RunError(
            f"{_ANSWERS.value}: is not in the folder of a run, which would have {gin_files[0]}. Give --metric, for instance "
            f"--metric=bleu, or the --model_dir or --gin_file of {name}."
        )
    config.check_files(gin_files)
    command.load_tensorflow()
    config.parse(gin_files, _GIN_PARAM.value)
    from t2t_mm import experiment

    return config.configured(experiment.Experiment)().problem(name)


def score_run() -> None:
    model_dir = _MODEL_DIR.value
    command.check_model_dir(model_dir)
    gin_files = _GIN_FILE.value or [os.path.join(model_dir, "config.gin")]
    config.check_files(gin_files)
    command.load_tensorflow()
    config.parse(gin_files, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.evaluation import evaluate
    from t2t_mm.lab.tables import scores
    from t2t_mm.run.folder import use_folder

    run = checkpoint_flags.chosen(use_folder(config.configured(experiment.Experiment)(), model_dir), model_dir)
    decoding = evaluate.Decoding(max_length=run.longest_answer) if _DECODE.value else None
    scores.write(_OUTPUT.value, scores.score(run, model_dir, decoding, _BASELINES.value))


def main(_):
    checkpoint_flags.check()
    if _ANSWERS.value:
        if os.path.isdir(_ANSWERS.value):
            raise RunError(f"{_ANSWERS.value}: is a folder. Give the file of a problem in it, PROBLEM.jsonl.")
        if not os.path.isfile(_ANSWERS.value):
            raise RunError(f"{_ANSWERS.value}: no such file.")
        return score_answers()
    if not _MODEL_DIR.value or not _OUTPUT.value:
        raise RunError("Give --model_dir and --output to score a run, or --answers to score a file of answers.")
    return score_run()


if __name__ == "__main__":
    command.run(main)
