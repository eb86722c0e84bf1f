"""Checks of arguments, so that what cannot be meant is named in one line before anything is built or computed.

Those of tensors look at static shapes and types alone: a graph is checked when it is traced, and holds nothing of it. A
dimension that is not known then (None) fits every other.
"""

from collections.abc import Sequence
from typing import Any

import keras


def at_least(lowest: int, value: int, name: str) -> int:
    """`value` if it is an integer of at least `lowest`; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name} is {value!r}; it must be an integer of at least {lowest}.")
    return value


def share(value: float, name: str) -> float:
    """`value` if it lies in [0, 1); ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1.0:
        raise ValueError(f"{name} is {value!r}; it must be at least 0 and less than 1.")
    return float(value)


def one_of(choices: Sequence[str], value: str, name: str) -> str:
    """`value` if it is one of `choices`; ValueError otherwise."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}.")
    return value


def check_features(x: Any, name: str, axes: str, depth: int | None = None) -> None:
    """ValueError unless `x` has the axes that are named, "[B, L, D]" say, and `depth` channels in the last one."""
    shape, rank = _shape(x, name), axes.count(",") + 1
    if shape is None:
        return
    if len(shape) != rank:
        raise ValueError(f"{name} has shape {_spelled(shape)}; it must be {axes}, of rank {rank}.")
    if depth is not None and not _fits(shape[-1], depth):
        raise ValueError(f"{name} has shape {_spelled(shape)}; its last dimension must be {depth}, as the layer was built.")


def check_ids(ids: Any, name: str) -> None:
    """ValueError unless `ids` are integers."""
    _shape(ids, name)
    dtype = keras.backend.standardize_dtype(ids.dtype)
    if not keras.backend.is_int_dtype(dtype) or dtype == "bool":
        raise ValueError(f"{name} is {dtype}; it must be integers.")


def check_padding(padding: Any, name: str, x: Any, axes: int, broadcast: bool = False) -> None:
    """ValueError unless `padding` is boolean and has the shape of the first `axes` of `x`.

    broadcast: a dimension of it may be 1 instead.
    """
    found, shape = _shape(padding, name), _shape(x, name)
    dtype = keras.backend.standardize_dtype(padding.dtype)
    if dtype != "bool":
        raise ValueError(f"{name} is {dtype}; it must be boolean, True where a position is padded.")
    if found is None or shape is None:
        return
    shape, one = shape[:axes], (1,) if broadcast else ()
    if len(found) != len(shape) or not all(a in one or _fits(a, b) for a, b in zip(found, shape)):
        raise ValueError(f"{name} has shape {_spelled(found)}; it must be {_spelled(shape)}, as what it is the padding of.")


def _shape(x: Any, name: str) -> tuple | None:
    """The static shape of a tensor; None where not even its rank is known."""
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise ValueError(f"{name} is {x!r}; it must be a tensor.")
    try:
        return tuple(x.shape)
    except ValueError:  # TensorFlow's, of an unknown rank
        return None


def _fits(a: Any, b: Any) -> bool:
    return not isinstance(a, int) or not isinstance(b, int) or a == b


def _spelled(shape: Sequence) -> str:
    return f"[{', '.join(str(size) if isinstance(size, int) else '?' for size in shape)}]"
