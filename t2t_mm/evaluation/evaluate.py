"""Evaluates a trained model on the whole dev or test set of each problem, with teacher-forced and decoded metrics."""

import concurrent.futures
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from t2t_mm.common import progress
from t2t_mm.common.description import load_description
from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.line_files import LineFiles
from t2t_mm.corpora.source import Examples
from t2t_mm.evaluation import answers as answers_files
from t2t_mm.evaluation.baselines import baseline
from t2t_mm.evaluation.measured import Measured
from t2t_mm.evaluation.pivot import has_pivot, pivot
from t2t_mm.evaluation.retrieval import Retrieval, has_retrieval
from t2t_mm.experiment import Experiment
from t2t_mm.inference.predictor import Answer, Predictor, is_parsing, predict
from t2t_mm.inference.search import Decoding
from t2t_mm.input.pipeline import batches_of, load_examples, make_batches
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.losses import measure
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.run.folder import load_trained


def evaluate(
    experiment: Experiment,
    model_dir: str,
    split: str = "dev",
    names: Sequence[str] = (),
    decoding: Decoding | None = None,
    samples: int = 3,
    max_bad_examples: int = 100,
    finished: Callable[[dict], None] = lambda found: None,
    answers_folder: str | None = None,
    constrain_trees: bool = False,
    at_once: int = 1,
    through: str | None = None,
    retrieval: bool = False,
) -> dict:
    """Evaluates the checkpoint of `model_dir` that `experiment.weights` selects on each problem, or on those in `names`.

    If the corpus of a problem cannot be read or has no usable example, the problem is reported as failed, and the others are
    evaluated nevertheless.

    Args:
      decoding: settings for decoding answers. Default: greedy search for answers of up to `experiment.longest_answer` tokens.
      finished: a function that is called with the results so far after each problem.
      answers_folder: the folder for the files of answers, PROBLEM.jsonl (see `t2t_mm.evaluation.answers`); None writes none.
      constrain_trees: whether sentences are parsed a second time, with parses constrained to trees (`TreeGrammar`). The
        metrics of the second parses have the suffix "_constrained", as in "f1_constrained". Sentences whose trees do not
        fit into `decoding.max_length` keep their first parse; "unconstrained" is their number if there are any.
      at_once: number of problems that are evaluated at the same time. Decoding is a chain of small operations, with which one
        problem does not keep two cores busy. The results do not depend on it.
      through: a command token, such as "To-English". Problems with another command are answered a second time through this
        language (see `t2t_mm.evaluation.pivot`). The metrics of these answers have the suffix "_pivot", as in "bleu_pivot".
      retrieval: whether to also measure how well inputs find their own targets by their means (see
        `t2t_mm.evaluation.retrieval`), for problems whose targets are text.

    Returns:
      {"step", "training_minutes", "seed", "results", "samples", "skipped", "failed"}, where "results" is problem ->
      {metric: value}, "samples" is problem -> [{"input", "target", "output"}], "skipped" is problem -> {origin: reason},
      and "failed" is problem -> reason.

    Raises:
      RunError: a problem is unknown; there is no matching checkpoint; `constrain_trees` is set, but no problem parses
        sentences, or the vocabulary has no symbols of trees; the model does not have the command `through`, or no problem
        can be answered through it; or `retrieval` is set, but no problem has texts as targets.
    """
    problems = [experiment.problem(name) for name in names] or list(experiment.problems)
    every = ", ".join(problem.name for problem in problems)
    if constrain_trees and not any(is_parsing(problem) for problem in problems):
        raise RunError(f"constrain_trees is set, but none of {every} parses sentences.")
    if through is not None and not any(has_pivot(problem, through) for problem in problems):
        raise RunError(f"None of {every} has another command than {through} and answers with text.")
    if retrieval and not any(has_retrieval(problem) for problem in problems):
        raise RunError(f"Retrieval is measured for problems with texts as targets, and none of {every} is one.")
    network, description, trained = load_trained(experiment, model_dir, problems)
    decoding = decoding or Decoding(max_length=experiment.longest_answer)
    evaluator = Evaluator(
        experiment, network, description, decoding, max_bad_examples, constrain_trees, through, retrieval,
        lines=answers_folder is not None,
    )  # fmt: skip
    found = {
        "step": trained["step"], "training_minutes": trained["seconds"] / 60, "seed": description["seed"],
        "results": {}, "samples": {}, "skipped": {}, "failed": {},
    }  # fmt: skip
    loaded: dict[str, tuple[Examples, Report] | CorpusError] = {}
    total = 0
    # All sets are loaded first, because the progress needs the number of all examples.
    for problem in problems:
        try:
            loaded[problem.name] = examples, _ = evaluator.load(problem, split)
            total += len(examples)
        except CorpusError as error:
            loaded[problem.name] = error  # raised and reported when its turn comes
    with (
        progress.Counter(f"Evaluation on {split}, examples", total) as counter,
        _results(evaluator, problems, split, samples, at_once, loaded, counter.add) as result_of,
    ):
        for problem in problems:
            try:
                evaluated = result_of(problem)
                if answers_folder is not None and evaluated.answers:
                    answers_files.write(os.path.join(answers_folder, f"{problem.name}.jsonl"), evaluated.answers)
            except (CorpusError, RunError) as error:
                reason = str(error).removeprefix(f"{problem.name}: ")
                logging.error("%s: not evaluated: %s", problem.name, reason)
                found["failed"][problem.name] = reason
            else:
                found["results"][problem.name] = evaluated.figures
                found["samples"][problem.name] = evaluated.samples
                if evaluated.skipped:
                    found["skipped"][problem.name] = evaluated.skipped
                if not evaluated.figures["examples"]:
                    found["failed"][problem.name] = f"no examples: none in the {split} set is usable"
            finished(found)
    return found


