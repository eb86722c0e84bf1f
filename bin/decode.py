"""Gives a trained model a sentence, a picture or a recording, and prints its answer.

    python bin/decode.py --model_dir=runs/joint_mini --problem=wmt_en_de --input="The cat sleeps."
    python bin/decode.py --model_dir=runs/joint_mini --problem=coco --input=photo.jpg --beam_size=4
    python bin/decode.py --model_dir=runs/joint_mini --problem=coco --input=photo.jpg --temperature=0.8 --top_p=0.9
    cat sentences.txt | python bin/decode.py --model_dir=runs/joint_mini --problem=wsj_parsing --input=-
    python bin/decode.py --model_dir=runs/questions --problem=questions --input=scene.jpg --input="what colour is the cup ?"

Of a problem with several inputs --input is given once for each, in its order; a line has them between tabs.

There are as many answers as inputs, in their order: that of a blank line, and of an input that cannot be read, is an
empty line. Exits with 1 if any could not be read.
"""

import dataclasses
import math
import os
import re
import sys

from absl import flags

from t2t_mm.corpora import example, plain_text
from t2t_mm.corpora.treebank import delinearise, to_brackets, to_indented
from t2t_mm.run import checkpoint_flags, command, config
from t2t_mm.run.errors import RunError

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_PROBLEM = flags.DEFINE_string(
    "problem", None, f"Which problem's answer is wanted; {command.PROBLEM_HELP}.", required=True
)
_INPUT = flags.DEFINE_multi_string(
    "input", [], 'A sentence, or the path of a picture or sound; "-" reads one a line from standard input.'
)
_INPUT_FILE = flags.DEFINE_multi_string("input_file", [], "A file of sentences or of paths, one a line.")
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration. Default: the config.gin of the run.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings, which override it.")
checkpoint_flags.define()
_BEAM_SIZE = flags.DEFINE_integer("beam_size", 1, "Hypotheses kept; 1 is greedy.", lower_bound=1)
_ALPHA = flags.DEFINE_float("alpha", 0.6, "Strength of the length penalty.")
_MAX_LENGTH = flags.DEFINE_integer("max_length", 128, "Most tokens of an answer.", lower_bound=1)
_TEMPERATURE = flags.DEFINE_float("temperature", None, "Draw the answer at this temperature, instead of searching.")
_TOP_K = flags.DEFINE_integer("top_k", 0, "Draw among the k likeliest tokens; 0 among all.", lower_bound=0)
_TOP_P = flags.DEFINE_float("top_p", 1.0, "Draw among the fewest tokens whose probabilities sum to p.")
_SEED = flags.DEFINE_integer("seed", 0, "Another seed draws another answer.")


def read_inputs() -> list[example.Example]:
    """The inputs of all flags in order, each with its origin.

    Raises:
      CorpusError: a file cannot be read, or there is no input.
    """
    found = []
    for number, value in enumerate(_INPUT.value, start=1):
        if value == "-":
            found += _lines(sys.stdin.buffer.read(), "standard input")
        else:
            found.append(example.Example(value, "", f"--input number {number}"))
    for path in _INPUT_FILE.value:
        try:
            with open(path, "rb") as file:
                found += _lines(file.read(), path)
        except OSError as error:
            raise example.CorpusError(f"{path}: {error.strerror}") from error
    if not found:
        raise example.CorpusError("No input; give --input=..., --input=- or --input_file=...")
    return found


def _lines(data: bytes, origin: str) -> list[example.Example]:
    """One input a line, also of a blank one: its answer is blank, so that line n of the answers is that of line n."""
    try:
        lines = plain_text.decode(data).split("\n")
    except plain_text.TextError as error:
        raise example.CorpusError(f"{origin}: {error}") from error
    if not lines[-1]:
        lines.pop()  # after the last line feed
    return [example.Example(line.strip(), "", f"{origin}:{n}") for n, line in enumerate(lines, start=1)]


def sampling() -> dict | None:
    """The settings of sampling where any is asked for, else None.

    Raises:
      RunError: they cannot be meant.
    """
    if _TEMPERATURE.value is None and _TOP_K.value == 0 and _TOP_P.value == 1:
        return None
    temperature = 1.0 if _TEMPERATURE.value is None else _TEMPERATURE.value
    if temperature <= 0 or not 0 < _TOP_P.value <= 1:
        raise RunError(
            f"--temperature={temperature} must be above 0, --top_p={_TOP_P.value} above 0 and at most 1."
        )
    if _BEAM_SIZE.value > 1:
        raise RunError("Either draw (--temperature, --top_k, --top_p) or search with --beam_size, not both.")
    return {"temperature": temperature, "top_k": _TOP_K.value, "top_p": _TOP_P.value, "seed": _SEED.value}


