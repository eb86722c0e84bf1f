"""Selects the problems that take part in a training step."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from t2t_mm.common.errors import RunError
from t2t_mm.spelling import near


class MixingError(RunError):
    """Raised for an invalid `mixing`."""


@dataclasses.dataclass(frozen=True)
class BySize:
    """Rates that are proportional to min(n, limit)^(1/temperature), where n is the number of training examples.

    (Raffel et al. 2019, arXiv 1910.10683, 3.5.2; Arivazhagan et al. 2019, arXiv 1907.05019.)

    Attributes:
      temperature: 1 draws every example equally often. Higher values favour small problems, until all problems have the
        same rate. Values between 0 and 1 favour large problems.
      limit: maximum number of examples that count for a problem; None for no limit.

    Raises:
      MixingError: a value is not positive.
    """

    temperature: float = 1.0
    limit: int | None = None

    def __post_init__(self):
        # Negated, so that NaN is refused, too.
        if not 0 < self.temperature < math.inf:
            raise MixingError(f"BySize.temperature is {self.temperature!r}; it must be above 0 and finite.")
        if self.limit is not None and self.limit < 1:
            raise MixingError(f"BySize.limit is {self.limit!r}; it must be at least 1.")

    def rates(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """Returns a dict of problem -> rate. The rates sum to 1.

        Args:
          sizes: problem -> number of its training examples.
        """
        counts = {name: size if self.limit is None else min(size, self.limit) for name, size in sizes.items()}
        # Uses logarithms, because with a low temperature the powers would overflow.
        logs = np.log(np.array(list(counts.values()), float)) / self.temperature
        # Relative to the largest, so that no exponential overflows.
        shares = np.exp(logs - logs.max())
        return dict(zip(counts, (shares / shares.sum()).tolist()))


def describe(mixing: "str | Mapping[str, float] | BySize", sizes: Mapping[str, int], steps: int) -> list[str]:
    """Returns one line for each problem with its examples, its rate, and its expected number of batches in a run.

    If every step takes all problems, there are no rates, and the result is empty.

    Args:
      mixing: as in `problems_of_step`, or a `BySize`.
      sizes: problem -> number of its training examples.
      steps: total number of batches in the run.
    """
    # Every problem has as many batches as there are steps, so there is nothing to tell.
    if mixing == "joint":
        return []
    if isinstance(mixing, str):
        rates = {name: 1 / len(sizes) for name in sizes}
    else:
        rates = mixing.rates(sizes) if isinstance(mixing, BySize) else dict(mixing)
    total = sum(rates.values())
    return [
        f"Mixing: {name}, {size:,} examples, rate {100 * rates[name] / total:.1f}%, "
        f"about {steps * rates[name] / total:,.0f} of {steps:,} batches"
        for name, size in sizes.items()
    ]


def problems_of_step(names: list[str], mixing: str | Mapping[str, float], step: int, seed: int) -> list[str]:
    """Returns the problems of a training step.

    Args:
      names: all problems.
      mixing: "joint" uses one batch of every problem. "round_robin" uses one problem per step, in turn. A dict problem
        -> rate draws one problem per step with a probability proportional to its rate; the draw depends only on seed
        and step, so that a resumed run draws the same problems.
      step: number of the step, starting at 1.
      seed: seed of the draws.

    Raises:
      MixingError: `mixing` is another word, it names other problems, or its rates are not numbers, not finite, negative or
        all zero.
    """
    if mixing == "joint":
        return names
    if mixing == "round_robin":
        return [names[(step - 1) % len(names)]]
    if not isinstance(mixing, Mapping):
        hint = near(mixing, ("joint", "round_robin"))
        raise MixingError(
            f'mixing is {mixing!r}{hint}; it must be "joint", "round_robin", a dict of problem -> rate, or @mixing.BySize().'
        )
    if unknown := [name for name in mixing if name not in names]:
        raise MixingError(
            f"mixing names {unknown[0]!r}, which is not a problem of this run{near(unknown[0], names)}; the problems are "
            f"{', '.join(names)}."
        )
    if set(mixing) != set(names):
        raise MixingError(f"mixing has rates for {', '.join(mixing)}; the problems are {', '.join(names)}.")
    for name, rate in mixing.items():
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not math.isfinite(rate):
            raise MixingError(f"The rate of {name} in mixing is {rate!r}; it must be a finite number.")
    rates = np.array([mixing[name] for name in names], float)
    if not (rates >= 0).all() or not rates.sum() > 0:
        raise MixingError(f"The rates of mixing, {mixing}, must not be negative, and at least one must be above zero.")
    # A generator of its own for each step, so that a resumed run needs no state.
    return [names[np.random.default_rng([seed, step]).choice(len(names), p=rates / rates.sum())]]
