"""The configuration that training, evaluation and decoding share: the problems, the vocabulary and the model."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.subset import Subset
from t2t_mm.inference.search import Decoding
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.modalities.known import KNOWN
from t2t_mm.modalities.modality import Modality
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.run.precision import layers_of
from t2t_mm.run.weights import Weights
from t2t_mm.spelling import near
from t2t_mm.traces import trace_once


class Experiment:
    """The problems of a run, and the settings that they share.

    Args:
      problems: the problems, in the order in which they are reported.
      vocabulary: path of the SentencePiece model.
      model: MultiModel, or a configured constructor of it.
      batches: the sizes of batches.
      audio: the features of audio.
      more: additional problems. Like `only`, this is for a run that only differs from another one in its problems.
      only: names of the problems to use, in this order. Default: all problems.
      limits: problem -> maximum number of its training examples. A larger limit selects a superset (see `Subset`).
      weights: the checkpoint that is evaluated, decoded with and exported.

    Attributes:
      problems: the problems in use, with `limits` applied.

    Raises:
      RunError: there is no problem, two problems or two modalities have the same name, `only` or `limits` names an unknown
        problem, or a limit is less than 1.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        vocabulary: str,
        model: Callable = MultiModel,
        batches: BatchSettings = BatchSettings(),
        audio: AudioFeatures = AudioFeatures(),
        more: Sequence[Problem] = (),
        only: Sequence[str] = (),
        limits: dict[str, int] | None = None,
        weights: Weights = Weights(),
    ):
        self.vocabulary, self.model, self.batches, self.audio = vocabulary, model, batches, audio
        self.weights = weights
        self.problems = [*problems, *more]
        names = [problem.name for problem in self.problems]
        if not names:
            raise RunError("There are no problems; the list `problems` is empty.")
        if len(set(names)) < len(names):
            raise RunError(f"A problem is named twice in {', '.join(names)}.")
        # Not an error, because prepared records may only contain some of the problems.
        for name in sorted((batches.factors or {}).keys() - set(names)):
            logging.warning("BatchSettings.factors names %r, which is not a problem of this run%s.", name, near(name, names))
        declared: dict[str, Modality] = {}
        for modality in (one for problem in self.problems for one in problem.modalities):
            if declared.setdefault(modality.name, modality) is not modality:
                raise RunError(
                    f"Two modalities are called {modality.name!r}; problems with the same modality must share its declaration."
                )
        self._own = {name: modality for name, modality in declared.items() if name not in KNOWN}
        if only:
            if len(set(only)) < len(only):
                raise RunError(f"A problem is named twice in Experiment.only: {', '.join(only)}.")
            self.problems = [self.problem(name) for name in only]
        for name, examples in (limits or {}).items():
            problem = self.problem(name)
            if isinstance(examples, bool) or not isinstance(examples, int) or examples < 1:
                raise RunError(f"Experiment.limits of {name} is {examples!r}; it must be a number of examples, at least 1.")
            limited = dataclasses.replace(problem, source=Subset(problem.source, examples))
            self.problems = [limited if one is problem else one for one in self.problems]

    def with_vocabulary(self, path: str) -> "Experiment":
        """Returns the same experiment with another vocabulary."""
        return self._with(vocabulary=path)

    def with_problems(self, problems: Sequence[Problem]) -> "Experiment":
        """Returns the same experiment with other problems."""
        return self._with(problems=list(problems))

    def with_weights(self, weights: Weights) -> "Experiment":
        """Returns the same experiment with another choice of checkpoints."""
        return self._with(weights=weights)

    def _with(self, **changed: Any) -> "Experiment":
        other = copy.copy(self)
        vars(other).update(changed)
        return other

    def problem(self, name: str) -> Problem:
        """Returns the problem called `name`.

        Raises:
          RunError: there is no such problem; the message lists all names.
        """
        for problem in self.problems:
            if problem.name == name:
                return problem
        known = [problem.name for problem in self.problems]
        raise RunError(f"Unknown problem {name!r}{near(name, known)}; this run has {', '.join(known)}.")

    @property
    def longest_answer(self) -> int:
        """The default maximum number of tokens of an answer: that of the targets in training, and at least 128.

        Otherwise, a model of longer targets, such as the trees of long sentences, would have its answers cut.
        """
        return max(Decoding.max_length, self.batches.max_length)

    def describe(self) -> dict:
        """Returns the description of a model for these problems. Reads the class names from the corpora."""
        return {
            "vocabulary": Tokenizer(self.vocabulary).fingerprint,
            "commands": sorted({problem.command for problem in self.problems}),
            "inputs": sorted({one.name for problem in self.problems for one in problem.modalities}),
            "class_names": {p.name: p.class_names() for p in self.problems if p.targets == "class"},
            "frequency_bins": self.audio.bins,
        }

    def build_model(self, description: dict, precision: str = "float32") -> MultiModel:
        """Builds the model of a description, with all weights.

        Args:
          description: as `describe` returns it.
          precision: "float32", or "mixed_bfloat16" or "mixed_float16" to multiply matrices in this type. The weights are always
            float32.

        Raises:
          RunError: the precision is unknown, a setting of the model is invalid, or no problem declares one of the modalities.
        """
        trace_once()
        unknown = [name for name in description["inputs"] if name not in KNOWN and name not in self._own]
        if unknown:
            raise RunError(f"The model has the modality {unknown[0]!r}, which no problem of this configuration declares.")
        with layers_of(precision):
            try:
                built = self.model(
                    vocabulary_size=Tokenizer(self.vocabulary).size,
                    commands=tuple(description["commands"]),
                    inputs=tuple(self._own.get(name, name) for name in description["inputs"]),
                    num_classes={name: len(classes) for name, classes in description["class_names"].items()},
                    frequency_bins=description["frequency_bins"],
                )
                built.build()
            except ValueError as error:  # the message of the layer names the invalid argument
                raise RunError(str(error)) from error
        return built
