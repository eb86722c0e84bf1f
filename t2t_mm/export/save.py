"""Writes a version of an export: its signatures and warm-up records, after checking every operation."""

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from t2t_mm.common.errors import RunError
from t2t_mm.common.writing import is_of_a_disk, reason_of
from t2t_mm.experiment import Experiment
from t2t_mm.export import names, operations, subexpressions, warmup
from t2t_mm.export.answers import Answers
from t2t_mm.export.sharing import Group, share
from t2t_mm.export.version_names import version_of
from t2t_mm.inference.search import Decoding
from t2t_mm.inference.source_weights import without_weights
from t2t_mm.inference.trees import TreeGrammar
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.modalities.known import KNOWN
from t2t_mm.model import MultiModel, path_below
from t2t_mm.problem import Problem
from t2t_mm.run.folder import load_trained
from t2t_mm.spelling import near

_ASIDE = ".writing-"
_DAY_SECONDS = 86400.0
_LEAST_FREE_BYTES = 2**24
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_CLASSIFY = "tensorflow/serving/classify"
DTYPES = ("float32", "bfloat16")


def export(
    experiment: Experiment,
    model_dir: str,
    export_dir: str,
    only: Sequence[str] = (),
    decoding: Decoding | None = None,
    dtype: str = "float32",
    run_warmup: bool = True,
    say: Callable[[str], None] = lambda line: None,
    n_best: int = 0,
    attention: bool = False,
    constrain_trees: bool = False,
) -> str:
    """Writes the weights that `experiment.weights` selects as the next version below `export_dir`, and returns its folder.

    Args:
      only: the problems to serve. Default: all problems of the run. Only the nets and embeddings in use are kept.
      decoding: settings for decoding answers. Default: greedy search for answers of up to `experiment.longest_answer` tokens.
      dtype: data type of the stored weights, "float32" or "bfloat16".
      run_warmup: whether to load the version and answer its warm-up records before it gets its number.
      say: a function that is called with a line about each stage.
      n_best: the number of answers that the additional signature `n_best` returns for each input (`Answers.n_best`); 0 adds
        no signature.
      attention: whether to add the signature `attention`, which also returns the attention weights (`Answers.attention`).
      constrain_trees: whether every parse must be a tree with one leaf for each word (`TreeConstraint`).

    Raises:
      RunError: a problem is unknown or not supported by exports; `n_best`, `attention` or `constrain_trees` is set and no
        problem has such answers; trees cannot be constrained (see `_grammar`); the model does not attend to its source; there
        is no checkpoint; the folder cannot be written to; or TensorFlow Serving does not have one of the operations.
    """
    if dtype not in DTYPES:
        raise RunError(f"dtype is {dtype!r}{near(dtype, DTYPES)}; it must be one of {', '.join(DTYPES)}.")
    prepare(export_dir)
    problems = [experiment.problem(name) for name in dict.fromkeys(only)] or list(experiment.problems)
    for problem in problems:
        if problem.targets == "tree" and problem.modality != "language":
            raise RunError(f"{problem.name}: exports write trees over the words of a text, its only input. Leave it out.")
        for modality in problem.modalities:
            if modality.name not in KNOWN:
                raise RunError(f"{problem.name}: exports read {', '.join(KNOWN)}, not {modality.name}. Leave it out.")
    _check_names(problems)
    if n_best < 0:
        raise RunError(f"n_best is {n_best}; it must be at least 1, or 0 for no signature of several answers.")
    written = any(len(one.modalities) == 1 and one.targets != "class" for one in problems)
    for name, value in (("n_best", n_best), ("attention", attention)):
        if value and not written:
            raise RunError(
                f"{name} is {value}, and none of the problems answers a single input with a text or a tree: "
                f"{', '.join(one.name for one in problems)}. Leave {name} out, or export such a problem too."
            )
    decoding = decoding or Decoding(max_length=experiment.longest_answer)
    grammar = _grammar(problems, experiment.vocabulary, decoding) if constrain_trees else None
    # Only here, after all checks that need no weights, because loading takes time.
    network, description, _ = load_trained(experiment, model_dir, problems)
    if attention and (why := without_weights(network)):
        raise RunError(f"{why}. Leave attention out.")
    network = reduced(network, experiment, description, problems)
    answers = Answers(
        network, Tokenizer(experiment.vocabulary), problems, description["class_names"], experiment.audio,
        experiment.batches, decoding, dtype, grammar,
    )  # fmt: skip
    signatures = make_signatures(answers, problems, n_best, attention)
    with _writing(export_dir) as aside:
        say(f"1/3 Tracing and saving {len(signatures)} signatures: {', '.join(signatures)}")
        _save(answers, signatures, answers.groups(), aside)
        say("2/3 Writing the warm-up records")
        records = warmup.requests(list(signatures), problems, experiment.audio, experiment.batches.max_frames)
        warmup.write(aside, records)
        if run_warmup:
            say("3/3 Answering the warm-up records")
            warmup.answer_all(aside)
        # mkdtemp makes a private folder, but a server may run as another user.
        os.chmod(aside, 0o755)
        folder = os.path.join(export_dir, str(_next_version(export_dir)))
        # A server polls the folder and loads whatever has a number as its name, so a complete version gets its number last.
        os.rename(aside, folder)
    return folder


