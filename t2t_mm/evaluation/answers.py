"""Files of answers: every decoded answer of a set with its input and reference, as one JSON object per line.

    {"problem": "wmt_en_de", "split": "test", "origin": "test.en:1", "input": "The cat sleeps.",
     "reference": "Die Katze schläft.", "answer": "Die Katze läuft.", "score": {"bleu": 35.4}, "log_perplexity": 0.41}

Trees are linearised ("(S (NP NN )NP )S"). If there are several inputs, "input" is a list. If the target is a class, "answer"
and "reference" are names, and "ranked" contains the most likely names in order. If sentences were also parsed with the
constraint that parses are trees, "constrained_answer" contains this parse. "references" contains all accepted answers if
there are several. If an example could not be read, "skipped" contains the reason, and there is no answer. Scoring only needs
"reference" and "answer" (and "input" for trees), so the answers of another system can be scored in the same way.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from t2t_mm.common.errors import RunError
from t2t_mm.common.files import write_whole
from t2t_mm.corpora.example import Example
from t2t_mm.corpora.source import Examples
from t2t_mm.metrics.captioning import captions, captions_of_each
from t2t_mm.metrics.classification import top_k
from t2t_mm.metrics.parsing import bracket_f1
from t2t_mm.metrics.recognition import wer
from t2t_mm.metrics.translation import bleu, bleu_of_each
from t2t_mm.problem import Problem

RANKED = 5  # number of classes in a line


def exact_match(predictions: Sequence, examples: Sequence[Example] | Examples) -> dict:
    """Returns the percentage of answers that exactly match the target or a reference, nothing if there are no examples.

    For scores of classes, the answer is the most likely class.
    """
    if not len(examples):
        return {}
    answers = [prediction if isinstance(prediction, str) else int(np.argmax(prediction)) for prediction in predictions]
    right = [answer in (one.targets, *one.references) for answer, one in zip(answers, examples, strict=True)]
    return {"exact_match": 100 * float(np.mean(right))}


METRICS: dict[str, Callable] = {
    "bleu": bleu, "wer": wer, "captions": captions, "brackets": bracket_f1, "classes": top_k, "exact_match": exact_match,
}  # fmt: skip
# Metrics whose value for a set of one is not that of the example: CIDEr-D weights n-grams by statistics of the whole set, and
# BLEU is 0 if an answer has fewer than four tokens.
_OF_EACH: dict[Callable, Callable] = {captions: captions_of_each, bleu: bleu_of_each}


def score(metrics: Sequence[Callable], predictions: Sequence, examples: Sequence[Example] | Examples) -> dict:
    """Returns all metrics of decoded answers, or exact matches if `metrics` is empty; nothing if there are no examples."""
    if not len(examples):
        return {}
    return {key: value for metric in metrics or [exact_match] for key, value in metric(predictions, examples).items()}


def score_each(metrics: Sequence[Callable], predictions: Sequence, examples: Sequence[Example] | Examples) -> list[dict]:
    """Returns {metric: number} of each single example. The mean over a set is not the metric of the set.

    A metric that cannot score an example by itself, such as a correlation, is left out with a warning.
    """
    found: list[dict] = [{} for _ in examples]
    for metric in metrics or [exact_match]:
        if metric in _OF_EACH:
            single = _OF_EACH[metric](predictions, examples)
        else:
            try:
                single = [metric([p], [e]) for p, e in zip(predictions, examples)]
            except Exception as error:  # of a function of the user, which need not expect a set of one
                logging.warning("%s does not score single examples: %s", getattr(metric, "__name__", metric), error)
                continue
        for figures, one in zip(found, single):
            figures |= {key: value for key, value in one.items() if isinstance(value, int | float)}
    return found


def lines(
    problem: Problem,
    split: str,
    answers: Sequence,
    examples: Sequence[Example] | Examples,
    class_names: Sequence[str] | None,
    skipped: Mapping[str, str],
    log_perplexity: Mapping[int, float],
) -> list[dict]:
    """Returns the objects of a file.

    Args:
      answers: the result of `Predictor.answers` for each example, None if it could not be read.
      class_names: the names of the classes, if the target is a class.
      skipped: origin -> reason why an example has no answer.
      log_perplexity: place of an example -> nats per token.
    """
    pairs = [(answer, example) for answer, example in zip(answers, examples) if answer is not None]
    # Only examples with an answer have a score, so the scores are taken one after the other.
    scores = iter(score_each(problem.metrics, [answer for answer, _ in pairs], [example for _, example in pairs]))
    found = []
    for place, (answer, example) in enumerate(zip(answers, examples)):
        line: dict[str, Any] = {
            "problem": problem.name, "split": split, "origin": example.origin,
            "input": example.inputs if isinstance(example.inputs, str) else list(example.inputs),
            "reference": class_names[int(example.targets)] if class_names else example.targets,
        }  # fmt: skip
        if example.references:
            line["references"] = list(example.references)
        if answer is None:
            line["skipped"] = skipped.get(example.origin, "it has no answer")
        elif class_names:
            # Stable, so that the first name is the class that `top_k` ranks first.
            order = np.argsort(-np.asarray(answer), kind="stable")[:RANKED]
            line |= {"answer": class_names[order[0]], "ranked": [class_names[index] for index in order]}
        else:
            line["answer"] = answer
        if answer is not None:
            line["score"] = {name: round(float(value), 4) for name, value in next(scores).items()}
        if place in log_perplexity:
            line["log_perplexity"] = round(log_perplexity[place], 4)
        found.append(line)
    return found


def write(path: str, found: Sequence[dict]) -> None:
    """Writes the objects to a file atomically, one per line."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    # Letters beyond ASCII stay readable.
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in found))


