"""A trained model over the whole dev or test set of each problem: teacher-forced figures and decoded metrics."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.source import Examples
from t2t_mm.evaluation import answers as answers_files
from t2t_mm.evaluation.baselines import baseline
from t2t_mm.experiment import Experiment
from t2t_mm.inference.predictor import Answer, Predictor, is_parsing, predict
from t2t_mm.inference.search import Decoding
from t2t_mm.input.pipeline import batches_of, load_examples, make_batches
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.losses import cross_entropy, forward, token_weights
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.run import progress
from t2t_mm.run.errors import RunError
from t2t_mm.run.folder import load_trained

# Evaluation leaves nothing out for its length; these only bound the largest bucket.
_LONGEST_TEXT, _LONGEST_SOUND = 4096, 65536  # tokens, frames


def evaluate(
    experiment: Experiment,
    model_dir: str,
    split: str = "dev",
    names: Sequence[str] = (),
    decoding: Decoding = Decoding(),
    samples: int = 3,
    max_bad_examples: int = 100,
    finished: Callable[[dict], None] = lambda found: None,
    answers_folder: str | None = None,
    constrain_trees: bool = False,
) -> dict:
    """Evaluates the checkpoint of `model_dir` that `experiment.weights` chooses on each problem (or on those in `names`).

    A problem whose corpus cannot be read, or has no usable example, costs the others nothing: it has "failed".

    Args:
      finished: called with what is found so far, after each problem.
      answers_folder: where every answer is written, PROBLEM.jsonl (see `t2t_mm.evaluation.answers`); None for nowhere.
      constrain_trees: whether sentences are parsed a second time, with parses that must be trees (`TreeGrammar`). Each
        figure of the second parses is beside that of the first, as "f1_constrained", say. Sentences whose trees have no
        room in `decoding.max_length` keep their first parse; "unconstrained" says how many there are, if there are any.

    Returns: {"step", "training_minutes", "seed", "results", "samples", "skipped", "failed"}; results is problem ->
      {metric: value}, samples is problem -> [{"input", "target", "output"}], skipped is problem -> {origin: reason},
      failed is problem -> reason.

    Raises:
      RunError: an unknown problem, no checkpoint, or one that does not fit; or parses are to be trees, and no problem
        parses sentences, or the vocabulary has no symbols of trees.
    """
    problems = [experiment.problem(name) for name in names] or list(experiment.problems)
    if constrain_trees and not any(is_parsing(problem) for problem in problems):
        raise RunError(
            f"Parses are to be trees (constrain_trees), and none of {', '.join(p.name for p in problems)} parses sentences."
        )
    network, description, trained = load_trained(experiment, model_dir)
    evaluator = Evaluator(experiment, network, description, decoding, max_bad_examples, constrain_trees)
    found = {
        "step": trained["step"], "training_minutes": trained["seconds"] / 60, "seed": description["seed"],
        "results": {}, "samples": {}, "skipped": {}, "failed": {},
    }  # fmt: skip
    for problem in progress.shown(problems, f"Evaluation on {split}", len(problems)):
        try:
            evaluated = evaluator(problem, split, samples)
            if answers_folder is not None and evaluated.answers:
                answers_files.write(os.path.join(answers_folder, f"{problem.name}.jsonl"), evaluated.answers)
        except (CorpusError, RunError) as error:
            logging.error("%s: not evaluated: %s", problem.name, error)
            found["failed"][problem.name] = str(error)
        else:
            found["results"][problem.name] = evaluated.figures
            found["samples"][problem.name] = evaluated.samples
            if evaluated.skipped:
                found["skipped"][problem.name] = evaluated.skipped
            if not evaluated.figures["examples"]:
                found["failed"][problem.name] = f"no examples: none of the {split} set is usable"
        finished(found)
    return found


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a model does with each example of a set when it sees the right previous tokens; arrays [examples].

    index: the example's place in its split. nats: summed −ln p of its tokens. right, right5: tokens whose target is the
    likeliest, among the five likeliest. tokens: how many there are.
    experts: mixture ("encoder", "decoder") -> summed gates of each expert [E] over the set.
    """

    index: np.ndarray
    nats: np.ndarray
    right: np.ndarray
    right5: np.ndarray
    tokens: np.ndarray
    experts: dict[str, np.ndarray]

    def figures(self) -> dict:
        """Log-perplexity (nats per token over the whole set), accuracies of tokens and of whole sequences (percent); of a
        set without examples none."""
        if not len(self.index):
            return {}
        tokens = self.tokens.sum()
        return {
            "log_perplexity": float(self.nats.sum() / tokens),
            "token_accuracy": float(100 * self.right.sum() / tokens),
            "token_top5": float(100 * self.right5.sum() / tokens),
            "sequence_accuracy": float(100 * np.mean(self.right == self.tokens)),
        }


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """One problem's split. figures: metric -> value. samples: [{"input", "target", "output"}]. skipped: origin -> reason.

    measured: what the teacher-forced figures were computed from. answers: every answer, see `t2t_mm.evaluation.answers`;
      empty where none was decoded.
    """

    figures: dict
    samples: list[dict]
    skipped: dict[str, str]
    measured: Measured
    answers: list[dict] = dataclasses.field(default_factory=list)


