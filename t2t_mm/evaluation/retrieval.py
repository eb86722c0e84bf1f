"""Measures whether the mean of an encoded input finds its own target among the targets of all examples.

A contrast (`training.settings.Objective.contrast_weight`) trains a model for this. The means of images and of texts are then
near each other if they say the same, even in a language in which no image was ever described, so that the model can be asked to
answer from the mean (`MultiModel.reads`).
"""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from t2t_mm.layers.source_mean import pooled
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem

_EQUAL = 1e-5  # cosines that differ by less do so only by rounding
_ROWS = 1024  # inputs that are compared with all targets at once


def has_retrieval(problem: Problem) -> bool:
    """Says whether the targets of a problem are texts, which the model can also read."""
    return problem.targets == "text"


class Retrieval:
    """Ranks the targets of a set by the cosine of their mean to that of each input."""

    def __init__(self, network: MultiModel):
        self._network = network
        self._functions: dict = {}

    def __call__(self, problem: Problem, data: Iterable[dict]) -> dict:
        """Returns the metrics of the whole set.

        Args:
          problem: a problem for which `has_retrieval` is true.

        Returns:
          "retrieval_top1" and "retrieval_top5": the percentage of the inputs whose own target is the nearest one, or one of the
          five nearest, of all different targets; "retrieval_median_rank", which is 1 at best; and "retrieval_chance", the
          percentage of the nearest ones that would be right by chance. Targets that are equally near count as nearer than the
          own one. The result is empty if the set is.
        """
        function, command = self._function(problem), tf.constant(self._network.command_id(problem.command))
        inputs, own = [], []
        targets: dict[bytes, tuple[int, np.ndarray]] = {}  # tokens -> place and mean
        for batch in data:
            of_inputs, of_targets = (side.numpy() for side in function(batch, command))
            ids, padding = batch["targets"].numpy(), batch["target_padding"].numpy()
            for row in np.flatnonzero(batch["index"].numpy() >= 0):  # the others only fill the batch
                tokens = ids[row][~padding[row]].tobytes()
                inputs.append(of_inputs[row])
                own.append(targets.setdefault(tokens, (len(targets), of_targets[row]))[0])
        if not inputs:
            return {}
        return ranks(np.stack(inputs), np.stack([mean for _, mean in targets.values()]), np.array(own))

    def _function(self, problem: Problem):
        def both(batch, command):
            padding = problem.padding(batch["input_padding"])
            encoded, padding, _, _ = self._network.encode(problem.modality, batch["inputs"], padding, command)
            # The target is read with the same command, as in the contrast.
            target, of_target, _, _ = self._network.encode("language", batch["targets"], batch["target_padding"], command)
            return pooled(encoded, padding), pooled(target, of_target)

        # Threads that evaluate problems of one kind must use the same function.
        return self._functions.setdefault(problem.kind, tf.function(both, reduce_retracing=True, autograph=False))


def ranks(inputs: np.ndarray, targets: np.ndarray, own: np.ndarray) -> dict:
    """Returns the metrics of `Retrieval`.

    Args:
      inputs: the means of the inputs, [N, D].
      targets: the means of all different targets, [U, D].
      own: the place of the target of each input among them, [N].
    """
    inputs, targets = (side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12) for side in (inputs, targets))
    found = []
    for begin in range(0, len(inputs), _ROWS):
        cosines = inputs[begin : begin + _ROWS] @ targets.T
        nearest = np.take_along_axis(cosines, own[begin : begin + _ROWS, None], axis=1)
        # Only targets that are farther are behind the own one, so that a model to which all of them are equal finds none.
        found.append(len(targets) - np.sum(cosines < nearest - _EQUAL, axis=1))
    rank = np.concatenate(found)
    return {
        "retrieval_top1": float(100 * np.mean(rank == 1)),
        "retrieval_top5": float(100 * np.mean(rank <= 5)),
        "retrieval_median_rank": float(np.median(rank)),
        "retrieval_chance": 100 / len(targets),
    }