def _grammar(problems: Sequence[Problem], vocabulary: str, decoding: Decoding) -> TreeGrammar:
    """Returns the grammar of the trees with which some of `problems` answer.

    Raises:
      RunError: there is no such problem; only some of them have words in their trees; the vocabulary cannot express trees; or
        an answer has no room for any tree.
    """
    parsing = [problem for problem in problems if problem.targets == "tree"]
    if not parsing:
        raise RunError(
            f"constrain_trees is set, and none of the problems answers with trees: {', '.join(one.name for one in problems)}. "
            "Leave constrain_trees out, or export such a problem too."
        )
    with_words, others = ([one.name for one in parsing if one.words_in_trees == words] for words in (True, False))
    if with_words and others:
        raise RunError(
            f"constrain_trees is set, but the trees of {', '.join(with_words)} contain the words (words_in_trees), and those "
            f"of {', '.join(others)} do not. Export them separately, or leave constrain_trees out."
        )
    grammar = TreeGrammar(Tokenizer(vocabulary), decoding.max_length)
    if grammar.most_words < (least := 2 if with_words else 1):  # the word may have to be written, too
        raise RunError(
            f"constrain_trees is set, but an answer of at most {decoding.max_length} tokens has no room for any tree. Increase "
            f"max_length by at least {least - grammar.most_words}."
        )
    return grammar


def prepare(export_dir: str) -> None:
    """Creates the folder, checks that it can be written to, and removes the remains of exports that were killed.

    Raises:
      RunError: it cannot be created or written to, or the disk is full.
    """
    if os.path.isfile(export_dir):
        raise RunError(f"{export_dir} is a file; give a folder.")
    try:
        os.makedirs(export_dir, exist_ok=True)
        for name in os.listdir(export_dir):
            path = os.path.join(export_dir, name)
            if name.startswith(_ASIDE) and not _is_written(path):
                shutil.rmtree(path, ignore_errors=True)
        free = shutil.disk_usage(export_dir).free
        # A write is tried, because permissions alone do not tell: a disk may be mounted read-only.
        with tempfile.TemporaryFile(dir=export_dir) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise RunError(f"{export_dir} cannot be written to: {error.strerror}.") from error
    if free < _LEAST_FREE_BYTES:
        raise RunError(f"{export_dir}: only {free / 1e6:.0f} MB are free on its disk, but an export takes tens of MB or more.")


@contextlib.contextmanager
def _writing(export_dir: str) -> Iterator[str]:
    """Yields a temporary folder, which is removed at the end unless it has been renamed.

    Raises:
      RunError: a file cannot be written, for instance because the disk is full.
    """
    aside = None
    try:
        # The name contains the process id, so that the next export can check whether the process is still running.
        aside = tempfile.mkdtemp(prefix=f"{_ASIDE}{os.getpid()}@{socket.gethostname()}-", dir=export_dir)
        yield aside
    except (OSError, tf.errors.OpError) as error:
        if not is_of_a_disk(error):
            raise
        raise RunError(f"{export_dir}: the export cannot be written: {reason_of(error)}.") from error
    finally:
        if aside:
            shutil.rmtree(aside, ignore_errors=True)


def _is_written(path: str) -> bool:
    """Returns whether the process of a temporary folder is still running. On another machine, this is assumed for a day."""
    process, _, host = os.path.basename(path).removeprefix(_ASIDE).partition("@")
    if not process.isdecimal() or not host:
        return False
    # The folder may be on a shared disk, and a process of another machine cannot be asked.
    if host.rpartition("-")[0] != socket.gethostname():
        return time.time() - os.stat(path).st_mtime < _DAY_SECONDS
    try:
        # Signal 0 only asks whether the process exists.
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True


def load_seconds(folder: str) -> float:
    """Returns the seconds that a version takes to load into a session, as in TensorFlow Serving, before any warm-up.

    Raises:
      OSError: there is no SavedModel in `folder`.
    """
    start = time.monotonic()
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], folder)
        return time.monotonic() - start


def make_signatures(answers: Answers, problems: Sequence[Problem], n_best: int = 0, attention: bool = False) -> dict:
    """Returns a dict of signature name -> function. The names are part of the API.

    Args:
      n_best, attention: see `export`.
    """
    alone = [problem for problem in problems if len(problem.modalities) == 1]
    signatures = {"serving_default": answers.any_problem()} if alone else {}
    signatures |= {problem.name: answers.joint(problem) for problem in problems if problem not in alone}
    for problem in alone:
        signatures[problem.name] = answers.problem(problem)
        if problem.targets == "class":
            signatures[f"{problem.name}_classify"] = answers.classify(problem)
    if any(problem.modality == "language" and problem.targets != "class" for problem in problems):
        signatures["tokens"] = answers.tokens()
    if n_best:
        signatures["n_best"] = answers.n_best(n_best)
    if attention:
        signatures["attention"] = answers.attention()
    return signatures


