"""Computes the answers of a trained model to batches: text, trees or the log-probabilities of classes."""

import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.source import Examples
from t2t_mm.incremental import IncrementalDecoder
from t2t_mm.inference.search import IMPOSSIBLE_SCORE, best_of_beam, sample
from t2t_mm.inference.source_weights import source_weights, without_weights
from t2t_mm.inference.trees import TreeConstraint, TreeGrammar, WordTreeConstraint
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.pipeline import batches_of, make_batches
from t2t_mm.input.tokenizer import PADDING_ID, Tokenizer, text_to_tree
from t2t_mm.modalities.known import KNOWN
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem

Answer = str | np.ndarray


@dataclasses.dataclass(frozen=True)
class Looks:
    """The attention weights of the tokens of an answer to the source, averaged over the heads.

    Attributes:
      blocks: the names of the blocks: "mixer/attention", then "decoder/block1" and so on.
      weights: [blocks, T, S], without the padding of the source.
      pieces: the S pieces of a text; empty for other inputs.
      features: the features that the model has read: an image [H, W, 3] or a spectrogram [time, bins]. None for text.
      grid: the rows and columns of the S positions of an image or a recording; the rows of a recording are points in time.
        None for text.
    """

    blocks: list[str]
    weights: np.ndarray
    pieces: list[str]
    features: np.ndarray | None
    grid: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """One answer of a search, with the figures of the model for it.

    Attributes:
      answer: the text or the linearised tree.
      score: the score by which the search ranks, the log-probability divided by the length penalty, in nats. For a sampled
        answer, the log-probability in nats.
      pieces: its tokens as the vocabulary spells them, including the end token.
      log_probs: the log-probability of each token given those before it, in nats; empty if it was not requested.
      looks: the attention weights of the tokens; None if they were not requested.
    """

    answer: str
    score: float
    pieces: list[str]
    log_probs: list[float]
    looks: Looks | None = None


def is_parsing(problem: Problem) -> bool:
    """Returns whether the answers of the problem are trees over the words of a text, to which `constrain_trees` applies."""
    return problem.targets == "tree" and problem.modality == "language"


