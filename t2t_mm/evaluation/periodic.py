"""Evaluates a part of the dev set during training: teacher-forced figures and a few decoded examples."""

import math
from collections.abc import Sequence

import numpy as np
from absl import logging

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Report
from t2t_mm.evaluation import tensorboard
from t2t_mm.evaluation.evaluate import TeacherForced, sample_of, score
from t2t_mm.experiment import Experiment
from t2t_mm.inference.predictor import Answer, Predictor
from t2t_mm.input.pipeline import batches_of, load_examples, make_batches
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.spelling import near

_FIGURES = {"log_perplexity": False, "token_accuracy": True, "sequence_accuracy": True}  # whether higher is better
_LOWER_IS_BETTER = ("log_perplexity", "wer", "substitutions", "deletions", "insertions", "repaired")


class Metric:
    """The metric that selects the best checkpoint.

    Args:
      name: a teacher-forced metric, either averaged over all problems ("log_perplexity") or of one problem
        ("wsj_parsing/sequence_accuracy"), or a metric of the decoded answers of one problem ("wmt_en_de/bleu").
      problems: names of the problems.
      lower_is_better: whether lower values are better. Default: determined by the name.

    Attributes:
      decoded: the problem whose answers must be decoded, and the name of the metric; None for a teacher-forced metric.

    Raises:
      RunError: the metric or the problem does not exist. (`DevSet` checks the decoded metrics, which depend on the problem.)
    """

    def __init__(self, name: str, problems: Sequence[str], lower_is_better: bool | None = None):
        # Without a slash, there is no problem, and the metric is averaged over all.
        *problem, figure = name.split("/", 1)
        if (figure not in _FIGURES and not problem) or not set(problem) <= set(problems):
            known = [*_FIGURES, *(f"{one}/{figure}" for one in problems)]
            raise RunError(
                f"best_metric is {name!r}{near(name, known)}; it must be one of {', '.join(_FIGURES)}, or PROBLEM/METRIC for "
                f"one of the problems {', '.join(problems)}."
            )
        self.name, self._figure, self._problems = name, figure, problem or list(problems)
        self.decoded = None if figure in _FIGURES else (problem[0], figure)
        self.higher_is_better = figure not in _LOWER_IS_BETTER if lower_is_better is None else not lower_is_better

    def __call__(self, results: dict[str, dict[str, float]]) -> float:
        """Returns the metric for the results of an evaluation, problem -> {metric: value}.

        If none of the problems has an example, it is NaN, which is never the best value.
        """
        found = [results[problem][self._figure] for problem in self._problems if self._figure in results[problem]]
        # Problems weigh equally, however many examples they have.
        return sum(found) / len(found) if found else math.nan


class DevSet:
    """The dev sets of an experiment, which are read and batched only once.

    Args:
      examples: number of examples per problem, from the beginning of each dev set.
      samples: number of these examples that are decoded greedily and shown.
      metric: the metric that selects the best checkpoint. If it needs decoded answers, all `examples` are decoded.
      max_bad_examples: maximum number of unusable examples per problem before the run stops.

    Raises:
      CorpusError: a corpus is missing.
      RunError: the problem that `metric` names has no such metric.
    """

    def __init__(
        self,
        experiment: Experiment,
        network: MultiModel,
        examples: int,
        samples: int,
        max_bad_examples: int,
        metric: Metric | None = None,
    ):
        self._experiment, self._samples, self._metric = experiment, samples, metric
        tokenizer = Tokenizer(experiment.vocabulary)
        self._teacher_forced = TeacherForced(network)
        # Greedy, because this is repeated many times in a run.
        self._predictor = Predictor(network, tokenizer, max_length=experiment.batches.max_length)
        self._examples, self._batches, self._shown, self._reports = {}, {}, {}, {}
        for problem in experiment.problems:
            report = self._reports[problem.name] = Report(problem.name, max_bad_examples)
            found = load_examples(problem, "dev", report)
            # The same examples each time, so that the values of a run can be compared.
            kept = found.first(examples)
            self._examples[problem.name] = list(kept)
            logging.info("%s: evaluated on the first %d of %d dev examples", problem.name, len(kept), len(found))
            batches = [
                make_batches(problem, part, tokenizer, experiment.audio, experiment.batches, report, training=False)
                for part in (kept, kept.first(samples))
                if len(part)
            ]
            self._batches[problem.name], self._shown[problem.name] = batches[0], batches[1:]
            if self._is_decoded(problem):
                # Before training, and not after hours, at the first evaluation.
                self._check_metric(problem)

    def _is_decoded(self, problem: Problem) -> bool:
        return self._metric is not None and self._metric.decoded is not None and self._metric.decoded[0] == problem.name

    def _check_metric(self, problem: Problem) -> None:
        """Checks that the problem has the metric, by scoring the correct answers.

        Raises:
          RunError: it does not.
        """
        assert self._metric is not None and self._metric.decoded is not None  # see `_is_decoded`
        examples, (_, name) = self._examples[problem.name], self._metric.decoded
        answers: list = [example.targets for example in examples]
        if problem.targets == "class":
            # The scores of classes are vectors; a right answer has 1 at its class.
            answers = list(np.eye(len(problem.class_names()))[answers])
        numbers = [key for key, value in score(problem, answers, examples).items() if isinstance(value, int | float)]
        if name not in numbers:
            known = [*numbers, *_FIGURES]
            hint = near(self._metric.name, [f"{problem.name}/{one}" for one in known])
            raise RunError(f"best_metric is {self._metric.name!r}{hint}; {problem.name} has the metrics {', '.join(known)}.")

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
            decoded = self._decode(problem, all_of_them=self._is_decoded(problem))
            if self._is_decoded(problem):
                examples = self._examples[problem.name]
                answered = sorted(decoded)  # an example whose image or audio cannot be read has no answer
                results[problem.name] |= score(
                    problem, [decoded[index] for index in answered], [examples[index] for index in answered]
                )
            samples[problem.name] = self._samples_of(problem, decoded)
        return {"step": step, "results": results, "samples": samples}

    def _decode(self, problem: Problem, all_of_them: bool) -> dict[int, Answer]:
        """Returns a dict of place of an example in the dev set -> its greedy answer."""
        found = {}
        for data in [self._batches[problem.name]] if all_of_them else self._shown[problem.name]:
            for batch in batches_of(data, self._reports[problem.name]):
                for index, answer in zip(batch["index"].numpy(), self._predictor.answers(problem, batch)):
                    if index >= 0:  # rows that only fill the batch have a negative index
                        found[int(index)] = answer
        return found

    def _samples_of(self, problem: Problem, decoded: dict[int, Answer]) -> list[dict]:
        class_names = problem.class_names() if problem.targets == "class" else None
        examples = self._examples[problem.name]
        shown = [index for index in sorted(decoded) if index < self._samples]
        return [sample_of(decoded[index], examples[index], class_names) for index in shown]


def report(found: dict, model_dir: str) -> None:
    """Logs the metrics of an evaluation, and writes them to TensorBoard together with its samples."""
    figures = (
        f"{name} {values['log_perplexity']:.3f}" if values else f"{name}: no examples"
        for name, values in found["results"].items()
    )
    logging.info("step %d, log-perplexity on dev:  %s", found["step"], "  ".join(figures))
    tensorboard.write(found, model_dir, "dev_in_training")
