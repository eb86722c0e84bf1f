"""Traces equal blocks only once: for eighteen equal blocks, one trace is called eighteen times.

Layers do not depend on the code that traces them. They pass their computation, as a plain function of tensors, to `shared`.
The code that builds graphs determines how such a function is traced once (`t2t_mm.traces` does so for TensorFlow).
Otherwise the function is simply called.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

_share = None


def shared(function: Callable, *arguments: Any, **settings: Any) -> Any:
    """Returns `function(*arguments, **settings)`.

    The function is traced once for all calls with equal settings and with arguments of equal shapes.

    Args:
      function: a function of a module, not a closure, because it must depend only on its arguments.
      arguments: tensors, numbers or None.
    """
    return function(*arguments, **settings) if _share is None else _share(function, arguments, settings)


def share_by(share: Callable | None) -> None:
    """Makes `share(function, arguments, settings)` call all shared functions from now on. With None, `shared` calls them."""
    global _share
    _share = share


@contextlib.contextmanager
def unshared() -> Iterator[None]:
    """Calls shared functions directly in this context, so that the graph optimizer can look inside them."""
    before = _share
    share_by(None)
    try:
        yield
    finally:
        share_by(before)
