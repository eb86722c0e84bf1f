"""A short look at the dev set while training: teacher-forced figures and a few decoded examples."""

import math
from collections.abc import Sequence

from absl import logging

from t2t_mm.corpora.example import Report, first
from t2t_mm.evaluation.evaluate import TeacherForced, sample_of, to_tensorboard
from t2t_mm.experiment import Experiment
from t2t_mm.inference.predictor import Predictor
from t2t_mm.input.pipeline import batches_of, load_examples, make_batches
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.run.errors import RunError

_FIGURES = {"log_perplexity": False, "token_accuracy": True, "sequence_accuracy": True}  # whether higher is better


class Metric:
    """What "best" goes by: a teacher-forced figure, "log_perplexity" (the mean of all problems) or one problem's,
    "wsj_parsing/sequence_accuracy".

    Raises:
      RunError: no such figure or problem.
    """

    def __init__(self, name: str, problems: Sequence[str]):
        *problem, figure = name.split("/", 1)
        if figure not in _FIGURES or not set(problem) <= set(problems):
            raise RunError(
                f"best_metric is {name!r}; it must be one of {', '.join(_FIGURES)}, alone or after a problem of "
                f"{', '.join(problems)} and a slash."
            )
        self.name, self._figure, self._problems = name, figure, problem or list(problems)
        self.higher_is_better = _FIGURES[figure]

    def __call__(self, results: dict) -> float:
        """NaN, which is never the best, where none of the problems has an example."""
        found = [results[problem][self._figure] for problem in self._problems if self._figure in results[problem]]
        return sum(found) / len(found) if found else math.nan


class DevSet:
    """The dev sets of an experiment, read and batched once.

    Args:
      examples: how many of each problem, the first ones; the log says of how many.
      samples: how many of them are decoded greedily and shown.
      max_bad_examples: unusable examples of a problem before the run stops.

    Raises:
      CorpusError: a corpus is missing.
    """

    def __init__(self, experiment: Experiment, network, examples: int, samples: int, max_bad_examples: int):
        self._experiment, self._samples = experiment, samples
        tokenizer = Tokenizer(experiment.vocabulary)
        self._teacher_forced = TeacherForced(network)
        self._predictor = Predictor(network, tokenizer, max_length=experiment.batches.max_length)
        self._examples, self._batches, self._shown, self._reports = {}, {}, {}, {}
        for problem in experiment.problems:
            report = self._reports[problem.name] = Report(problem.name, max_bad_examples)
            found = load_examples(problem, "dev", report)
            kept = first(found, examples)
            self._examples[problem.name] = list(kept)
            logging.info("%s: evaluated on the first %d of %d dev examples", problem.name, len(kept), len(found))
            batches = [
                make_batches(problem, part, tokenizer, experiment.audio, experiment.batches, report, training=False)
                for part in (kept, first(kept, samples))
                if len(part)
            ]
            self._batches[problem.name], self._shown[problem.name] = batches[0], batches[1:]

    def evaluate(self, step: int) -> dict:
        """{"step", "results": problem -> {figure: value}, "samples": problem -> [{"input", "target", "output"}]}."""
        results, samples = {}, {}
        for problem in self._experiment.problems:
            results[problem.name] = self._teacher_forced(
                problem, batches_of(self._batches[problem.name], self._reports[problem.name])
            )
            samples[problem.name] = self._decode(problem)
        return {"step": step, "results": results, "samples": samples}

    def _decode(self, problem) -> list[dict]:
        class_names = problem.source.class_names() if problem.targets == "class" else None
        examples, found = self._examples[problem.name], {}
        for data in self._shown[problem.name]:
            for batch in batches_of(data, self._reports[problem.name]):
                for index, answer in zip(batch["index"].numpy(), self._predictor.answers(problem, batch)):
                    if index >= 0:  # else a row that only fills the batch
                        found[int(index)] = sample_of(problem, answer, examples[int(index)], class_names)
        return [found[index] for index in sorted(found)]


def report(found: dict, model_dir: str) -> None:
    """An evaluation's figures on the screen and, with its samples, in TensorBoard."""
    figures = (
        f"{name} {values['log_perplexity']:.3f}" if values else f"{name}: no examples"
        for name, values in found["results"].items()
    )
    logging.info("step %d, log-perplexity on dev:  %s", found["step"], "  ".join(figures))
    to_tensorboard(found, model_dir, "dev_in_training")