@dataclasses.dataclass(frozen=True)
class Read:
    """The result of `read`.

    Attributes:
      predictions, examples: the arguments of metrics.
      problem: the name of the problem in the lines, or "" if it is missing or differs between lines.
      skipped: number of lines without an answer, because their example could not be read.
    """

    predictions: list
    examples: list[Example]
    problem: str
    skipped: int


def read(path: str, classes: bool | None = None) -> Read:
    """Reads a file of answers of this package or of another system. A missing answer (null) counts as an empty one.

    Args:
      classes: whether references are names of classes. Default: whether the lines have "ranked".

    Raises:
      RunError: the file is missing, does not contain JSON lines or lacks a field. The message names the line.
    """
    found = []
    try:
        # With or without a byte order mark, because the file may come from another program.
        with open(path, encoding="utf-8-sig") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    found.append((number, _parsed(f"{path}:{number}", text)))
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}).") from error
    used = [(number, line) for number, line in found if "skipped" not in line]
    if not used:
        raise RunError(f"{path}: contains no answers.")
    if classes is None:
        classes = any("ranked" in line for _, line in used)
    # The classes are those that occur in the file, because another system's file has no list of all classes.
    names = sorted({name for _, line in used for name in [line["reference"], *_ranked(line)]}) if classes else []
    predictions: list = []
    examples = []
    for number, line in used:
        target = line["reference"]
        if classes:
            predictions.append(_scores(names, line))
            target = names.index(target)
        else:
            predictions.append(line["answer"] or "")
        references = tuple(line.get("references") or ())
        given = line.get("input") or ""
        inputs = given if isinstance(given, str) else tuple(given)
        examples.append(Example(inputs, target, f"{path}:{number}", references))
    problems = {line.get("problem", "") for _, line in used}
    return Read(predictions, examples, problems.pop() if len(problems) == 1 else "", len(found) - len(used))


def _parsed(where: str, text: str) -> dict:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise RunError(f"{where}: not JSON ({error.msg}). A file of answers has one object per line.") from error
    if not isinstance(line, dict):
        raise RunError(f"{where}: not an object but {type(line).__name__}.")
    # There is no answer to be checked.
    if "skipped" in line:
        return line
    for name, kinds in (("reference", (str,)), ("answer", (str, type(None)))):
        if name not in line:
            raise RunError(f'{where}: lacks "{name}"; it has {", ".join(line) or "nothing"}.')
        if not isinstance(line[name], kinds):
            raise RunError(f'{where}: "{name}" is {line[name]!r}; it must be a text.')
    for name, one in (("references", False), ("ranked", False), ("input", True)):
        given = line.get(name)
        texts = given if isinstance(given, list) else [given] if one else [None]
        # A text instead of a list would be taken for a list of letters.
        if given is not None and not all(isinstance(text, str) for text in texts):
            raise RunError(f'{where}: "{name}" is {given!r}; it must be {"a text or " * one}a list of texts.')
    return line


def _ranked(line: dict) -> list[str]:
    """Returns the names of classes, the most likely first."""
    return line.get("ranked") or ([line["answer"]] if line["answer"] else [])


def _scores(names: Sequence[str], line: dict) -> np.ndarray:
    """Returns scores [classes + RANKED] with the ranking of a line. If it does not name the right class, that comes last."""
    # A system gains nothing by naming fewer classes than it could, nor by a file in which few classes occur: others, which
    # nobody names, are always before the right one.
    scores = np.full(len(names) + RANKED, -1.0)
    scores[names.index(line["reference"])] = -2.0
    for place, name in enumerate(_ranked(line)):
        scores[names.index(name)] = float(len(names) - place)
    return scores
