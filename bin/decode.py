"""Prints the answers of a trained model to sentences, images or recordings.

    python bin/decode.py --model_dir=runs/joint_mini --problem=wmt_en_de --input="The cat sleeps."
    python bin/decode.py --model_dir=runs/joint_mini --problem=coco --input=photo.jpg --beam_size=4
    python bin/decode.py --model_dir=runs/joint_mini --problem=coco --input=photo.jpg --temperature=0.8 --top_p=0.9
    cat sentences.txt | python bin/decode.py --model_dir=runs/joint_mini --problem=wsj_parsing --input=- --constrain_trees
    python bin/decode.py --model_dir=runs/joint_mini --problem=wmt_en_de --input="The cat sleeps." --beam_size=4 --n_best=3
    python bin/decode.py --model_dir=runs/joint_mini --problem=coco --input=photo.jpg --output=a.jsonl --attention=a.html
    python bin/decode.py --model_dir=runs/questions --problem=questions --input=scene.jpg --input="what colour is the cup ?"

If a problem has several inputs, give --input once for each, in the order of the problem; a line separates them by tabs.

The answers are printed in the order of the inputs. A text is one line. For a classification problem, up to five lines are
printed, each with a class, a tab and its probability. A tree is one line with brackets, followed by its indented form; if the
input is not text, the tree has tags instead of words. The answer to a blank line or to an input that cannot be read is
an empty line. The exit code is 1 if any input could not be read. With --n_best=N, there are N lines for each input, each with
a score (log-probability divided by the length penalty, in nats), a tab and an answer. To match answers with inputs, use
--output.

--output writes one line with a JSON object for each input. Its keys are "problem", "origin", "input" and "answers", a list
with the best answer first (empty for a blank line). Each answer has the keys "answer", "score", "log_prob" and "tokens", a
list of objects with "piece" and "log_prob" (in nats); an answer that is a class only has "answer" and "log_prob". If an input
could not be read, "skipped" is the reason.
"""

import dataclasses
import json
import os
import sys
import textwrap
from collections.abc import Sequence

from absl import flags