def grouped(found: list[example.Example], modality: str | list[str]) -> list[example.Example]:
    """The examples of a problem that takes as many inputs as modalities, of inputs as `read_inputs` gives them.

    Raises:
      RunError: there are too many or too few.
    """
    if isinstance(modality, str):
        return found
    examples: list[example.Example] = []
    begun: list[str] = []  # the inputs of an example that --input has begun
    for one in found:
        by_flag = one.origin.startswith("--input")
        if not by_flag and not one.inputs:  # a blank line has a blank answer
            examples.append(one)
            continue
        begun += [one.input_line] if by_flag else [part.strip() for part in one.input_line.split("\t")]
        if len(begun) == len(modality) and all(begun):
            examples.append(dataclasses.replace(one, inputs=tuple(begun)))
            begun = []
        elif not by_flag or len(begun) >= len(modality):
            break
    if begun:
        raise RunError(
            f"{one.origin}: {len(list(filter(None, begun)))} input(s); {_PROBLEM.value} takes {len(modality)}: "
            f"{', '.join(modality)} (--input once for each in this order, or lines with tabs between them)."
        )
    return examples


def show(problem, text: str, answer, class_names) -> str:
    if problem.targets == "class":
        best = sorted(range(len(answer)), key=lambda index: -answer[index])[:5]
        return "\n".join(f"{class_names[index]}\t{100 * math.exp(answer[index]):.1f}%" for index in best)
    if problem.targets == "tree":
        tree, repaired = delinearise(answer.split(), text.split())
        note = "  (repaired)" if repaired else ""
        return f"{to_brackets(tree)}{note}\n{to_indented(tree)}"
    return " ".join(re.split(r"[\r\n]+", answer))  # bytes of a line's end can be drawn like all others


def check_media(inputs, description: dict) -> None:
    """RunError where the problem's inputs are files and none of them is there."""
    modality = description.get("problems", {}).get(_PROBLEM.value)
    for place, name in enumerate([modality] if isinstance(modality, str) else modality or []):
        if name in ("image", "audio"):
            paths = [one.input_parts[place] for one in inputs if one.inputs]
            missing = [path for path in paths if not os.path.isfile(path)]
            if missing and len(missing) == len(paths):
                raise RunError(f"{', '.join(missing)}: no such file. The {name} of {_PROBLEM.value} is the path of a file.")


def main(_):
    model_dir = _MODEL_DIR.value
    inputs, drawn = read_inputs(), sampling()
    trained = command.check_model_dir(model_dir)
    command.check_problems([_PROBLEM.value], trained)
    inputs = grouped(inputs, trained.get("problems", {}).get(_PROBLEM.value, ""))
    check_media(inputs, trained)
    checkpoint_flags.check()
    gin_files = _GIN_FILE.value or [os.path.join(model_dir, "config.gin")]
    config.check_files(gin_files)
    command.load_tensorflow()
    config.parse(gin_files, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.inference.predictor import Predictor, predict
    from t2t_mm.input.tokenizer import Tokenizer
    from t2t_mm.run.folder import load_trained, use_folder

    run = checkpoint_flags.chosen(use_folder(config.configured(experiment.Experiment)(), model_dir))
    problem = run.problem(_PROBLEM.value)
    if problem.targets == "class":
        inputs = [dataclasses.replace(one, targets=0) for one in inputs]  # not looked at
    network, description, _ = load_trained(run, model_dir)
    tokenizer = Tokenizer(run.vocabulary)
    predictor = Predictor(network, tokenizer, _BEAM_SIZE.value, _ALPHA.value, _MAX_LENGTH.value, drawn)
    report = example.Report(problem.name, max_bad=len(inputs))
    asked = [one for one in inputs if one.inputs]
    answers = predict(predictor, problem, asked, tokenizer, run.audio, run.batches, report) if asked else []
    answered = iter(answers)
    for one in inputs:
        answer = next(answered) if one.inputs else ""
        if answer is None:
            reason = report.skipped.get(one.origin) or report.left_out.get(one.origin)
            print(f"{command.name()}: {one.origin}: {one.input_line}: {reason}", file=sys.stderr)
        known = one.inputs and answer is not None
        text = one.input_line
        if not isinstance(one.inputs, str):  # the words of a tree are those of the text among them
            text = " ".join(part for part, name in zip(one.inputs, problem.modality) if name == "language")
        print(show(problem, text, answer, description["class_names"].get(problem.name)) if known else "")
    if any(answer is None for answer in answers):
        raise SystemExit(1)


if __name__ == "__main__":
    command.run(main)
