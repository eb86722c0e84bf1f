"""Accuracy of ranked classes."""

from collections.abc import Sequence

import numpy as np

from t2t_mm.corpora.example import Example


def top_k(predictions: Sequence[np.ndarray], examples: Sequence[Example]) -> dict:
    """Returns the top-1 and top-5 accuracy in percent.

    Args:
      predictions: scores [classes] of each example. Among equal scores, the lower index ranks first.
      examples: the examples, whose targets are class indices.
    """
    if not examples:
        return {}
    ranks = np.array([
        # Stable, so that equal scores, as those of a trivial baseline, have a defined order.
        np.flatnonzero(np.argsort(-np.asarray(scores), kind="stable") == example.targets)[0]
        for scores, example in zip(predictions, examples, strict=True)
    ])  # fmt: skip
    # Top-5 is what the paper reports for ImageNet (Table 1).
    return {"top1": 100 * float(np.mean(ranks < 1)), "top5": 100 * float(np.mean(ranks < 5))}