@contextlib.contextmanager
def _results(
    evaluator: "Evaluator",
    problems: Sequence[Problem],
    split: str,
    samples: int,
    at_once: int,
    loaded: dict[str, tuple[Examples, Report] | CorpusError],
    done: Callable[[int], None],
) -> Iterator[Callable[[Problem], "Evaluated"]]:
    """Yields a function that returns the result of a problem, or raises its error. `at_once` problems are computed ahead."""

    def compute(problem):
        found = loaded[problem.name]
        if isinstance(found, CorpusError):
            raise found
        return evaluator(problem, split, samples, found, done)

    if at_once == 1:
        yield compute
        return
    # Threads are enough, because TensorFlow computes outside Python's lock.
    pool = concurrent.futures.ThreadPoolExecutor(at_once)
    try:
        started = {problem.name: pool.submit(compute, problem) for problem in problems}
        yield lambda problem: started[problem.name].result()
    finally:
        # After an error or Ctrl-C, problems that have not begun are cancelled.
        pool.shutdown(cancel_futures=True)


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """The results for one problem and split.

    Attributes:
      figures: metric -> value.
      samples: [{"input", "target", "output"}].
      skipped: origin -> reason, of the examples that are unusable or longer than the limits.
      measured: the measurements from which the teacher-forced metrics were computed.
      answers: every answer, see `t2t_mm.evaluation.answers`; empty if they were not requested or nothing was decoded.
    """

    figures: dict
    samples: list[dict]
    skipped: dict[str, str]
    measured: Measured
    answers: list[dict] = dataclasses.field(default_factory=list)


