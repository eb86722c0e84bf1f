"""Collects everything the report needs to know about a trained model in one JSON file in the folder of the run."""

import os

from absl import logging

from t2t_mm.common.files import write_json
from t2t_mm.corpora.corpus_files import MissingCorpus
from t2t_mm.evaluation.curves import curves
from t2t_mm.evaluation.evaluate import Evaluated, Evaluator, evaluate_baselines
from t2t_mm.experiment import Experiment
from t2t_mm.inference.search import Decoding
from t2t_mm.run.folder import load_trained

SPLITS = ("dev", "test")
SAMPLES = 3
_PIVOT = "To-English"  # English is the source or the target of every translation that is trained


def score(experiment: Experiment, model_dir: str, decoding: Decoding | None, baselines: bool = False) -> dict:
    """Scores the weights of `model_dir` that `experiment.weights` selects on the dev and test sets of all problems.

    Args:
      decoding: settings for decoding answers; None skips all decoded metrics.
      baselines: whether to score the trivial answers of `t2t_mm.evaluation.baselines` too, and answers through English
        (`t2t_mm.evaluation.pivot`) if the model has this command.

    Returns:
      A dict with these entries. A corpus may lack a test set, which is then left out.
        "step", "seed", "training_seconds"
        "parameters": part of the model -> count
        "splits": split -> problem -> {"figures": metric -> value; "examples": {"nats", "right", "tokens"}, each a list
          in the order of the split; "experts": mixture -> summed gates; "samples"}
        "curves": split -> problem -> [[step, nats per token], …]
        "baselines": split -> problem -> {metric: value}

    Raises:
      RunError: there is no checkpoint, or it does not fit the configuration.
      CorpusError: a corpus is missing.
    """
    network, description, trained = load_trained(experiment, model_dir, experiment.problems)
    through = _PIVOT if baselines and _PIVOT in network.commands else None
    evaluator = Evaluator(experiment, network, description, decoding, through=through)
    splits: dict[str, dict] = {split: {} for split in SPLITS}
    trivial: dict[str, dict] = {split: {} for split in SPLITS}
    for split in SPLITS:
        for problem in experiment.problems:
            try:
                splits[split][problem.name] = _record(evaluator(problem, split, SAMPLES))
            except MissingCorpus as error:
                if split == "dev":
                    raise
                logging.warning("%s: there is no %s set: %s", problem.name, split, error)
                continue
            if baselines:
                trivial[split] |= evaluate_baselines(experiment, split, [problem.name])
    return {
        "step": trained["step"],
        "seed": description["seed"],
        "training_seconds": trained["seconds"],
        "parameters": {name: part.count_params() for name, part in network.parts().items()},
        "splits": splits,
        "curves": {
            split: {problem: [list(point) for point in steps.items()] for problem, steps in found.items()}
            for split, found in curves(model_dir).items()
        },
        "baselines": trivial,
    }


def _record(found: Evaluated) -> dict:
    return {"figures": found.figures} | found.measured.record() | {"samples": found.samples}


def write(path: str, scores: dict) -> None:
    """Writes the scores to `path` as JSON, atomically."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    write_json(path, scores)
