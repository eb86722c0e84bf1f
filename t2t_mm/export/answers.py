"""The functions of an export, which compute answers from a client's strings in the graph, by problem or for mixed batches."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
import tensorflow_text

from t2t_mm.export import limits, reading
from t2t_mm.export.limits import held, require
from t2t_mm.export.sharing import Group, Member
from t2t_mm.export.trees import bracketed, split_words
from t2t_mm.incremental import IncrementalDecoder, decoder_weights
from t2t_mm.inference.search import IMPOSSIBLE_SCORE, Decoding, beam_search, best_of_beam
from t2t_mm.inference.source_weights import source_weights
from t2t_mm.inference.trees import TreeConstraint, TreeGrammar, WordTreeConstraint
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.tokenizer import END_ID, PADDING_ID, Tokenizer
from t2t_mm.layers.sharing import unshared
from t2t_mm.modalities.known import spelled
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem

_STRINGS, _NUMBERS = tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32)
# As many as the top-5 accuracy counts.
_CLASSES = 5  # maximum number of classes in an answer
_TAKEN = ("text", "images", "audio")  # how errors name the modalities, in the order of reading.MODALITIES
# The feature of a tf.train.Example that contains the input.
EXAMPLE_FEATURES = {"image": "image/encoded", "audio": "audio/encoded", "language": "text"}


@dataclasses.dataclass(frozen=True)
class Path:
    """A path of one input through the model.

    Attributes:
      modality: one of reading.MODALITIES.
      kind: "text", "tree" or "class".
      labels: the name of the class problem if `kind` is "class".
    """

    modality: str
    kind: str
    labels: str = ""


def _paired(command, inputs, what: str):
    """Returns command [B] and inputs [B, ...], after checking that they match, with their count and the numbers of the rows."""
    count = tf.shape(inputs)[0]
    # TensorFlow would otherwise fail in some later operation, whose error does not name the inputs.
    alike = tf.debugging.Assert(tf.size(command) == count, [f"command and {what} differ in length"])
    command, inputs = held((command, inputs), alike, limits.require_rows(count, what))
    return command, inputs, count, tf.range(count)


def _widened(ids, length):  # [b, S] -> [b, length]
    return tf.pad(ids, [[0, 0], [0, length - tf.shape(ids)[1]]], constant_values=PADDING_ID)


def _named(function: Callable, specs: dict[str, tf.TensorSpec]) -> Callable:
    """Traces `function`, which takes its inputs by the names of `specs`."""
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
    return tf.function(function, autograph=False).get_concrete_function(**named)


def path_of(problem: Problem) -> Path:
    """Returns the path of the inputs of a problem."""
    return Path(spelled(problem.modality), problem.targets, problem.name if problem.targets == "class" else "")


def input_names(problem: Problem) -> list[str]:
    """Returns the names of the inputs of a problem's signature.

    A single input is called "inputs"; several have the names of their modalities. The second input of the same modality
    has a number ("language", "language_2").
    """
    names = [modality.name for modality in problem.modalities]
    if len(names) == 1:
        return ["inputs"]
    numbers = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if number == 1 else f"{name}_{number}" for name, number in zip(names, numbers)]


class _Widened(keras.StatelessScope):
    """Within this scope, variables have the values of the narrower variables that are stored in place of them.

    Args:
      stored: the narrower variables by the id of the variable.
    """

    def __init__(self, stored: dict[int, tf.Variable]):
        super().__init__()
        self._stored = stored

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        stored = self._stored.get(id(variable))
        return None if stored is None else tf.cast(stored, variable.dtype)


class Answers(tf.Module):
    """The functions behind the signatures of an export. Pipelines, model and search are each traced once and shared.

    Args:
      network: a built MultiModel with the modality nets of `problems`.
      problems: the problems that the export answers.
      class_names: the names of the classes by index, for each class problem.
      audio: the settings of the spectrogram.
      batches: the maximum lengths of inputs, and the size of images.
      decoding: the settings of the search.
      dtype: the type of the stored weights. "bfloat16" halves their size; each request converts them to float32.
      grammar: the trees to which every parse is constrained (see `TreeConstraint`), or None. This does not affect other
        answers, nor sentences whose trees do not fit `decoding.max_length`.
    """

    def __init__(
        self,
        network: MultiModel,
        tokenizer: Tokenizer,
        problems: Sequence[Problem],
        class_names: dict[str, list[str]],
        audio: AudioFeatures,
        batches: BatchSettings,
        decoding: Decoding = Decoding(),
        dtype: str = "float32",
        grammar: TreeGrammar | None = None,
    ):
        super().__init__()
        self._network, self._class_names = network, class_names
        # Problems with several inputs have only their own signatures, because the shared signatures take one input per row.
        self._problems = tuple(problem for problem in problems if len(problem.modalities) == 1)
        self._audio, self._batches, self._decoding = audio, batches, decoding
        self._tokenizer = tokenizer
        self._grammar = grammar
        self._words_in_trees = any(problem.words_in_trees for problem in problems)
        # An attribute of the module, so that saving finds its resource and writes the vocabulary into the export.
        self.sentencepiece = tensorflow_text.SentencepieceTokenizer(tokenizer.model, add_eos=True)
        self._dtype = dtype
        self._narrow = None
        if dtype != "float32":
            self._narrow = {
                id(variable): tf.Variable(tf.cast(variable.value, dtype), trainable=False, name=variable.path)
                for variable in network.variables
                if keras.backend.is_float_dtype(variable.dtype)
            }
        # Weights in the form in which the search multiplies them. They are computed once, here, rather than in each request.
        self._decoder_weights = {
            name: tf.Variable(tf.cast(weight, dtype), trainable=False, name=f"decoder_{name}")
            for name, weight in decoder_weights(network).items()
        }
        self._functions: dict = {}

    # Functions that return signatures.

    def problem(self, problem: Problem) -> Callable:
        """Returns a function from inputs [B] to "outputs" [B] (text or trees) and "scores" [B] in nats.

        For a class problem, it returns "classes" and "scores" (probabilities) [B, k], the best first.
        """

        def answer(inputs):
            inputs = held(inputs, limits.require_rows(tf.size(inputs), "inputs"))
            # The number of each row in the request, which errors name even where a part of the rows is processed.
            rows = tf.range(tf.size(inputs))
            commands = tf.fill([tf.size(inputs)], self._network.command_id(problem.command))
            if problem.targets == "class":
                found = self._classes(path_of(problem).modality, problem.name, inputs, rows, commands)
                return dict(zip(("classes", "scores"), found))
            return dict(zip(("outputs", "scores"), self._answer(path_of(problem), inputs, rows, commands)))

        return self._signature(answer, inputs=_STRINGS)

    def joint(self, problem: Problem) -> Callable:
        """Does the same as `problem` for a problem with several inputs, which are passed by name (see `input_names`), each [B].

        Raises (the returned function):
          InvalidArgumentError: the inputs differ in number.
        """
        names = input_names(problem)

        def answer(**given):
            inputs = [given[name] for name in names]
            count = tf.size(inputs[0])
            alike = [
                tf.debugging.Assert(tf.size(one) == count, [f"{names[0]} and {name} differ in length"])
                for name, one in zip(names[1:], inputs[1:])
            ]
            inputs = held(inputs, *alike, limits.require_rows(count, names[0]))
            rows = tf.range(count)
            commands = tf.fill([count], self._network.command_id(problem.command))
            given = zip(problem.modalities, inputs, names)
            features = [self._features(modality.name, one, rows, name) for modality, one, name in given]
            encoded, padding = self._encode_joint(problem)(commands, *(part for parts in features for part in parts))
            if problem.targets == "class":
                # As for a text, because a joined sequence has no grid.
                found = self._probabilities(problem.name, "language")(encoded, padding, tf.zeros([2], tf.int32), commands)
                return dict(zip(("classes", "scores"), self._best(problem.name, found)))
            ids, scores = self._search(encoded, padding, commands)
            return {"outputs": self._detokenize(ids), "scores": scores}

        return _named(answer, dict.fromkeys(names, _STRINGS))

    def classify(self, problem: Problem) -> Callable:
        """Does the same as `problem` for serialised tf.train.Examples [B], for the Classify API of TensorFlow Serving."""
        feature = EXAMPLE_FEATURES[path_of(problem).modality]

        def answer(inputs):
            inputs = held(inputs, limits.require_rows(tf.size(inputs), "inputs"))
            parsed = tf.io.parse_example(inputs, {feature: tf.io.FixedLenFeature([], tf.string)})[feature]
            commands = tf.fill([tf.size(inputs)], self._network.command_id(problem.command))
            found = self._classes(path_of(problem).modality, problem.name, parsed, tf.range(tf.size(inputs)), commands)
            return dict(zip(("classes", "scores"), found))

        return self._signature(answer, inputs=_STRINGS)

    def any_problem(self) -> Callable:
        """Returns a function from command [B] and inputs [B] to "outputs" [B] and "scores" [B].

        A command is a command token or the name of a problem. The output of a class problem is the best class.

        Raises (the returned function):
          InvalidArgumentError: a command is unknown or does not take its input, or an input cannot be read.
        """
        route = self._router()

        def answer(command, inputs):
            count, inputs, rows, places, path, commands, _ = route(command, inputs)
            outputs, scores = tf.fill([count], ""), tf.zeros([count])
            # Each class problem has its own head and input net. All texts and trees are answered together below, by one
            # search.
            for index, one in enumerate(self._paths()):
                if one.kind == "class":
                    here = tf.where(path == index)[:, 0]
                    best, best_scores = self._best_class(one, inputs, rows, commands, here)
                    outputs = tf.tensor_scatter_nd_update(outputs, here[:, None], best)
                    scores = tf.tensor_scatter_nd_update(scores, here[:, None], best_scores)
            kinds = self._kinds(path)
            # Rows with classes are answered already.
            written = tf.where(kinds != "class", places[:, 1], -1)
            inputs, parsed = self._parsed(kinds == "tree", inputs, rows)
            texts, text_scores, order = self._texts(written, inputs, rows, commands, parsed)
            outputs = tf.tensor_scatter_nd_update(outputs, order[:, None], texts)
            scores = tf.tensor_scatter_nd_update(scores, order[:, None], text_scores)
            return {"outputs": self._with_trees(outputs, parsed), "scores": scores}

        return self._signature(answer, command=_STRINGS, inputs=_STRINGS)

    def n_best(self, count: int) -> Callable:
        """Returns a function from command [B] and inputs [B], like `any_problem`, to the N = `count` best answers of each row.

        They come from a beam search with `count` hypotheses, or with the beam size of the export if that is larger.

        Returns:
          A function that returns "outputs" [B, N] and "scores" [B, N], the best first, "tokens" [B, N, max_length], the
          pieces of the answers including the end token, and "log_probs" [B, N, max_length], the log-probabilities of the
          pieces in nats. After the end token, the pieces are "" and the log-probabilities 0. If fewer answers are possible,
          the others are "", have no tokens and a score of -inf.

        Raises (the returned function):
          InvalidArgumentError: see `any_problem`; or a row belongs to a class problem.
        """
        route = self._router()

        def answer(command, inputs):
            _, inputs, rows, places, path, commands, quoted = route(command, inputs)
            kinds = self._kinds(path)
            modalities = held(places[:, 1], self._require_written(kinds, rows, quoted, "n_best"))
            inputs, parsed = self._parsed(kinds == "tree", inputs, rows)
            encoded, padding, order = self._encoded_together(modalities, inputs, rows, commands)
            searched = encoded, padding, tf.gather(commands, order), tf.gather(parsed, order)
            ids, scores, log_probs = self._search_best(count, *searched)
            # The inverse of the permutation `order`, which sorted the rows by modality.
            back = tf.scatter_nd(order[:, None], rows, tf.shape(order, tf.int64))
            # A beam has as many places as hypotheses, even if fewer answers are possible.
            possible = scores >= IMPOSSIBLE_SCORE
            scores = tf.where(possible, scores, -float("inf"))
            ids = tf.where(possible[..., None], ids, PADDING_ID)
            log_probs = tf.where(possible[..., None], log_probs, 0.0)
            ids, scores, log_probs = (tf.gather(found, back) for found in (ids, scores, log_probs))
            of_each = tf.repeat(parsed, count)
            flat = self._detokenize(tf.reshape(ids, [-1, self._decoding.max_length]), of_each)
            outputs = tf.reshape(self._with_trees(flat, of_each), [-1, count])
            outputs = tf.where(tf.gather(possible, back), outputs, "")
            return {
                "outputs": outputs, "scores": scores, "tokens": self._pieces(ids), "log_probs": log_probs,
            }  # fmt: skip

        return self._signature(answer, command=_STRINGS, inputs=_STRINGS)

    def attention(self) -> Callable:
        """Returns a function from command [B] and inputs [B], like `any_problem`, to answers with their attention weights.

        Returns:
          A function that returns "outputs" and "scores" [B]; "tokens" [B, T], the pieces of the answers including the end
          token; "blocks" [B, blocks], the names of the blocks, the same in each row; "weights" [B, blocks, T, S], the
          weight that each token gives to each position of the source in each block, averaged over the heads; "sources"
          [B, S], the pieces of a text, and "" for other inputs; and "grid" [B, 2], the number of rows and columns of the
          positions of an image or a recording. The rows of a recording are points in time; a text has one column. T and S
          are those of the longest answer and source of the request: after the end, strings are "" and weights 0.

        Raises (the returned function):
          InvalidArgumentError: see `any_problem`; a row belongs to a class problem; or there are too many rows.
        """
        route = self._router()

        def answer(command, inputs):
            number, most = tf.strings.as_string(tf.size(command)), limits.MOST_LOOKED_AT
            message = tf.strings.join(["command: ", number, f" in one request; attention supports 1 to {most}"])
            command = held(command, tf.debugging.Assert(tf.size(command) <= most, [message]))
            count, inputs, rows, places, path, commands, quoted = route(command, inputs)
            kinds = self._kinds(path)
            modalities = held(places[:, 1], self._require_written(kinds, rows, quoted, "attention"))
            inputs, parsed = self._parsed(kinds == "tree", inputs, rows)
            encoded, padding, order, columns = self._encoded_together(modalities, inputs, rows, commands, columns=True)
            commands = tf.gather(commands, order)
            ids, scores = self._search(encoded, padding, commands, tf.gather(parsed, order))
            # Up to the longest answer: the weights take memory for every position.
            ids = ids[:, : tf.reduce_max(tf.reduce_sum(tf.cast(ids != PADDING_ID, tf.int32), axis=1))]
            blocks, weights = self._look(encoded, padding, commands, ids)
            lengths = tf.reduce_sum(tf.cast(tf.logical_not(padding), tf.int32), axis=1)
            grid = tf.stack([lengths // columns, columns], axis=1)
            back = tf.scatter_nd(order[:, None], rows, tf.shape(order, tf.int64))
            ids, scores, weights, grid = (tf.gather(found, back) for found in (ids, scores, weights, grid))
            here = tf.where(modalities == reading.MODALITIES.index("language"))[:, 0]
            source_ids = self._features("language", tf.gather(inputs, here), tf.gather(rows, here))[0]
            # The sources of texts are as long as those of the longest input of the request, which may be an image.
            longest = tf.shape(padding)[1]
            sources = tf.tensor_scatter_nd_update(
                tf.fill([count, longest], ""), here[:, None], self._pieces(_widened(source_ids, longest))
            )
            return {
                "outputs": self._with_trees(self._detokenize(ids, parsed), parsed), "scores": scores,
                "tokens": self._pieces(ids), "blocks": tf.tile(blocks[None], [count, 1]), "weights": weights,
                "sources": sources, "grid": grid,
            }  # fmt: skip

        return self._signature(answer, command=_STRINGS, inputs=_STRINGS)

    def _require_written(self, kinds, rows, quoted, signature: str) -> tf.Operation:
        message = tf.strings.join([quoted, f" answers with classes; {signature} supports only texts and trees"])
        return require(kinds != "class", rows, "command", message)

    def _pieces(self, ids):  # ids of any shape -> their pieces, "" for padding
        pieces = [self._tokenizer.processor.IdToPiece(i) for i in range(self._tokenizer.size)]
        # A client would otherwise have to know how the vocabulary spells padding.
        pieces[PADDING_ID] = ""
        return tf.gather(tf.constant(pieces), ids)

    def _paths(self) -> list[Path]:
        """Returns the paths of `routes` in a fixed order."""
        return sorted({path for path, _ in self.routes().values()}, key=lambda path: (path.modality, path.kind, path.labels))

    def _router(self) -> Callable:
        """Returns a function that finds the path of each row from command [B] and inputs [B].

        It rejects rows whose command is unknown or does not take their input.

        Returns:
          A function that returns the number of rows; inputs [B] and rows [B]; places [B, 2], whose second column is the
          index in reading.MODALITIES; path [B], the index in `_paths`; the ids of the command tokens [B]; and the commands
          [B] as errors quote them.
        """
        routes, paths = self.routes(), self._paths()
        # Also the commands that `routes` leaves out, so that their error is not that of an unknown command.
        names = sorted({name for name, _ in routes} | {problem.command for problem in self._problems})
        # Tables [names, modalities]. -1: the name does not take the modality.
        # The routes as constants, which the graph looks up for all rows at once.
        places = [[(name, modality) for modality in reading.MODALITIES] for name in names]
        path_table = [[paths.index(routes[p][0]) if p in routes else -1 for p in row] for row in places]
        command_table = [[routes[p][1] if p in routes else 0 for p in row] for row in places]
        # Written once, while tracing. The list of the error is also what the web page reads (see `_takes`).
        taking = [name for name in names if any((name, modality) in routes for modality in reading.MODALITIES)]
        known = f"; this export knows {', '.join(self._takes(name) for name in taking)}"

        def route(command, inputs):
            command, inputs, count, rows = _paired(command, inputs, "inputs")
            named = command[:, None] == tf.constant(names)[None]
            quoted = tf.strings.join(['"', limits.shown(command), '"'])
            message = tf.strings.join(["unknown command ", quoted, known])
            inputs = held(inputs, require(tf.reduce_any(named, axis=1), rows, "command", message))
            places = tf.stack([tf.argmax(named, axis=1, output_type=tf.int32), reading.modality(inputs)], axis=1)
            path, commands = (tf.gather_nd(tf.constant(table), places) for table in (path_table, command_table))
            found = tf.gather(tf.constant(_TAKEN), places[:, 1])
            fits = require(path >= 0, rows, "inputs", tf.strings.join([quoted, " does not take ", found]))
            # The assertion has to precede the use of −1 as an index of a path.
            inputs, path = held((inputs, path), fits)
            return count, inputs, rows, places, path, commands, quoted

        return route

    def _kinds(self, path):  # [b], index in `_paths` -> [b], "text", "tree" or "class"
        return tf.gather(tf.constant([one.kind for one in self._paths()]), path)

    def _has_trees(self) -> bool:
        # An export without parsing contains no operations for trees.
        return any(problem.targets == "tree" for problem in self._problems)

    def _with_trees(self, outputs, parsed):
        """Returns outputs [b] with bracketed trees over the words of `parsed` in place of linearised ones."""
        if not self._has_trees():
            return outputs
        here = tf.where(parsed != "")
        trees = bracketed(tf.gather_nd(outputs, here), tf.gather_nd(parsed, here))
        return tf.tensor_scatter_nd_update(outputs, here, trees)

    def groups(self) -> dict[str, Group]:
        """Returns groups of signatures that share a part of the graph (see `sharing`).

        The signatures of text problems share it with `tokens`; each class problem shares it with its Classify signature.
        """
        found = {}
        texts = [one for one in self._problems if one.modality == "language" and one.targets != "class"]
        if texts:
            members = {
                one.name: Member(
                    {"inputs": one.name}, {"outputs": "trees" if one.targets == "tree" else "texts", "scores": "scores"}
                )
                for one in texts
            }
            members["tokens"] = Member(
                {"command": "tokens_command", "ids": "tokens_ids"}, {"outputs": "ids", "scores": "scores"}
            )
            found["shared_texts"] = Group(self._text_group(texts), members)
        for problem in self._problems:
            if problem.targets == "class":
                members = {
                    name: Member({"inputs": name}, {"classes": "classes", "scores": "scores"})
                    for name in (problem.name, f"{problem.name}_classify")
                }
                found[f"shared_{problem.name}"] = Group(self._class_group(problem), members)
        return found

    def _text_group(self, problems: Sequence[Problem]) -> Callable:
        """Returns a function from the inputs of each problem, tokens_command and tokens_ids to texts, trees, ids and scores.

        In each request, only the inputs of one signature are not empty.
        """

        def answer(tokens_command, tokens_ids, **inputs):
            given = [inputs[problem.name] for problem in problems]
            sentences = tf.concat(given, axis=0)
            # Of all members, of which only one is fed.
            count = tf.size(sentences) + tf.shape(tokens_ids)[0]
            sentences, tokens_ids = held((sentences, tokens_ids), limits.require_rows(count, "inputs"))
            is_tree = tf.concat([tf.fill(tf.shape(x), p.targets == "tree") for x, p in zip(given, problems)], axis=0)
            rows = tf.range(tf.size(sentences))
            sentences, parsed = self._parsed(is_tree, sentences, rows)
            ids = self._features("language", sentences, rows)[0]
            other_ids, other_commands = self._checked_tokens(tokens_command, tokens_ids)
            # Empty inputs have no columns; both parts are widened to one shape, because the graph does not know which is
            # empty.
            longest = tf.maximum(tf.shape(ids)[1], tf.shape(other_ids)[1])
            ids = tf.concat([_widened(ids, longest), _widened(other_ids, longest)], axis=0)
            named = [tf.fill([tf.size(x)], self._network.command_id(p.command)) for x, p in zip(given, problems)]
            commands = tf.concat([*named, other_commands], axis=0)
            encoded, padding = self._encode("language")(commands, ids, ids == PADDING_ID)[:2]
            all_parsed = tf.concat([parsed, self._parsed_tokens(tokens_command, other_ids)], axis=0)
            found, scores = self._search(encoded, padding, commands, all_parsed)
            texts = self._detokenize(found, all_parsed)
            answers = {"texts": texts, "ids": found, "scores": scores}
            if any(problem.targets == "tree" for problem in problems):
                # Sentences come first, so that the trees are those of the first rows. Those of other signatures are not
                # fetched.
                answers["trees"] = bracketed(texts[: tf.size(sentences)], parsed)
            return answers

        specs = {problem.name: _STRINGS for problem in problems}
        specs |= {"tokens_command": _STRINGS, "tokens_ids": tf.TensorSpec([None, None], tf.int32)}
        return _named(answer, specs)

    def _class_group(self, problem: Problem) -> Callable:
        feature, parsed = EXAMPLE_FEATURES[path_of(problem).modality], f"{problem.name}_classify"

        def answer(**given):
            examples = tf.io.parse_example(given[parsed], {feature: tf.io.FixedLenFeature([], tf.string)})[feature]
            inputs = tf.concat([given[problem.name], examples], axis=0)
            inputs = held(inputs, limits.require_rows(tf.size(inputs), "inputs"))
            commands = tf.fill([tf.size(inputs)], self._network.command_id(problem.command))
            found = self._classes(path_of(problem).modality, problem.name, inputs, tf.range(tf.size(inputs)), commands)
            return dict(zip(("classes", "scores"), found))

        return _named(answer, {problem.name: _STRINGS, parsed: _STRINGS})

    def _takes(self, name: str) -> str:
        """Returns the name with the inputs that it takes, such as "To-German (text; never trained with images)".

        `serving/page.html` parses this from the error for an unknown command.
        """
        said = dict(zip(reading.MODALITIES, _TAKEN))
        trained = {p.modality for p in self._problems if name in (p.command, p.name)}
        takes = [modality for known, modality in self.routes() if known == name]
        known, new = ([m for m in reading.MODALITIES if m in takes and (m in trained) == old] for old in (True, False))
        listed = [", ".join(said[modality] for modality in some) for some in (known, new) if some]
        return f"{name} ({'; never trained with '.join(listed)})"

    def tokens(self) -> Callable:
        """Returns a function from command [B] and ids [B, S] to "outputs" [B, max_length] (ids) and "scores" [B] in nats.

        The commands are command tokens. The ids are padded with 0.

        Raises (the returned function):
          InvalidArgumentError: a command is unknown, or ids are invalid, too many or missing.
        """

        def answer(command, ids):
            command, ids = _paired(command, ids, "ids")[:2]
            ids, commands = self._checked_tokens(command, ids)
            encoded, padding = self._encode("language")(commands, ids, ids == PADDING_ID)[:2]
            parsed = self._parsed_tokens(command, ids)
            return dict(zip(("outputs", "scores"), self._search(encoded, padding, commands, parsed)))

        return self._signature(answer, command=_STRINGS, ids=tf.TensorSpec([None, None], tf.int32))

    def _checked_tokens(self, command, ids):  # [b], [b, S] -> ids [b, S], ids of the commands [b]
        names = [name for (name, modality), (path, _) in self.routes().items() if self._is_token(name, modality, path)]
        # The answer is ids, so that a command with texts and trees, which has no route, is not ambiguous here.
        texts = [one.command for one in self._problems if one.modality == "language" and one.targets != "class"]
        names = list(dict.fromkeys([*names, *texts]))
        known = f"; for ids, this export knows {', '.join(names)}"
        most, rows = self._batches.max_length, tf.range(tf.shape(ids)[0])
        alike = tf.debugging.Assert(tf.size(command) == tf.size(rows), ["command and ids differ in length"])
        command, ids = held((command, ids), alike)
        named = command[:, None] == tf.constant(names)[None]
        message = tf.strings.join(['unknown command "', limits.shown(command), '"', known])
        checks = [require(tf.reduce_any(named, axis=1), rows, "command", message)]
        length = tf.shape(ids)[1]
        message = tf.strings.join([tf.strings.as_string(length), f" tokens; at most {most} are allowed"])
        ids = held(ids, require(tf.fill([tf.size(rows)], length <= most), rows, "ids", message))
        valid = tf.reduce_all(tf.logical_and(ids >= 0, ids < self._tokenizer.size), axis=1)
        checks.append(require(valid, rows, "ids", f"an id outside 0 to {self._tokenizer.size - 1}"))
        # As `reading.read_texts`, this rejects empty sentences.
        said = tf.logical_and(ids != PADDING_ID, ids != END_ID)
        checks.append(require(tf.reduce_any(said, axis=1), rows, "ids", "no tokens except padding and end"))
        commands = [self._network.command_id(name) for name in names]
        return held(ids, *checks), tf.gather(tf.constant(commands), tf.argmax(named, axis=1))

    def _parsed_tokens(self, command, ids):  # [b], [b, S] -> sentences [b], like those of `_parsed`
        if self._grammar is None:
            return tf.fill(tf.shape(command), "")
        # A command that also has other answers does not say which is meant.
        written = [one for one in self._problems if one.modality == "language" and one.targets != "class"]
        other = {one.command for one in written if one.targets != "tree"}
        names = sorted({one.command for one in written} - other)
        is_tree = tf.reduce_any(command[:, None] == tf.constant(names, tf.string)[None], axis=1)
        return tf.where(is_tree, self._detokenize(ids), "")

    def _is_token(self, name: str, modality: str, path: Path) -> bool:
        return modality == "language" and path.kind != "class" and name in self._network.commands

    def routes(self) -> dict[tuple[str, str], tuple[Path, int]]:
        """Returns the path and the id of the command token for each pair of (command token or problem, modality).

        A command token whose problems all answer with text takes every modality that the export has a net for. If they were
        never trained together, as an image with "To-German", the model has to generalise. A command token and a modality that
        belong to several paths, such as those of two class problems, have no entry, because they do not tell which is meant.
        """
        meant: dict[tuple[str, str], set[Path]] = {}
        for problem in self._problems:
            path = path_of(problem)
            meant.setdefault((problem.command, path.modality), set()).add(path)
        found = {}
        for problem in self._problems:
            token = self._network.command_id(problem.command)
            path = path_of(problem)
            found[problem.name, path.modality] = (path, token)
            if len(meant[problem.command, path.modality]) == 1:
                found[problem.command, path.modality] = (path, token)
        for command in {problem.command for problem in self._problems}:
            if all(problem.targets == "text" for problem in self._problems if problem.command == command):
                for modality in {path_of(problem).modality for problem in self._problems}:
                    found[command, modality] = Path(modality, "text"), self._network.command_id(command)
        return found

    @property
    def weights(self) -> list[tf.Variable]:
        """Returns the variables that the functions read, in a fixed order."""
        # In bfloat16 only the narrow copies are read, and the originals are not saved.
        stored = [v.value for v in self._network.variables] if self._narrow is None else list(self._narrow.values())
        return [*stored, *self._decoder_weights.values()]

    # Pipelines, which are traced once. Each processes [b] rows of one kind; `rows` are their numbers in the request.

    def _answer(self, path: Path, inputs, rows, commands):  # -> outputs [b], scores [b]
        def answer(inputs, rows, commands):
            parsed = None
            if path.kind == "tree":
                inputs, parsed = self._parsed(tf.fill(tf.shape(rows), True), inputs, rows)
            encoded, padding = self._encoded(path.modality, inputs, rows, commands)[:2]
            ids, scores = self._search(encoded, padding, commands, parsed)
            texts = self._detokenize(ids, parsed)
            return (texts if parsed is None else bracketed(texts, parsed)), scores

        return self._pipeline(f"{path.kind}_of_{path.modality}", answer)(inputs, rows, commands)

    def _best_class(self, path: Path, inputs, rows, commands, here):  # here [b]: the rows -> outputs [b], scores [b]
        def some():
            arguments = (tf.gather(tensor, here) for tensor in (inputs, rows, commands))
            classes, scores = self._classes(path.modality, path.labels, *arguments)
            return classes[:, 0], scores[:, 0]

        # A request of other kinds does not run the image net on an empty batch.
        return tf.cond(tf.size(here) > 0, some, lambda: (tf.fill([0], ""), tf.zeros([0])))

    def _texts(self, modalities, inputs, rows, commands, parsed):
        """Answers the rows of all modalities with text, in one search.

        Args:
          modalities: [B], the index in reading.MODALITIES, or -1 for a row that is not answered with text.
          parsed: [B], see `_parsed`.

        Returns:
          The texts [b], scores [b], and the row [b] of each.
        """
        encoded, padding, order = self._encoded_together(modalities, inputs, rows, commands)

        def search():
            sentences = tf.gather(parsed, order)
            ids, scores = self._search(encoded, padding, tf.gather(commands, order), sentences)
            return self._detokenize(ids, sentences), scores

        texts, scores = tf.cond(tf.size(order) > 0, search, lambda: (tf.fill([0], ""), tf.zeros([0])))
        return texts, scores, order

    def _encoded_together(self, modalities, inputs, rows, commands, columns: bool = False):
        """Returns encoded [b, S, D], padding [b, S] and the row [b] of each, for the rows of all modalities; see `_texts`.

        With `columns`, it also returns the number of columns [b] of the grid of each source, 1 if there is no grid.
        """

        def read(modality, inputs, rows, commands):
            encoded, padding, grid = self._encoded(modality, inputs, rows, commands)
            return (encoded, padding, tf.fill([tf.size(rows)], tf.maximum(grid[1], 1))) if columns else (encoded, padding)

        parts = []
        for index, modality in enumerate(reading.MODALITIES):
            if modality not in {path_of(problem).modality for problem in self._problems}:
                continue
            here = tf.where(modalities == index)[:, 0]
            given = tf.gather(inputs, here), tf.gather(rows, here), tf.gather(commands, here)
            some = lambda: read(modality, *given)  # noqa: B023, E731
            none = lambda: (  # noqa: E731
                tf.zeros([0, 1, self._network.depth]), tf.fill([0, 1], True), *([tf.zeros([0], tf.int32)] if columns else [])
            )  # fmt: skip
            parts.append((*tf.cond(tf.size(here) > 0, some, none), here))
        # Encoded inputs of different modalities are one batch from here on: the body does not know where they come from.
        longest = tf.reduce_max([tf.shape(part[1])[1] for part in parts])
        room = [[[0, 0], [0, longest - tf.shape(part[1])[1]]] for part in parts]
        encoded = tf.concat([tf.pad(part[0], [*r, [0, 0]]) for part, r in zip(parts, room)], axis=0)
        # True, because what is added is padding.
        padding = tf.concat([tf.pad(part[1], r, constant_values=True) for part, r in zip(parts, room)], axis=0)
        order = tf.concat([part[-1] for part in parts], axis=0)
        return encoded, padding, order, *([tf.concat([part[2] for part in parts], axis=0)] if columns else [])

    def _encoded(self, modality: str, inputs, rows, commands):  # -> encoded [b, S, D], padding [b, S], grid [2]
        return self._encode(modality)(commands, *self._features(modality, inputs, rows))

    def _features(self, modality: str, inputs, rows, name: str = "inputs") -> tuple:
        """Returns the features of inputs [b], and their padding if they have any. Errors call the inputs `name`."""

        def features(inputs, rows):
            with limits.named(name):
                if modality == "language":
                    inputs = limits.short_texts(inputs, rows, self._batches.max_length)
                    return reading.read_texts(inputs, rows, self.sentencepiece, self._batches.max_length)
                if modality == "image":
                    return (reading.read_pictures(inputs, rows, self._batches.image_size),)
                return reading.read_sounds(inputs, rows, self._audio, self._batches.max_frames)

        return self._once(f"read_{modality}_of_{name}", features, [_STRINGS, _NUMBERS])(inputs, rows)

    def _classes(self, modality: str, labels: str, inputs, rows, commands):  # -> classes [b, k], scores [b, k]
        def classes(inputs, rows, commands):
            encoded, padding, grid = self._encoded(modality, inputs, rows, commands)
            return self._best(labels, self._probabilities(labels, modality)(encoded, padding, grid, commands))

        return self._pipeline(f"class_of_{labels}", classes)(inputs, rows, commands)

    def _best(self, labels: str, probabilities):  # [b, classes] -> names [b, k], probabilities [b, k]
        names = self._class_names[labels]
        # A label set may have fewer classes.
        top, indices = tf.math.top_k(probabilities, min(_CLASSES, len(names)))
        return tf.gather(tf.constant(names), indices), top

    def _detokenize(self, ids, parsed=None):  # [b, T], [b] (see `_parsed`; None: no trees) -> [b]
        # As `Tokenizer.detokenize`: up to the first end token.
        ended = tf.cumsum(tf.cast(ids == END_ID, tf.int32), axis=1) > 0
        left_out = tf.logical_or(ended, ids == PADDING_ID)
        if self._words_in_trees and parsed is not None:
            # Without the words of trees, in which one with angle brackets would look like a symbol.
            symbols = self._tokenizer.tree_symbols()
            is_word = tf.constant([piece not in symbols for piece in range(self._tokenizer.size)])
            left_out = tf.logical_or(left_out, tf.logical_and((parsed != "")[:, None], tf.gather(is_word, ids)))
        return self.sentencepiece.detokenize(tf.ragged.boolean_mask(ids, tf.logical_not(left_out)))

    # Parts of the model, which are traced once.

    def _encode(self, modality: str) -> Callable:
        """Returns a function from commands [b], features and padding to encoded [b, S, D], padding [b, S] and grid [2].

        The grid is zeros if there is none.
        """

        def encode(commands, features, padding=None):
            encoded, padding, grid, _ = self._network.encode(modality, features, padding, commands)
            # A traced function returns tensors only, so zeros stand for "no grid".
            return encoded, padding, tf.stack(grid if grid is not None else (0, 0))

        return self._part(f"encode_{modality}", encode, [_NUMBERS, *self._feature_specs(modality)])

    def _encode_joint(self, problem: Problem) -> Callable:
        """Returns a function from commands [b] and the results of `_features` for all inputs to encoded and padding.

        The function returns encoded [b, S, D] and padding [b, S].
        """
        names = [modality.name for modality in problem.modalities]
        specs = [self._feature_specs(name) for name in names]

        def encode(commands, *features):
            # A traced function takes a flat list of tensors. An image has one of them, and the others two, with their padding.
            left = iter(features)
            parts = [[next(left) for _ in own] for own in specs]
            inputs, padding = [own[0] for own in parts], [own[1] if len(own) > 1 else None for own in parts]
            return self._network.encode(names, inputs, padding, commands)[:2]

        return self._part(f"encode_{'_'.join(names)}", encode, [_NUMBERS, *(spec for own in specs for spec in own)])

    def _feature_specs(self, modality: str) -> list[tf.TensorSpec]:
        flags = tf.TensorSpec([None, None], tf.bool)
        size = self._batches.image_size
        return {
            "language": [tf.TensorSpec([None, None], tf.int32), flags],
            "image": [tf.TensorSpec([None, size, size, 3], tf.float32)],
            "audio": [tf.TensorSpec([None, None, self._audio.bins], tf.float32), flags],
        }[modality]

    def _parsed(self, is_tree, inputs, rows):
        """Returns inputs [b] as they are tokenized, and sentences [b]: the inputs whose answers are trees, "" for others.

        A sentence is not "", because blank texts are rejected. The length of the sentences is checked.
        """
        if not self._has_trees():
            return inputs, tf.fill(tf.shape(inputs), "")
        sentences = limits.short_texts(tf.where(is_tree, inputs, ""), rows, self._batches.max_length)
        if self._words_in_trees:
            # Their white space as in training (`tokenizer.as_tokenized`).
            sentences = tf.strings.reduce_join(split_words(sentences), axis=1, separator=" ")
            inputs = tf.where(is_tree, sentences, inputs)
        return held(inputs, sentences), sentences

    def _constraint(self, parsed, encoded) -> TreeConstraint:
        """Returns the constraint on the trees of sentences [b], which are "" for rows with other answers."""
        assert self._grammar is not None  # see `_searched`
        # After the sentences have been encoded, which is after all checks of them.
        parsed = held(parsed, encoded)
        counts = tf.cast(split_words(parsed).row_lengths(), tf.int32)
        if not self._words_in_trees:
            return TreeConstraint(self._grammar, counts, applies=counts > 0)
        return WordTreeConstraint(self._grammar, self.sentencepiece.tokenize(parsed).to_tensor(PADDING_ID), applies=counts > 0)

    def _search(self, encoded, padding, commands, parsed=None):  # -> ids [b, max_length], scores [b]
        settings = self._decoding

        def search(encoded, padding, commands, constraint):
            return beam_search(
                self._decoder(), encoded, padding, commands, settings.max_length, settings.beam_size, settings.alpha,
                constraint=constraint,
            )  # fmt: skip

        return self._searched("search", search, encoded, padding, commands, parsed)

    def _search_best(self, count: int, encoded, padding, commands, parsed):
        """Does the same as `_search` for several answers.

        Returns:
          ids [b, N, max_length], scores [b, N] and the log-probabilities of the tokens [b, N, max_length].
        """
        settings = self._decoding

        def search(encoded, padding, commands, constraint):
            return best_of_beam(
                # A beam has to be at least as wide as the number of answers that it gives.
                self._decoder(), encoded, padding, commands, settings.max_length, max(count, settings.beam_size), count,
                settings.alpha, constraint=constraint, log_probs=True,
            )  # fmt: skip

        return self._searched(f"search_{count}_best", search, encoded, padding, commands, parsed)

    def _searched(self, name: str, search: Callable, encoded, padding, commands, parsed):
        """Returns the result of `search`, traced once with and once without a constraint on the trees of `parsed`.

        Args:
          parsed: [b], see `_parsed`; None where no answer can be a tree, so that nothing has to be constrained.
        """
        specs = [*self._encoded_specs(), _NUMBERS]
        if self._grammar is None or parsed is None:
            free = lambda *given: search(*given, None)  # noqa: E731
            return self._part(name, free, specs)(encoded, padding, commands)

        def constrained(encoded, padding, commands, parsed):
            return search(encoded, padding, commands, self._constraint(parsed, encoded))

        return self._part(f"{name}_of_trees", constrained, [*specs, _STRINGS])(encoded, padding, commands, parsed)

    def _look(self, encoded, padding, commands, ids):  # ids [b, T] -> names [blocks], weights [b, blocks, T, S]
        def look(encoded, padding, commands, ids):
            names, weights = source_weights(self._network, encoded, padding, commands, ids)
            # Padded positions of an answer attend to something, too, which means nothing.
            weights = tf.where((ids != PADDING_ID)[None, :, :, None], weights, 0.0)
            return tf.constant(names), tf.transpose(weights, [1, 0, 2, 3])

        specs = [*self._encoded_specs(), _NUMBERS, tf.TensorSpec([None, None], tf.int32)]
        return self._part("look", look, specs)(encoded, padding, commands, ids)

    def _decoder(self) -> IncrementalDecoder:
        # In a loop, reading a variable at each step costs less than passing a tensor from step to step.
        weights: dict = self._decoder_weights
        if self._dtype != "float32":
            # Before the loop, so that the conversion is not repeated at each position.
            weights = {name: tf.cast(weight, tf.float32) for name, weight in weights.items()}
        return IncrementalDecoder(self._network, weights)

    def _probabilities(self, labels: str, modality: str) -> Callable:
        def probabilities(encoded, padding, grid, commands):
            # Whether there is a grid is known while tracing; its size is not.
            shape = None if modality == "language" else (grid[0], grid[1])
            return tf.nn.softmax(self._network.decode_classes(encoded, padding, shape, commands, labels)[0])

        specs = [*self._encoded_specs(), tf.TensorSpec([2], tf.int32), _NUMBERS]
        return self._part(f"probabilities_{labels}", probabilities, specs)

    def _encoded_specs(self):
        return [tf.TensorSpec([None, None, self._network.depth], tf.float32), tf.TensorSpec([None, None], tf.bool)]

    def _pipeline(self, name: str, function: Callable) -> Callable:
        """Returns `function`, which computes answers from inputs, rows and commands, traced once."""
        return self._once(name, function, [_STRINGS, _NUMBERS, _NUMBERS])

    def _part(self, name: str, function: Callable, signature) -> Callable:
        """Returns `function`, a part of the model, traced once with the stored weights."""

        def scoped(*arguments):
            # Write equal blocks out instead of calling one function, so that `subexpressions.merge` finds common computations.
            with self._weights(), unshared():
                return function(*arguments)

        return self._once(name, scoped, signature)

    def _once(self, name: str, function: Callable, signature) -> Callable:
        if name not in self._functions:
            self._functions[name] = tf.function(function, input_signature=signature, autograph=False)
        return self._functions[name]

    def _weights(self):
        """Returns a context in which the network computes with the stored weights."""
        return contextlib.nullcontext() if self._narrow is None else _Widened(self._narrow)

    def _signature(self, function: Callable, **specs) -> Callable:
        return tf.function(function, input_signature=list(specs.values()), autograph=False)