class Evaluator:
    """Evaluates a loaded model on one problem and split at a time.

    Args:
      decoding: the settings of decoding. None leaves out the decoded metrics and the samples, except for classes, which need
        no search.
      constrain_trees, through, retrieval: see `evaluate`.
      lines: whether to return every answer with its own scores.

    Raises:
      RunError: the model does not have the command `through`.
    """

    def __init__(
        self,
        experiment: Experiment,
        network: MultiModel,
        description: dict,
        decoding: Decoding | None,
        max_bad_examples: int = 100,
        constrain_trees: bool = False,
        through: str | None = None,
        retrieval: bool = False,
        lines: bool = False,
    ):
        if through is not None:
            try:
                network.command_id(through)
            except ValueError as error:  # it names the commands that the model has
                raise RunError(str(error)) from error
        self._through, self._lines = through, lines
        self._audio, self._description, self._max_bad = experiment.audio, description, max_bad_examples
        self.tokenizer, self._decodes = Tokenizer(experiment.vocabulary), decoding is not None
        settings = dataclasses.asdict(decoding or Decoding())
        self._predictor = Predictor(network, self.tokenizer, **settings)
        self._constrained = Predictor(network, self.tokenizer, **settings, constrain_trees=True) if constrain_trees else None
        self._teacher_forced, self._retrieval = TeacherForced(network), Retrieval(network) if retrieval else None
        self._settings = experiment.batches.complete(experiment.audio)

    def load(self, problem: Problem, split: str) -> tuple[Examples, Report]:
        """Returns the examples of a split, and the report of those that are unusable.

        Raises:
          CorpusError: there are none, or too many are unusable.
        """
        report = Report(problem.name, self._max_bad)
        return load_examples(problem, split, report), report

    def batches(self, problem: Problem, examples: Examples, report: Report) -> Iterable[dict]:
        """Returns the batches of what `load` has returned, without augmentation and in no particular order."""
        tools = self.tokenizer, self._audio, self._settings, report
        return batches_of(make_batches(problem, examples, *tools, training=False), report)

    def __call__(
        self,
        problem: Problem,
        split: str,
        samples: int = 3,
        loaded: tuple[Examples, Report] | None = None,
        done: Callable[[int], None] = lambda count: None,
    ) -> Evaluated:
        """Evaluates one problem and split.

        Args:
          samples: number of examples whose answers are returned as samples.
          loaded: what `load` returned. Default: it is called.
          done: a function that is called with the number of examples that have been answered since the last call.

        Raises:
          RunError, CorpusError: see `evaluate`.
        """
        start = time.monotonic()
        examples, report = loaded or self.load(problem, split)
        _check_classes(problem, self._description)
        tools = self.tokenizer, self._audio, self._settings, report
        measured = self._teacher_forced.measure(problem, self.batches(problem, examples, report))
        figures, shown, lines = measured.figures(), [], []
        if self._retrieval is not None and has_retrieval(problem):
            figures |= self._retrieval(problem, self.batches(problem, examples, report))
        # Classes are always ranked, because that needs no search.
        if self._decodes or problem.targets == "class":
            answers = predict(self._predictor, problem, examples, *tools, done=done)
            answered = [(answer, example) for answer, example in zip(answers, examples) if answer is not None]
            figures |= score(problem, [answer for answer, _ in answered], [example for _, example in answered])
            class_names = self._description["class_names"].get(problem.name)
            shown = [sample_of(*pair, class_names) for pair in answered[:samples]]
            nats = dict(zip(measured.index.tolist(), (measured.nats / measured.tokens).tolist()))
            if self._lines:
                reasons = report.left_out | report.skipped
                lines = answers_files.lines(problem, split, answers, examples, class_names, reasons, nats)
            if self._constrained is not None and is_parsing(problem):
                trees = predict(self._constrained, problem, examples, *tools)
                pairs = [(tree, example) for tree, example in zip(trees, examples) if tree is not None]
                found = score(problem, [tree for tree, _ in pairs], [example for _, example in pairs])
                figures |= {f"{name}_constrained": value for name, value in found.items()}
                without = [why for one in examples if (why := self._constrained.unconstrained(problem, one.input_line))]
                if without:
                    figures["unconstrained"] = len(without)
                    logging.warning("%s: %d of the sentences, the first of %s", problem.name, len(without), without[0])
                for line, tree in zip(lines, trees):
                    line |= {} if tree is None else {"constrained_answer": tree}
            if self._through is not None and has_pivot(problem, self._through):
                through, between = pivot(self._predictor, problem, examples, *tools, self._through)
                pairs = [(answer, example) for answer, example in zip(through, examples) if answer is not None]
                scores = score(problem, [answer for answer, _ in pairs], [example for _, example in pairs])
                # The signature of BLEU is a text, and the same for both answers.
                figures |= {f"{name}_pivot": value for name, value in scores.items() if not isinstance(value, str)}
                for line, answer, text in zip(lines, through, between):
                    line |= {} if answer is None else {"pivot": text, "pivot_answer": answer}
        figures["examples"] = len(measured.index)
        logging.info("%s: %d examples in %.0f s", problem.name, figures["examples"], time.monotonic() - start)
        return Evaluated(figures, shown, report.left_out | report.skipped, measured, lines)


