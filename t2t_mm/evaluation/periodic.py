"""Evaluates a part of the dev set during training: teacher-forced figures and a few decoded examples."""

import math
from collections.abc import Sequence

from absl import logging

from t2t_mm.corpora.example import Report
from t2t_mm.evaluation.evaluate import TeacherForced, sample_of, to_tensorboard
from t2t_mm.experiment import Experiment
from t2t_mm.inference.predictor import Predictor
from t2t_mm.input.pipeline import batches_of, load_examples, make_batches
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.run.errors import RunError

_FIGURES = {"log_perplexity": False, "token_accuracy": True, "sequence_accuracy": True}  # whether higher is better


class Metric:
    """The metric that selects the best checkpoint.

    Args:
      name: a teacher-forced figure, either averaged over all problems ("log_perplexity") or that of one problem
        ("wsj_parsing/sequence_accuracy").
      problems: names of the problems.

    Raises:
      RunError: the figure or the problem does not exist.
    """

    def __init__(self, name: str, problems: Sequence[str]):
        *problem, figure = name.split("/", 1)
        if figure not in _FIGURES or not set(problem) <= set(problems):
            raise RunError(
                f"best_metric is {name!r}; it must be one of {', '.join(_FIGURES)}, or PROBLEM/FIGURE for one of the "
                f"problems {', '.join(problems)}."
            )
        self.name, self._figure, self._problems = name, figure, problem or list(problems)
        self.higher_is_better = _FIGURES[figure]

    def __call__(self, results: dict[str, dict[str, float]]) -> float:
        """Returns the metric of an evaluation's results, problem -> {figure: value}.

        It is NaN, which is never the best, if none of the problems has an example.
        """
        found = [results[problem][self._figure] for problem in self._problems if self._figure in results[problem]]
        return sum(found) / len(found) if found else math.nan


class DevSet:
    """The dev sets of an experiment, which are read and batched only once.

    Args:
      examples: number of examples per problem, the first of each dev set.
      samples: number of these examples that are decoded greedily and shown.
      max_bad_examples: maximum number of unusable examples per problem before the run stops.

    Raises:
      CorpusError: a corpus is missing.
    """

    def __init__(
        self, experiment: Experiment, network: MultiModel, examples: int, samples: int, max_bad_examples: int
    ):
        self._experiment, self._samples = experiment, samples
        tokenizer = Tokenizer(experiment.vocabulary)
        self._teacher_forced = TeacherForced(network)
        self._predictor = Predictor(network, tokenizer, max_length=experiment.batches.max_length)
        self._examples, self._batches, self._shown, self._reports = {}, {}, {}, {}
        for problem in experiment.problems:
            report = self._reports[problem.name] = Report(problem.name, max_bad_examples)
            found = load_examples(problem, "dev", report)
            kept = found.first(examples)
            self._examples[problem.name] = list(kept)
            logging.info("%s: evaluated on the first %d of %d dev examples", problem.name, len(kept), len(found))
            batches = [
                make_batches(problem, part, tokenizer, experiment.audio, experiment.batches, report, training=False)
                for part in (kept, kept.first(samples))
                if len(part)
            ]
            self._batches[problem.name], self._shown[problem.name] = batches[0], batches[1:]

    def evaluate(self, step: int) -> dict:
        """Evaluates all problems.

        Returns:
          {"step", "results": problem -> {figure: value}, "samples": problem -> [{"input", "target", "output"}]}.
        """
        results, samples = {}, {}
        for problem in self._experiment.problems:
            results[problem.name] = self._teacher_forced(
                problem, batches_of(self._batches[problem.name], self._reports[problem.name])
            )
            samples[problem.name] = self._decode(problem)
        return {"step": step, "results": results, "samples": samples}

    def _decode(self, problem: Problem) -> list[dict]:
        class_names = problem.class_names() if problem.targets == "class" else None
        examples, found = self._examples[problem.name], {}
        for data in self._shown[problem.name]:
            for batch in batches_of(data, self._reports[problem.name]):
                for index, answer in zip(batch["index"].numpy(), self._predictor.answers(problem, batch)):
                    if index >= 0:  # rows that only fill the batch have a negative index
                        found[int(index)] = sample_of(answer, examples[int(index)], class_names)
        return [found[index] for index in sorted(found)]


def report(found: dict, model_dir: str) -> None:
    """Logs the figures of an evaluation, and writes them to TensorBoard together with its samples."""
    figures = (
        f"{name} {values['log_perplexity']:.3f}" if values else f"{name}: no examples"
        for name, values in found["results"].items()
    )
    logging.info("step %d, log-perplexity on dev:  %s", found["step"], "  ".join(figures))
    to_tensorboard(found, model_dir, "dev_in_training")
