"""The teacher-forced results of a model on each example of a set. Without TensorFlow, because JAX training measures, too."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Measured:
    """The teacher-forced results of a model on each example of a set, as arrays [examples].

    Attributes:
      index: the place of the example in its split.
      nats: the sum of −ln p over its tokens.
      right, right5: number of tokens whose target is the most likely one, or among the five most likely.
      tokens: number of tokens.
      experts: mixture ("encoder" or "decoder") -> sum of the gates of each expert [E] over the set.
    """

    index: np.ndarray
    nats: np.ndarray
    right: np.ndarray
    right5: np.ndarray
    tokens: np.ndarray
    experts: dict[str, np.ndarray]

    def figures(self) -> dict:
        """Returns the log-perplexity (nats per token over the whole set) and the accuracies of tokens and sequences (percent).

        If the set is empty, the result only contains its size.
        """
        if not len(self.index):
            return {}
        tokens = self.tokens.sum()
        return {
            # Per token of the whole set and not per sentence, as the paper's tables.
            "log_perplexity": float(self.nats.sum() / tokens),
            "token_accuracy": float(100 * self.right.sum() / tokens),
            "token_top5": float(100 * self.right5.sum() / tokens),
            # Table 3: all tokens of a sequence, including its end.
            "sequence_accuracy": float(100 * np.mean(self.right == self.tokens)),
        }

    def record(self) -> dict:
        """Returns what scores keep of each example and expert, as lists of numbers."""
        return {
            "examples": {
                "nats": [round(float(value), 5) for value in self.nats],
                "right": [int(value) for value in self.right],
                "tokens": [int(value) for value in self.tokens],
            },
            "experts": {name: [float(value) for value in gates] for name, gates in self.experts.items()},
        }
