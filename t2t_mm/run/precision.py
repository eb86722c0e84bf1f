"""The precision of matrix products."""

import contextlib
from collections.abc import Iterator

from t2t_mm.common.errors import RunError
from t2t_mm.layers.policy import made_with
from t2t_mm.spelling import near

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # Keras's names; weights are always float32


def check_precision(precision: str) -> None:
    """Checks the name of a precision.

    Raises:
      RunError: it is unknown.
    """
    if precision not in PRECISIONS:
        raise RunError(f"precision is {precision!r}{near(precision, PRECISIONS)}; it must be one of {', '.join(PRECISIONS)}.")


@contextlib.contextmanager
def layers_of(precision: str) -> Iterator[None]:
    """Makes layers that are constructed in this context compute in this precision.

    Raises:
      RunError: the precision is unknown.
    """
    check_precision(precision)
    with made_with(precision):
        yield
