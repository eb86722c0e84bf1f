"""A dry run: what a run would read, what it would cost, and what is wrong with its data, before hours are spent on it."""

import resource
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.source import Examples
from t2t_mm.experiment import Experiment
from t2t_mm.input.pipeline import batches_of, make_batches, parts_of
from t2t_mm.input.tokenizer import Tokenizer, as_tokenized
from t2t_mm.problem import Problem
from t2t_mm.spelling import counted, whole_minutes

EXAMPLES = 200  # number of examples to read of each problem
STEPS = 4  # number of steps to time, besides those that trace
_MOST_STEPS = 100  # with static shapes, there may always be another one to trace


def describe_data(problem: Problem, examples: Examples, experiment: Experiment, tokenizer: Tokenizer) -> list[str]:
    """Reads the first examples of a training set as training would, and returns lines about them.

    The lines contain the lengths of inputs and targets, the examples that would be left out with the reasons, and the share
    of the bytes of the texts for which the vocabulary has no piece.
    """
    first = examples.first(EXAMPLES)
    # As many bad examples as there are may be found: a dry run counts them instead of stopping.
    report = Report(problem.name, max_bad=len(first))
    lengths: dict[str, list[int]] = {}
    batches = make_batches(problem, first, tokenizer, experiment.audio, experiment.batches, report, training=False)
    for batch in batches_of(batches, report):
        real = batch["index"].numpy() >= 0
        kinds = [(modality.name, one) for modality, one in zip(problem.modalities, parts_of(batch["input_padding"]))]
        for kind, padding in (*((f"{name} input", one) for name, one in kinds), ("target", batch["target_padding"])):
            if padding.shape[1]:  # images and classes have no length
                lengths.setdefault(kind, []).extend(np.sum(~padding.numpy(), axis=1)[real].tolist())
    left_out = report.skipped | report.left_out
    lines = [f"{problem.name}: {len(examples)} training examples; of the first {len(first)}, {len(left_out)} would be left out"]
    for kind, found in lengths.items():
        unit = "frames" if kind.startswith("audio") else "tokens"
        middle, longest = np.median(found), max(found)
        lines.append(f"  {kind}: median {middle:.0f} {unit}, longest {longest} {unit}")
    if examples.form == "files":
        unknown, total = unknown_bytes(problem, first, tokenizer)
        if total:
            lines.append(f"  {100 * unknown / total:.2f}% of the bytes of its texts are outside the vocabulary")
    lines += [f"  left out: {origin}: {reason}" for origin, reason in list(left_out.items())[:3]]
    return lines


def unknown_bytes(problem: Problem, examples: Iterable[Example], tokenizer: Tokenizer) -> tuple[int, int]:
    """Returns the number of bytes of texts for which the vocabulary only has byte pieces or none, and of all bytes."""
    processor = tokenizer.processor
    unknown = total = 0
    for example in examples:
        texts = [part for modality, part in zip(problem.modalities, example.input_parts) if modality.name == "language"]
        if problem.targets != "class":
            texts.append(as_tokenized(example, problem.targets, problem.words_in_trees).target_text)
        for text in texts:
            total += len(text.encode())
            for piece in processor.EncodeAsPieces(text):
                number = processor.PieceToId(piece)
                if processor.IsByte(number):
                    unknown += 1
                # One unknown piece stands for a whole run of characters, so its bytes are counted.
                elif processor.IsUnknown(number):
                    unknown += len(piece.encode())
    return unknown, total


def describe_cost(make_step: Callable[[int], Any], traces: Callable[[], int], steps: int, at_least: int = STEPS) -> list[str]:
    """Makes some steps and returns lines about the time and the memory of a run of `steps` steps.

    Args:
      make_step: makes step number n and returns when it is done. Nothing may be saved.
      traces: returns how often a function has been traced. A step that traces says nothing about the others.
      at_least: minimum number of steps to time, such as the number of problems if each step takes another one.
    """
    traced, timed = list[float](), list[float]()
    for number in range(1, _MOST_STEPS + 1):
        before, start = traces(), time.monotonic()
        make_step(number)
        # The first step also makes buffers and threads.
        (traced if number == 1 or traces() > before else timed).append(time.monotonic() - start)
        if len(timed) >= max(STEPS, at_least):
            break
    per_step = float(np.mean(timed or traced))
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB
    begun = f"{counted(len(traced), 'step')} took {sum(traced):.0f} s with tracing"
    return [
        f"{begun}, {len(timed)} others took {per_step:.2f} s each.",
        f"{steps} steps would take about {whole_minutes((sum(traced) + steps * per_step) / 60)} without evaluations, with at "
        f"most {gigabytes:.1f} GB of main memory so far (of the host; accelerators have their own).",
    ]