def on_own_files(experiment: Experiment, model_dir: str, name: str, inputs: str, references: Sequence[str]) -> Experiment:
    """Returns the experiment with one problem only, whose examples are the lines of files (see `LineFiles`).

    Raises:
      RunError: the problem is unknown, or the folder is not that of a run.
    """
    problem = experiment.problem(name)
    classes = load_description(model_dir)["class_names"].get(name, ())
    tags = getattr(problem.source, "tags", True)  # of a `Treebank`
    source = LineFiles(inputs, references, problem.targets, len(problem.modalities), classes, tags)
    return experiment.with_problems([dataclasses.replace(problem, source=source)])


def evaluate_baselines(
    experiment: Experiment, split: str = "dev", names: Sequence[str] = (), max_bad_examples: int = 100
) -> dict:
    """Returns a dict of problem -> {metric: value} of trivial answers, which ignore or copy the input.

    Args:
      max_bad_examples: maximum number of unusable examples of each set.

    Raises:
      CorpusError: a set is missing, or too many of its examples are unusable.
    """
    results = {}
    for problem in [experiment.problem(name) for name in names] or experiment.problems:
        examples, known = (load_examples(problem, part, Report(problem.name, max_bad_examples)) for part in (split, "train"))
        predictions, description = baseline(problem, known, examples)
        results[problem.name] = {"baseline": description} | score(problem, predictions, examples)
    return results


def score(problem: Problem, predictions: Sequence, examples: Sequence[Example] | Examples) -> dict:
    """Returns all metrics of a problem for decoded answers, or an empty dict if there are none."""
    return answers_files.score(problem.metrics, predictions, examples)


class TeacherForced:
    """Computes metrics with teacher forcing, where the model sees the correct previous tokens."""

    def __init__(self, network: MultiModel):
        self._network = network
        self._functions: dict = {}

    def __call__(self, problem: Problem, data: Iterable[dict]) -> dict:
        """Returns the metrics of the whole set, see `Measured.figures`."""
        return self.measure(problem, data).figures()

    def measure(self, problem: Problem, data: Iterable[dict]) -> Measured:
        """Returns the measurements of all examples of the set, in the order of their indices."""
        command = tf.constant(self._network.command_id(problem.command))
        experts: dict[str, np.ndarray] = {}
        rows = [np.zeros([0, 5])]
        for batch in data:
            counted, importance = self._function(problem)(batch, command)
            index = batch["index"].numpy()
            # Rows of index −1 only fill the batch.
            rows.append(np.column_stack([index, *(part.numpy() for part in counted)])[index >= 0])
            for name, vector in importance.items():
                # Summed over the set, because a mixture may use other experts for every batch.
                experts[name] = experts.get(name, np.zeros(())) + vector.numpy().astype(float)
        table = np.concatenate(rows).astype(float)
        # Batches are made by length; the order of the corpus is restored.
        index, nats, right, right5, tokens = table[np.argsort(table[:, 0])].T
        return Measured(index.astype(int), nats, right, right5, tokens, experts)

    def _function(self, problem):
        kind = problem.kind
        if kind not in self._functions:
            function = lambda batch, command: measure(self._network, problem, batch, command)  # noqa: E731
            # As in `Predictor`, several threads must use the same function.
            self._functions.setdefault(kind, tf.function(function, reduce_retracing=True, autograph=False))
        return self._functions[kind]


def _check_classes(problem: Problem, description: dict) -> None:
    # A corpus with another list of classes would give every class another index, and an accuracy by chance.
    if problem.targets != "class":
        return
    known, now = description["class_names"].get(problem.name) or [], problem.class_names()
    if known != now:
        more, fewer = [name for name in now if name not in known], [name for name in known if name not in now]
        shown = [f"it has {', '.join(more[:5])} in addition"] if more else []
        shown += [f"it lacks {', '.join(fewer[:5])}"] if fewer else []
        raise RunError(
            f"{problem.name}: the classes of the corpus are not those that the model was trained on: "
            f"{' and '.join(shown) or 'their order differs'}. Evaluate on the corpus of the training, or train a new model."
        )


def sample_of(answer: Answer, example: Example, class_names: list[str] | None) -> dict:
    """Returns an example and its answer as text."""
    if class_names is None:
        return {"input": example.input_line, "target": example.targets, "output": answer}
    best = int(np.argmax(answer))
    return {"input": example.input_line, "target": class_names[example.target_class], "output": class_names[best]}