class Predictor:
    """Decodes batches of any problem.

    Args:
      network: the trained model.
      tokenizer: the tokenizer of its vocabulary.
      beam_size: number of hypotheses; 1: greedy search.
      alpha: strength of the length penalty.
      max_length: maximum number of tokens of an answer, including the end token.
      sampling: arguments of `search.sample`, to sample answers instead of searching for the most likely ones.
      constrain_trees: whether every parse of a sentence must be a tree with one leaf for each word (see `TreeGrammar`). This
        does not affect other problems, nor sentences whose trees do not fit `max_length` (see `unconstrained`).
      n_best: number of answers that `hypotheses` returns for each example, at most `beam_size`.

    Raises:
      ValueError: a number is out of range.
      RunError: `constrain_trees` is set, but the vocabulary cannot express trees.
    """

    def __init__(
        self,
        network: MultiModel,
        tokenizer: Tokenizer,
        beam_size: int = 1,
        alpha: float = 0.6,
        max_length: int = 128,
        sampling: dict | None = None,
        constrain_trees: bool = False,
        n_best: int = 1,
    ):
        if beam_size < 1 or max_length < 1:
            raise ValueError(f"beam_size {beam_size} and max_length {max_length} must be at least 1.")
        if not 1 <= n_best <= beam_size:
            raise ValueError(f"n_best is {n_best}; it must be between 1 and the {beam_size} hypotheses of beam_size.")
        self._network, self._tokenizer, self._sampling = network, tokenizer, sampling
        self._beam_size, self._alpha, self._max_length = beam_size, alpha, max_length
        # Made at once, so that a vocabulary without brackets is reported before anything is decoded.
        self._grammar = TreeGrammar(tokenizer, max_length) if constrain_trees else None
        self._n_best = n_best
        self._functions: dict = {}

    def constrains(self, problem: Problem) -> bool:
        """Returns whether the answers of the problem are constrained to trees, which requires the words of its inputs."""
        return self._grammar is not None and is_parsing(problem)

    def unconstrained(self, problem: Problem, sentence: str) -> str:
        """Returns why a sentence is answered without the constraint of its problem, or "" if the constraint applies."""
        if not self.constrains(problem):
            return ""
        assert self._grammar is not None  # see `constrains`
        words, pieces = len(sentence.split()), 0
        if problem.words_in_trees:
            pieces = len(self._tokenizer.processor.EncodeAsIds(" ".join(sentence.split())))
        if words + pieces <= (most := self._grammar.most_words):
            return ""
        counted = f"{words} words" + (f" of {pieces} pieces" if pieces else "")
        return (
            f"{counted}, but a tree of at most {self._max_length} tokens has room for {most}: answered without the constraint. "
            f"Increase max_length, for example to {4 * words + pieces}."
        )

    def answers(self, problem: Problem, batch: dict, words: Sequence[int] = ()) -> list[Answer]:
        """Returns one answer for each example: text, a linearised tree, or the log-probabilities [classes] of a class problem.

        Args:
          problem: the problem of all examples.
          batch: a batch of `make_batches`.
          words: [B], the number of words of each sentence, 0 for rows that only fill the batch. It is required if
            `constrains(problem)`.
        """
        if problem.targets == "class":
            return list(self._call(self._classes, problem, batch).numpy())
        # The best answer comes first, whatever `n_best` is.
        ids, _ = self._search(problem, batch, words)
        return [self._answer(problem, best) for best in ids[:, 0].numpy()]

    def hypotheses(
        self, problem: Problem, batch: dict, words: Sequence[int] = (), log_probs: bool = False, looks: bool = False
    ) -> list[list[Hypothesis]]:
        """Returns the `n_best` answers to each example of a problem with texts or trees, the best first.

        There are fewer answers if the constraint allows fewer.

        Args:
          problem, batch, words: see `answers`.
          log_probs: whether to return the log-probabilities of the tokens, which the search computes. See
            `search.best_of_beam` for their meaning if parses are constrained.
          looks: whether to return the attention weights, which a teacher-forced pass over the answers computes.

        Raises:
          RunError: `looks` is set, but the model does not attend to the positions of its source, or the problem has several
            inputs or one of a custom modality.
        """
        if looks and len(problem.modalities) > 1:
            raise RunError(f"{problem.name} has several inputs; attention weights are shown only for a single input.")
        if looks and problem.modality not in KNOWN:
            raise RunError(
                f"The input of {problem.name} is {problem.modalities[0].name}; attention weights are shown only for "
                f"{', '.join(KNOWN)}."
            )
        if looks and (why := without_weights(self._network)):
            raise RunError(f"{why}, so there are no weights to show.")
        ids, scores, *of_tokens = self._search(problem, batch, words, log_probs)
        known = of_tokens[0].numpy() if log_probs else None
        read: dict = {}
        if looks:
            # Without the padding up to max_length, for which the weights would mean nothing but take memory.
            longest = tf.reduce_max(tf.reduce_sum(tf.cast(ids != PADDING_ID, tf.int32), axis=-1))
            read = self._call(self._read, problem, batch, ids[..., :longest])
            read = {name: value.numpy() for name, value in read.items()}
        found: list[list[Hypothesis]] = []
        for row, (row_ids, row_scores) in enumerate(zip(ids.numpy(), scores.numpy())):
            found.append([])
            for place, (own, score) in enumerate(zip(row_ids, row_scores)):
                # These only fill the places of the beam, because the constraint allows fewer answers.
                if score < IMPOSSIBLE_SCORE:
                    continue
                pieces = self._tokenizer.pieces(own)
                found[-1].append(
                    Hypothesis(
                        self._answer(problem, own), float(score), pieces,
                        [] if known is None else known[row, place, : len(pieces)].tolist(),
                        self._looks(problem, batch, read, row, place, len(pieces)) if looks else None,
                    )
                )  # fmt: skip
        return found

    def _answer(self, problem, ids):
        if problem.words_in_trees:
            # Without the words before they become text, in which one with angle brackets would look like a symbol.
            symbols = self._tokenizer.tree_symbols()
            ids = [piece for piece in ids if int(piece) in symbols]
        text = self._tokenizer.detokenize(ids)
        return text_to_tree(text) if problem.targets == "tree" else text

    def _search(self, problem, batch, words, log_probs=False):
        """Returns ids [B, N, max_length], scores [B, N] and, with `log_probs`, those of the tokens [B, N, max_length]."""
        if not self.constrains(problem):
            return self._call(self._sequences, problem, batch, log_probs=log_probs)
        settings = {"log_probs": log_probs, "with_words": problem.words_in_trees}
        return self._call(self._trees, problem, batch, tf.constant(words, tf.int32), **settings)

    def _call(self, decode: Callable, problem: Problem, batch: dict, *more: tf.Tensor, **settings: bool) -> Any:
        """Calls `decode`, traced once for all sizes and lengths. Problems with the same modalities share it."""
        inputs, padding = batch["inputs"], batch["input_padding"]
        # A tensor, so that the function does not depend on the command and problems can share it.
        command = tf.constant(self._network.command_id(problem.command))
        key = (decode.__name__, problem.kind, *settings.items())
        if key not in self._functions:
            function = lambda *arguments: decode(problem, *arguments, **settings)  # noqa: E731
            padded = tuple(modality.padded for modality in problem.modalities)
            # All sizes are open, because each new size would otherwise be traced anew.
            specs = [
                tf.nest.map_structure(_spec, inputs, padded if len(padded) > 1 else padded[0]),
                tf.nest.map_structure(lambda _: tf.TensorSpec([None, None], tf.bool), padding),
                tf.TensorSpec([], tf.int32), *(tf.TensorSpec([None] * one.shape.rank, one.dtype) for one in more),
            ]  # fmt: skip
            # Another thread may have been faster; both must use the same function, which is traced only once.
            self._functions.setdefault(key, tf.function(function, input_signature=specs, autograph=False))
        return self._functions[key](inputs, padding, command, *more)

    def _classes(self, problem, inputs, padding, command):
        encoded, padding, grid, _ = self._network.encode(problem.modality, inputs, problem.padding(padding), command)
        logits, _ = self._network.decode_classes(encoded, padding, grid, command, problem.name)
        return tf.nn.log_softmax(logits)

    def _sequences(self, problem, inputs, padding, command, constraint=None, log_probs=False):
        encoded, padding, _, _ = self._network.encode(problem.modality, inputs, problem.padding(padding), command)
        # Made within the graph, so that the function uses the weights of the model at each call: an evaluation during training
        # sees new ones.
        given = IncrementalDecoder(self._network), encoded, padding, command, self._max_length
        if self._sampling is not None:
            found = sample(*given, **self._sampling, constraint=constraint, log_probs=log_probs)
            # Sampling gives one answer; the axis of the answers is that of a beam.
            return tuple(part[:, None] for part in found)
        return best_of_beam(*given, self._beam_size, self._n_best, self._alpha, constraint=constraint, log_probs=log_probs)

    def _trees(self, problem, inputs, padding, command, words, log_probs=False, with_words=False):
        if with_words:
            constraint = WordTreeConstraint(self._grammar, tf.where(words[:, None] > 0, inputs, PADDING_ID))
        else:
            constraint = TreeConstraint(self._grammar, words)
        return self._sequences(problem, inputs, padding, command, constraint, log_probs)

    def _read(self, problem, inputs, padding, command, ids):
        """Runs a teacher-forced pass over answers [B, N, T].

        Returns:
          A dict with the names of the "blocks"; their "weights" [blocks, B, N, T, S], averaged over the heads; the "grid"
          [2] of the source, zeros if there is none; and the "lengths" [B] of the source without padding.
        """
        encoded, padding, grid, _ = self._network.encode(problem.modality, inputs, problem.padding(padding), command)
        many, length = tf.shape(ids)[1], tf.shape(ids)[2]
        source, source_padding = tf.repeat(encoded, many, axis=0), tf.repeat(padding, many, axis=0)
        flat = tf.reshape(ids, [-1, length])
        # Each answer is a row with a copy of its source.
        names, weights = source_weights(self._network, source, source_padding, command, flat)  # [blocks, B·N, T, S]
        shape = tf.concat([tf.shape(weights)[:1], tf.shape(ids), tf.shape(weights)[3:]], axis=0)
        return {
            "blocks": tf.constant(names), "weights": tf.reshape(weights, shape),
            "grid": tf.stack((0, 0) if grid is None else grid),
            "lengths": tf.reduce_sum(tf.cast(~padding, tf.int32), axis=1),
        }  # fmt: skip

    def _looks(self, problem, batch, read, row, place, count):
        """Returns the Looks of the `count` tokens of one answer."""
        # The names come out of a graph, as bytes.
        blocks = [name.decode() for name in read["blocks"]]
        length = int(read["lengths"][row])
        # Cut to the answer and the source of this row, both of which are padded for the batch.
        weights, inputs = read["weights"][:, row, place, :count, :length], batch["inputs"][row].numpy()
        if problem.modality == "language":
            return Looks(blocks, weights, self._tokenizer.pieces(inputs), None, None)
        columns = int(read["grid"][1])
        if problem.modalities[0].padded:
            # The features are shown, and padding is not a part of the recording.
            inputs = inputs[~batch["input_padding"][row].numpy()]
        return Looks(blocks, weights, [], inputs, (length // columns, columns))


def _spec(x: tf.Tensor, padded: bool) -> tf.TensorSpec:
    """Returns a spec for any number of examples and, if they are padded, any length."""
    return tf.TensorSpec([None, *([None, *x.shape[2:]] if padded else x.shape[1:])], x.dtype)


def predict(
    predictor: Predictor,
    problem: Problem,
    examples: Sequence[Example] | Examples,
    tokenizer: Tokenizer,
    audio: AudioFeatures,
    batches: BatchSettings,
    report: Report,
    at_once: int = 1,
    done: Callable[[int], None] = lambda count: None,
) -> list[Answer | None]:
    """Returns the answer to each example, in order.

    The answer is None if the image or recording of the example cannot be read, or if the example is too long.

    `at_once` is the number of batches that are decoded at the same time. The operations of a search are too small to be
    divided among the cores of a processor, so that one batch keeps little more than one core busy. `done` is called with
    the number of examples of each batch that has been answered.
    """
    return _of_each(predictor, predictor.answers, problem, examples, tokenizer, audio, batches, report, at_once, done)


def hypotheses(
    predictor: Predictor,
    problem: Problem,
    examples: Sequence[Example] | Examples,
    tokenizer: Tokenizer,
    audio: AudioFeatures,
    batches: BatchSettings,
    report: Report,
    log_probs: bool = False,
    looks: bool = False,
    at_once: int = 1,
) -> list[list[Hypothesis] | None]:
    """Returns the hypotheses for each example, like `predict` does for answers; see `Predictor.hypotheses`."""
    answer = functools.partial(predictor.hypotheses, log_probs=log_probs, looks=looks)
    return _of_each(predictor, answer, problem, examples, tokenizer, audio, batches, report, at_once)


def _of_each(
    predictor, answer: Callable, problem, examples, tokenizer, audio, batches, report: Report, at_once: int,
    done: Callable[[int], None] = lambda count: None,
) -> list:  # fmt: skip
    # Counted in the text and not in its tokens, because a leaf stands for a word.
    words = [len(one.inputs.split()) for one in examples] if predictor.constrains(problem) else []
    data = make_batches(problem, examples, tokenizer, audio, batches, report, training=False)
    # Batches are made by length, so answers are put to the places of their examples; those without a batch keep None.
    found: list = [None] * len(examples)

    def keep(places: np.ndarray, answers: Future) -> None:
        for place, one in zip(places, answers.result()):
            if place >= 0:  # other rows only fill the batch
                found[int(place)] = one
        done(int(np.sum(places >= 0)))

    waiting: deque = deque()
    with ThreadPoolExecutor(at_once) as pool:
        for batch in batches_of(data, report):
            places = batch["index"].numpy()
            counted = [words[place] if place >= 0 else 0 for place in places] if words else []
            waiting.append((places, pool.submit(answer, problem, batch, counted)))
            if len(waiting) > at_once:  # more batches would only take memory
                # The oldest first, so that `done` and errors come in the order of the batches.
                keep(*waiting.popleft())
        for one in waiting:
            keep(*one)
    return found