class Evaluator:
    """Evaluates a loaded model on one problem and split after the other.

    Args:
      decoding: None leaves the decoded metrics and the samples out, except for classes, which need no search.
      constrain_trees: see `evaluate`.
    """

    def __init__(
        self,
        experiment: Experiment,
        network: MultiModel,
        description: dict,
        decoding: Decoding | None,
        max_bad_examples: int = 100,
        constrain_trees: bool = False,
    ):
        self._audio, self._description, self._max_bad = experiment.audio, description, max_bad_examples
        self._tokenizer, self._decodes = Tokenizer(experiment.vocabulary), decoding is not None
        settings = dataclasses.asdict(decoding or Decoding())
        self._predictor = Predictor(network, self._tokenizer, **settings)
        self._constrained = Predictor(network, self._tokenizer, **settings, constrain_trees=True) if constrain_trees else None
        self._teacher_forced = TeacherForced(network)
        self._settings = dataclasses.replace(experiment.batches, max_length=_LONGEST_TEXT, max_frames=_LONGEST_SOUND)

    def __call__(self, problem: Problem, split: str, samples: int = 3) -> Evaluated:
        """Raises as `evaluate` does."""
        start, report = time.monotonic(), Report(problem.name, self._max_bad)
        examples = load_examples(problem, split, report)
        _check_classes(problem, self._description)
        tools = self._tokenizer, self._audio, self._settings, report
        batches = batches_of(make_batches(problem, examples, *tools, training=False), report)
        measured = self._teacher_forced.measure(problem, batches)
        figures, shown, lines = measured.figures(), [], []
        if self._decodes or problem.targets == "class":
            answers = predict(self._predictor, problem, examples, *tools)
            answered = [(answer, example) for answer, example in zip(answers, examples) if answer is not None]
            figures |= score(problem, [answer for answer, _ in answered], [example for _, example in answered])
            class_names = self._description["class_names"].get(problem.name)
            shown = [sample_of(*pair, class_names) for pair in answered[:samples]]
            nats = dict(zip(measured.index.tolist(), (measured.nats / measured.tokens).tolist()))
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
        figures["examples"] = len(measured.index)
        logging.info("%s: %d examples in %.0f s", problem.name, figures["examples"], time.monotonic() - start)
        return Evaluated(figures, shown, report.skipped, measured, lines)


def to_tensorboard(found: dict, model_dir: str, split: str) -> None:
    """Writes the figures and the decoded examples of an evaluation beside those of the training."""
    writer = tf.summary.create_file_writer(os.path.join(model_dir, "events", split))
    with writer.as_default(step=found["step"]):
        for problem, metrics in found["results"].items():
            for metric, value in metrics.items():
                if isinstance(value, float):
                    tf.summary.scalar(f"{problem}/{metric}", value)
            for number, sample in enumerate(found["samples"][problem], start=1):
                lines = "\n\n".join(f"{key}: {value}" for key, value in sample.items())
                tf.summary.text(f"{problem}/sample_{number}", lines)
    writer.flush()


