"""Which problems take part in a step."""

import numpy as np

from t2t_mm.run.errors import RunError


class MixingError(RunError):
    """A mixing that cannot be meant."""


def problems_of_step(names: list[str], mixing: str | dict[str, float], step: int, seed: int) -> list[str]:
    """The problems that step number `step` (from 1) trains on.

    Args:
      mixing: "joint" takes one batch of every problem; "round_robin" one problem a step, in order; a dict problem ->
        rate draws one problem a step with probability in proportion to its rate, the same at every resume.

    Raises:
      MixingError: another word, an unknown problem, or rates that are not positive.
    """
    if mixing == "joint":
        return names
    if mixing == "round_robin":
        return [names[(step - 1) % len(names)]]
    if not isinstance(mixing, dict):
        raise MixingError(f'mixing is {mixing!r}; it must be "joint", "round_robin" or a dict problem -> rate.')
    if set(mixing) != set(names):
        raise MixingError(f"mixing has rates for {', '.join(mixing)}; the problems are {', '.join(names)}.")
    rates = np.array([mixing[name] for name in names], float)
    if not (rates >= 0).all() or not rates.sum() > 0:
        raise MixingError(f"mixing's rates {mixing} must not be negative, nor all zero.")
    return [names[np.random.default_rng([seed, step]).choice(len(names), p=rates / rates.sum())]]