from t2t_mm.common import checkpoint_flags, command, command_inputs, config, environment, search_flags
from t2t_mm.common.errors import RunError
from t2t_mm.common.files import write_whole
from t2t_mm.corpora import example

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_PROBLEM = flags.DEFINE_string("problem", None, f"Problem to decode for; {command.PROBLEM_HELP}.", required=True)
_INPUT = flags.DEFINE_multi_string(
    "input", [], 'Sentence, or path of an image or recording, or "-" for one per line from standard input; may be repeated.'
)
_INPUT_FILE = flags.DEFINE_multi_string("input_file", [], "File with one sentence or path per line; may be repeated.")
_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", [], "Configuration file; may be repeated. Default: the config.gin of the run."
)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the configuration; may be repeated.")
checkpoint_flags.define()
search_flags.define()
_TEMPERATURE = flags.DEFINE_float(
    "temperature", None, "Temperature at which to sample the answers. Default: no sampling but a search.",
    lower_bound=1e-3, upper_bound=1e3,
)  # fmt: skip
_TOP_K = flags.DEFINE_integer("top_k", 0, "Number of most likely tokens to sample from; 0: all tokens.", lower_bound=0)
_TOP_P = flags.DEFINE_float("top_p", 1.0, "Sum of the probabilities of the most likely tokens to sample from.")
_N_BEST = flags.DEFINE_integer("n_best", 1, "Number of answers to each input; at most --beam_size.", lower_bound=1)
_CONSTRAIN_TREES = flags.DEFINE_bool(
    "constrain_trees", False, "Whether to constrain every parse to a tree with matching brackets and one leaf for each word."
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON lines file for the answers, scores and log-probabilities of the tokens.")
_ATTENTION = flags.DEFINE_string("attention", None, "HTML file that shows what each token of the answers attended to.")
_SEED = flags.DEFINE_integer("seed", 0, "Random seed for sampling.", lower_bound=0, upper_bound=2**31 - 1)


_SHOWN = 300  # characters of an input in a message


def read_inputs(modality: str | Sequence[str]) -> list[example.Example]:
    """Returns all inputs in order, each with its origin. Blank lines are kept, so that each line has an answer.

    Args:
      modality: the modality of the problem, or those of its inputs.

    Raises:
      CorpusError: a file cannot be read, there is no input, or an example has too many or too few inputs.
      RunError: none of the images or recordings exists.
    """
    several = not isinstance(modality, str)
    given = list(command_inputs.given(_INPUT.value, _INPUT_FILE.value, modality if several else [modality]))
    if not given:
        raise example.CorpusError("The input is empty.")
    inputs = [example.Example(one.values if several and one.values else "".join(one.values), "", one.origin) for one in given]
    check_media(inputs, modality if several else [modality])
    if modality == "language":
        for text in _INPUT.value:
            command_inputs.warn_of_path(text)
    return inputs


def sampling() -> dict | None:
    """Returns the settings for sampling, or None if no flag requests sampling.

    Raises:
      RunError: a setting is out of range, or both sampling and beam search are requested.
    """
    if _TEMPERATURE.value is None and _TOP_K.value == 0 and _TOP_P.value == 1:
        return None
    temperature = 1.0 if _TEMPERATURE.value is None else _TEMPERATURE.value
    if not 0 < _TOP_P.value <= 1:
        raise RunError(f"--top_p={_TOP_P.value} must be above 0 and at most 1.")
    if flags.FLAGS.beam_size > 1:
        raise RunError("Either sample (--temperature, --top_k, --top_p) or search with --beam_size, not both.")
    return {"temperature": temperature, "top_k": _TOP_K.value, "top_p": _TOP_P.value, "seed": _SEED.value}


def check_asked() -> None:
    """Checks the flags for the output.

    Raises:
      RunError: --n_best is larger than --beam_size, or an output file is a folder or in none.
    """
    if _N_BEST.value > flags.FLAGS.beam_size:
        raise RunError(
            f"--n_best={_N_BEST.value} needs at least as many hypotheses; give --beam_size={_N_BEST.value} or more, not "
            f"{flags.FLAGS.beam_size}."
        )
    for name, path in (("output", _OUTPUT.value), ("attention", _ATTENTION.value)):
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise RunError(f"--{name}={path}: there is no folder {os.path.dirname(path)}.")
        if path and os.path.isdir(path):
            raise RunError(f"--{name}={path} is a folder; give the name of a file.")


def check_problem(problem) -> None:
    """Checks the flags that only suit some problems.

    Raises:
      RunError: a flag does not suit the problem.
    """
    from t2t_mm.inference.predictor import is_parsing

    if problem.targets == "class" and (_N_BEST.value > 1 or _ATTENTION.value):
        flag = "n_best" if _N_BEST.value > 1 else "attention"
        raise RunError(f"--{flag} supports only texts and trees; {problem.name} answers with its five most likely classes.")
    if _CONSTRAIN_TREES.value and not is_parsing(problem):
        raise RunError(f"--constrain_trees is for parses of sentences; {problem.name} has none.")


def check_media(inputs: list[example.Example], modalities: Sequence[str]) -> None:
    """Checks that at least one of the input files exists, if the inputs of the problem are files.

    Raises:
      RunError: none of the files exists.
    """
    for place, name in enumerate(modalities):
        if name in ("image", "audio"):
            paths = [one.input_parts[place] for one in inputs if one.inputs]
            missing = [path for path in paths if not os.path.isfile(path)]
            if missing and len(missing) == len(paths):
                wrong = "is a folder" if all(map(os.path.isdir, missing)) else "no such file"
                raise RunError(f"{', '.join(missing)}: {wrong}. The {name} of {_PROBLEM.value} is the path of a file.")


def main(_):
    model_dir = _MODEL_DIR.value
    drawn = sampling()
    check_asked()
    trained = command.check_model_dir(model_dir)
    other = bool(_GIN_FILE.value or _GIN_PARAM.value)
    command.check_problems([_PROBLEM.value], trained, other)
    modality = trained["problems"].get(_PROBLEM.value)  # None for a problem of another configuration, which is read later
    inputs = [] if modality is None else read_inputs(modality)
    checkpoint_flags.check()
    gin_files = _GIN_FILE.value or [os.path.join(model_dir, "config.gin")]
    config.check_files(gin_files)
    environment.prepare()
    command.load_tensorflow()
    config.parse(gin_files, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.inference import answers_shown, attention_page
    from t2t_mm.inference.predictor import Predictor, hypotheses, predict
    from t2t_mm.input.tokenizer import Tokenizer
    from t2t_mm.run.folder import load_trained, use_folder

    run = checkpoint_flags.chosen(use_folder(config.configured(experiment.Experiment)(), model_dir), model_dir)
    problem = run.problem(_PROBLEM.value)
    check_problem(problem)
    inputs = inputs or read_inputs(problem.modality)
    classes = problem.targets == "class"
    if classes:
        inputs = [dataclasses.replace(one, targets=0) for one in inputs]  # the targets are not used
    network, description, _ = load_trained(run, model_dir, [problem])
    class_names = description["class_names"].get(problem.name)
    tokenizer = Tokenizer(run.vocabulary)
    search = dataclasses.asdict(search_flags.chosen(run))
    predictor = Predictor(
        network, tokenizer, **search, sampling=drawn, constrain_trees=_CONSTRAIN_TREES.value, n_best=_N_BEST.value
    )
    report = example.Report(problem.name, max_bad=len(inputs), logged=False)
    asked = [one for one in inputs if one.inputs]
    given = predictor, problem, asked, tokenizer, run.audio, run.batches, report
    cores = os.cpu_count() or 1
    found: list = []
    if asked and classes:
        found = predict(*given, at_once=cores)
    elif asked:
        asked_for = {"log_probs": _OUTPUT.value is not None, "looks": _ATTENTION.value is not None}
        found = hypotheses(*given, **asked_for, at_once=cores)
    left = iter(found)
    answers = [next(left) if one.inputs else () for one in inputs]  # () for a blank line, None for an unreadable input
    lines, looked = [], []
    for one, answer in zip(inputs, answers):
        line = {"problem": problem.name, "origin": one.origin, "input": one.inputs}
        text = one.input_line
        if not isinstance(one.inputs, str):  # the leaves of a tree are the words of the language input
            text = " ".join(part for part, name in zip(one.inputs, problem.modality) if name == "language")
        if answer is None:
            line["skipped"] = report.skipped.get(one.origin) or report.left_out.get(one.origin)
            reason = (line["skipped"] or "").removeprefix(f"{one.input_line}: ")
            shown = textwrap.shorten(one.input_line, _SHOWN, placeholder=" …")
            print(f"{command.name()}: {one.origin}: {shown}: {reason}", file=sys.stderr)
        elif reason := predictor.unconstrained(problem, text):
            print(f"{command.name()}: {one.origin}: {reason}", file=sys.stderr)
        if answer is None or not len(answer):
            print("\n" * (_N_BEST.value - 1))
            if answer is not None:
                line["answers"] = []
        elif classes:
            print(answers_shown.classes_shown(answer, class_names))
            line["answers"] = answers_shown.class_objects(answer, class_names)
        else:
            if _N_BEST.value > 1:
                print(answers_shown.several_shown(problem, text, answer, _N_BEST.value))
            else:
                print(answers_shown.one_shown(problem, text, answer[0].answer))
            looked.append((text, answer[0]))
            if _OUTPUT.value:
                line["answers"] = answers_shown.objects(problem, text, answer)
        lines.append(line)
    if _OUTPUT.value:
        write_whole(_OUTPUT.value, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    if _ATTENTION.value and looked:
        write_whole(_ATTENTION.value, attention_page.page(problem, looked, run.audio))
    if any(answer is None for answer in answers):
        raise SystemExit(1)


if __name__ == "__main__":
    command.run(main)