def evaluate_baselines(experiment: Experiment, split: str = "dev", names: Sequence[str] = ()) -> dict:
    """Problem -> {metric: value} of the trivial answers that use no input, or copy it."""
    results = {}
    for problem in [experiment.problem(name) for name in names] or experiment.problems:
        report = Report(problem.name)
        examples = load_examples(problem, split, report)
        predictions, description = baseline(problem, load_examples(problem, "train", report), examples)
        results[problem.name] = {"baseline": description} | score(problem, predictions, examples)
    return results


def score(problem: Problem, predictions: Sequence, examples: Sequence[Example] | Examples) -> dict:
    """All metrics of a problem over decoded answers; without any, none."""
    return answers_files.score(problem.metrics, predictions, examples)


class TeacherForced:
    """Figures that need no decoding: the model sees the right previous tokens."""

    def __init__(self, network: MultiModel):
        self._network = network
        self._functions: dict = {}

    def __call__(self, problem: Problem, data: Iterable[dict]) -> dict:
        """The figures over the whole set, see `Measured.figures`."""
        return self.measure(problem, data).figures()

    def measure(self, problem: Problem, data: Iterable[dict]) -> Measured:
        """Every example of the set, in the order of its index."""
        command = tf.constant(self._network.command_id(problem.command))
        experts: dict[str, np.ndarray] = {}
        rows = [np.zeros([0, 5])]
        for batch in data:
            counted, importance = self._function(problem)(batch, command)
            index = batch["index"].numpy()
            rows.append(np.column_stack([index, *(part.numpy() for part in counted)])[index >= 0])
            for name, vector in importance.items():
                experts[name] = experts.get(name, np.zeros(())) + vector.numpy().astype(float)
        table = np.concatenate(rows).astype(float)
        index, nats, right, right5, tokens = table[np.argsort(table[:, 0])].T
        return Measured(index.astype(int), nats, right, right5, tokens, experts)

    def _function(self, problem):
        kind = problem.kind
        if kind not in self._functions:
            function = lambda batch, command: self._counted(problem, batch, command)  # noqa: E731
            self._functions[kind] = tf.function(function, reduce_retracing=True, autograph=False)
        return self._functions[kind]

    def _counted(self, problem, batch, command):
        """Of each example [B] nats, right tokens, those among the five likeliest, tokens; of each mixture its gates [E]."""
        logits, balance = forward(self._network, problem, batch, command, training=False)
        targets = batch["targets"]
        _, plain = cross_entropy(logits, targets, 0.0)
        weights = token_weights(problem, batch)
        right = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) == targets, tf.float32)
        of_target = tf.gather(logits, targets[..., None], batch_dims=targets.shape.rank)
        likelier = tf.reduce_sum(tf.cast(logits > of_target, tf.int32), axis=-1)
        sums = [
            tf.reduce_sum(tf.reshape(x * weights, [tf.shape(weights)[0], -1]), axis=1)
            for x in (plain, right, tf.cast(likelier < 5, tf.float32), tf.ones_like(plain))
        ]
        return sums, {name: part["importance"] for name, part in balance.items()}


def _check_classes(problem: Problem, description: dict) -> None:
    if problem.targets == "class" and problem.class_names() != description["class_names"].get(problem.name):
        raise RunError(f"{problem.name}: the corpus's classes are not those the model was trained on.")


def sample_of(answer: Answer, example: Example, class_names: list[str] | None) -> dict:
    """An example and its answer, as text."""
    if class_names is None:
        return {"input": example.input_line, "target": example.targets, "output": answer}
    best = int(np.argmax(answer))
    return {"input": example.input_line, "target": class_names[example.target_class], "output": class_names[best]}
