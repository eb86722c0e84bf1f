"""Checks of arguments, which report an invalid value in one line before anything is built or computed.

The checks of tensors only look at static shapes and types. They run when a graph is traced and add nothing to it. A
dimension that is unknown at that time (None) matches any other.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras

from t2t_mm.spelling import near


def at_least(lowest: int, value: int, name: str) -> int:
    """Returns `value`.

    Raises:
      ValueError: it is not an integer of at least `lowest`.
    """
    # In Python, True is an integer, and would pass as 1.
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name} is {value!r}; it must be an integer of at least {lowest}.")
    return value


def share(value: float, name: str) -> float:
    """Returns `value` as a float.

    Raises:
      ValueError: it is not a number in [0, 1).
    """
    # The comparison is negated, because all comparisons with NaN are false and NaN must be refused.
    if not _is_number(value) or not 0.0 <= value < 1.0:
        raise ValueError(f"{name} is {value!r}; it must be at least 0 and less than 1.")
    return float(value)


def not_negative(value: float, name: str) -> float:
    """Returns `value`.

    Raises:
      ValueError: it is not a finite number of at least 0.
    """
    if not _is_number(value) or not 0.0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}; it must be a number of at least 0.")
    return value


def positive(value: float, name: str) -> float:
    """Returns `value`.

    Raises:
      ValueError: it is not a finite number greater than 0.
    """
    if not _is_number(value) or not 0.0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; it must be a number greater than 0.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_of(choices: Sequence[str], value: str, name: str) -> str:
    """Returns `value`.

    Raises:
      ValueError: it is not one of `choices`.
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}{near(value, choices)}; it must be one of {', '.join(map(repr, choices))}.")
    return value


def check_features(x: Any, name: str, axes: str, depth: int | None = None) -> None:
    """Checks the shape of a tensor.

    Args:
      axes: the expected axes, such as "[B, L, D]".
      depth: the expected size of the last axis. Default: any size.

    Raises:
      ValueError: `x` is not a tensor, or has another rank or depth.
    """
    shape, rank = _shape(x, name), axes.count(",") + 1
    if shape is None:
        return
    if len(shape) != rank:
        raise ValueError(f"{name} has shape {_spelled(shape)}; it must be {axes}, of rank {rank}.")
    if depth is not None and not _fits(shape[-1], depth):
        raise ValueError(f"{name} has shape {_spelled(shape)}; its last dimension must be {depth}, as the layer was built.")


def check_ids(ids: Any, name: str) -> None:
    """Checks that `ids` are integers.

    Raises:
      ValueError: they are not.
    """
    _shape(ids, name)
    dtype = keras.backend.standardize_dtype(ids.dtype)
    if not keras.backend.is_int_dtype(dtype) or dtype == "bool":
        raise ValueError(f"{name} is {dtype}; it must be integers.")


def check_padding(padding: Any, name: str, x: Any, axes: int, broadcast: bool = False) -> None:
    """Checks that `padding` is boolean and has the shape of the first `axes` axes of `x`.

    Args:
      broadcast: whether dimensions of `padding` may also be 1.

    Raises:
      ValueError: `padding` has another type or shape.
    """
    found, shape = _shape(padding, name), _shape(x, name)
    dtype = keras.backend.standardize_dtype(padding.dtype)
    # A mask of numbers would be ambiguous: in many libraries, 1 marks the positions that are kept.
    if dtype != "bool":
        raise ValueError(f"{name} is {dtype}; it must be boolean, True where a position is padded.")
    if found is None or shape is None:
        return
    shape, one = shape[:axes], (1,) if broadcast else ()
    if len(found) != len(shape) or not all(a in one or _fits(a, b) for a, b in zip(found, shape)):
        raise ValueError(f"{name} has shape {_spelled(found)}; it must be {_spelled(shape)}, like the tensor it pads.")


def _shape(x: Any, name: str) -> tuple | None:
    """Returns the static shape of a tensor, or None if its rank is unknown."""
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise ValueError(f"{name} is {x!r}; it must be a tensor.")
    try:
        return tuple(x.shape)
    except ValueError:  # raised by TensorFlow if the rank is unknown
        return None


def _fits(a: Any, b: Any) -> bool:
    # A size that is not an int is unknown while tracing, either None or a tensor.
    return not isinstance(a, int) or not isinstance(b, int) or a == b


def _spelled(shape: Sequence) -> str:
    return f"[{', '.join(str(size) if isinstance(size, int) else '?' for size in shape)}]"
