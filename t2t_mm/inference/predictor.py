"""Answers of a trained model: batches in; text, trees or ranked classes out."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.source import Examples
from t2t_mm.incremental import IncrementalDecoder
from t2t_mm.inference.search import beam_search, sample
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.pipeline import batches_of, make_batches
from t2t_mm.input.tokenizer import Tokenizer, text_to_tree
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem

Answer = str | np.ndarray


class Predictor:
    """Decodes batches of any problem.

    Args:
      beam_size: hypotheses kept; 1 is greedy search. alpha: strength of the length penalty.
      max_length: most tokens of an answer, end token included.
      sampling: settings of `search.sample` by name, to draw answers instead of searching for the likeliest.
    """

    def __init__(
        self,
        network: MultiModel,
        tokenizer: Tokenizer,
        beam_size: int = 1,
        alpha: float = 0.6,
        max_length: int = 128,
        sampling: dict | None = None,
    ):
        if beam_size < 1 or max_length < 1:
            raise ValueError(f"beam_size {beam_size} and max_length {max_length} must be at least 1.")
        self._network, self._tokenizer, self._sampling = network, tokenizer, sampling
        self._beam_size, self._alpha, self._max_length = beam_size, alpha, max_length
        self._functions: dict = {}

    def answers(self, problem: Problem, batch: dict) -> list[Answer]:
        """One answer an example: text; a linearised tree; or for classes the log-probabilities [classes]."""
        command = tf.constant(self._network.command_id(problem.command))
        inputs, padding = batch["inputs"], batch["input_padding"]
        result = self._function(problem, inputs)(inputs, padding, command).numpy()
        if problem.targets == "class":
            return list(result)
        texts = (self._tokenizer.detokenize(ids) for ids in result)
        return [text_to_tree(text) if problem.targets == "tree" else text for text in texts]

    def _function(self, problem: Problem, inputs):
        """The decoding function, traced once for all sizes and lengths; problems of the same modalities share it."""
        kind = (problem.inputs, problem.name if problem.targets == "class" else "sequence")
        if kind not in self._functions:
            decode = self._classes if problem.targets == "class" else self._sequences
            function = lambda inputs, padding, command: decode(problem, inputs, padding, command)  # noqa: E731
            own = inputs.shape[1:] if problem.inputs == "image" else [None, *inputs.shape[2:]]
            specs = tf.TensorSpec([None, *own], inputs.dtype), tf.TensorSpec([None, None], tf.bool)
            self._functions[kind] = tf.function(function, input_signature=[*specs, tf.TensorSpec([], tf.int32)])
        return self._functions[kind]

    def _classes(self, problem, inputs, padding, command):
        padding = None if problem.inputs == "image" else padding
        encoded, padding, grid, _ = self._network.encode(problem.inputs, inputs, padding)
        logits, _ = self._network.decode_classes(encoded, padding, grid, command, problem.name)
        return tf.nn.log_softmax(logits)

    def _sequences(self, problem, inputs, padding, command):
        padding = None if problem.inputs == "image" else padding
        encoded, padding, _, _ = self._network.encode(problem.inputs, inputs, padding)
        decoder = IncrementalDecoder(self._network)
        if self._sampling is not None:
            return sample(decoder, encoded, padding, command, self._max_length, **self._sampling)[0]
        ids, _ = beam_search(decoder, encoded, padding, command, self._max_length, self._beam_size, self._alpha)
        return ids


def predict(
    predictor: Predictor,
    problem: Problem,
    examples: Sequence[Example] | Examples,
    tokenizer: Tokenizer,
    audio: AudioFeatures,
    batches: BatchSettings,
    report: Report,
) -> list[Answer | None]:
    """The answer to each example, in order; None where its picture or sound is unreadable or it is too long."""
    data = make_batches(problem, examples, tokenizer, audio, batches, report, training=False)
    found: list[Answer | None] = [None] * len(examples)
    for batch in batches_of(data, report):
        for index, answer in zip(batch["index"].numpy(), predictor.answers(problem, batch)):
            if index >= 0:  # else a row that only fills the batch
                found[int(index)] = answer
    return found