def _check_names(problems: Sequence[Problem]) -> None:
    """Raises a RunError if the name of a problem is also that of another signature (see `make_signatures`)."""
    for problem in problems:
        # Every signature whose name ends like this is served as a Classify signature.
        if problem.name in ("serving_default", "tokens", "n_best", "attention") or problem.name.endswith("_classify"):
            raise RunError(
                f"{problem.name}: exports use this name for another signature. Leave the problem out, or declare it under "
                "another name."
            )


def reduced(network: MultiModel, experiment: Experiment, description: dict, problems: Sequence[Problem]) -> MultiModel:
    """Returns the model with only the modality nets, label sets and command embeddings of `problems`, and its weights."""
    labels = {problem.name for problem in problems if problem.targets == "class"}
    kept = description | {
        "commands": sorted({problem.command for problem in problems}),
        "inputs": sorted({modality.name for problem in problems for modality in problem.modalities}),
        "class_names": {name: names for name, names in description["class_names"].items() if name in labels},
    }
    if all(set(kept[name]) == set(description[name]) for name in ("commands", "inputs", "class_names")):
        return network  # it has nothing else
    small = experiment.build_model(kept)
    weights = {path_below(variable): variable for variable in network.variables}
    # All other weights that are kept have the same shape in both models: each label set and each net has weights of its own.
    rows = [network.command_id(command) for command in small.commands]
    for variable in small.variables:
        value = keras.ops.convert_to_numpy(weights[path_below(variable)])
        variable.assign(value[rows] if path_below(variable) == "command_in/embedding" else value)
    return small


def _save(answers: Answers, signatures: dict, groups: dict[str, Group], folder: str) -> None:
    concrete = {
        name: function.get_concrete_function() if hasattr(function, "get_concrete_function") else function
        for name, function in signatures.items()
    }
    concrete |= {name: group.function for name, group in groups.items()}
    # Saved variables are read by every server at its start, so those that no signature uses are left out.
    used = {id(variable) for function in concrete.values() for variable in function.variables}
    module = tf.Module()
    module.weights = [variable for variable in answers.weights if id(variable) in used]
    module.sentencepiece = answers.sentencepiece
    # Exports need no gradients, and tracing them would take half of the time for saving.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, folder, signatures=concrete, options=options)
    _finish(folder, groups)


def _finish(folder: str, groups: dict[str, Group]) -> None:
    """Finishes the saved graph.

    It checks the operations, removes references to gradients (which are not saved, but which loading would look for), marks
    function calls for inlining when they are loaded, and marks the classify signatures, for which tf.saved_model.save has
    no argument.

    Raises:
      RunError: TensorFlow Serving does not have one of the operations.
    """
    path = os.path.join(folder, "saved_model.pb")
    saved = saved_model_pb2.SavedModel()
    with open(path, "rb") as file:
        saved.ParseFromString(file.read())
    foreign = operations.unknown(operations.operations(saved))
    if foreign:
        raise RunError(f"The graph has operations that TensorFlow Serving does not have: {', '.join(foreign)}.")
    unoptimised = config_pb2.ConfigProto()
    unoptimised.graph_options.rewrite_options.disable_meta_optimizer = True
    share(saved.meta_graphs[0], groups)
    # The call that saves weights is not inlined, because a server never uses it.
    unused = saved.meta_graphs[0].saver_def.save_tensor_name.partition(":")[0]
    for node in operations.nodes(saved.meta_graphs[0].graph_def):
        node.attr.pop("_gradient_op_type", None)
        if node.op in _CALLS and node.name != unused:
            # A server prepares every signature at its first request. A function call that is not inlined by then is
            # converted, placed, partitioned and optimised again within the run. This takes four fifths of the time and most
            # of the memory, and does not improve a function that was traced for inference.
            node.attr["_lower_as_multi_device_function"].b = True
            node.attr["config_proto"].s = unoptimised.SerializeToString(deterministic=True)
    subexpressions.merge(saved.meta_graphs[0].graph_def)
    names.shorten(saved.meta_graphs[0].graph_def)
    for name, signature in saved.meta_graphs[0].signature_def.items():
        if name.endswith("_classify"):
            signature.method_name = _CLASSIFY
    with open(path, "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))
    fingerprint = os.path.join(folder, "fingerprint.pb")  # of the unmodified file
    if os.path.exists(fingerprint):
        os.remove(fingerprint)


def _next_version(export_dir: str) -> int:
    # Above all versions that exist, because a server serves the highest number.
    return 1 + max((version_of(name) or 0 for name in os.listdir(export_dir)), default=0)
