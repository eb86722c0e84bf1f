"""Formats the figures of the reports as text."""

_FINE = {"log_perplexity", "cider"}  # metrics printed with three decimals; the others are percentages


def number(value: float, metric: str) -> str:
    """Formats a figure with the usual number of decimals of its metric."""
    return f"{value:.3f}" if metric.removesuffix("_pivot") in _FINE else f"{value:.1f}"


def with_spread(found: dict | None, metric: str) -> str:
    """Formats mean ± standard deviation over the seeds, or a dash if there are no values."""
    if found is None:
        return "–"
    return number(found["mean"], metric) + (f" ± {number(found['std'], metric)}" if found["std"] is not None else "")


def paper(value: float) -> str:
    """Formats a figure of the paper."""
    return f"{value:g}"


def significance(result: dict) -> str:
    """Says whether the difference of a comparison is beyond noise."""
    return "beyond noise" if result["beyond_noise"] else "noise"
