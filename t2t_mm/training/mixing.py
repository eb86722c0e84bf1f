"""Selects the problems that take part in a training step."""

import numpy as np

from t2t_mm.run.errors import RunError


class MixingError(RunError):
    """Raised for an invalid `mixing`."""


def problems_of_step(names: list[str], mixing: str | dict[str, float], step: int, seed: int) -> list[str]:
    """Returns the problems of a training step.

    Args:
      names: all problems.
      mixing: "joint" uses one batch of every problem. "round_robin" uses one problem per step, in turn. A dict problem
        -> rate draws one problem per step with a probability proportional to its rate; the draw depends only on seed
        and step, so that a resumed run draws the same problems.
      step: number of the step, starting at 1.
      seed: seed of the draws.

    Raises:
      MixingError: `mixing` is another word, it names other problems, or its rates are negative or all zero.
    """
    if mixing == "joint":
        return names
    if mixing == "round_robin":
        return [names[(step - 1) % len(names)]]
    if not isinstance(mixing, dict):
        raise MixingError(f'mixing is {mixing!r}; it must be "joint", "round_robin" or a dict of problem -> rate.')
    if set(mixing) != set(names):
        raise MixingError(f"mixing has rates for {', '.join(mixing)}; the problems are {', '.join(names)}.")
    rates = np.array([mixing[name] for name in names], float)
    if not (rates >= 0).all() or not rates.sum() > 0:
        raise MixingError(f"The rates of mixing, {mixing}, must not be negative, and at least one must be above zero.")
    return [names[np.random.default_rng([seed, step]).choice(len(names), p=rates / rates.sum())]]
