"""One trace for equal blocks: a model of eighteen equal blocks is traced as one of them, called eighteen times.

Layers know nothing of what traces them. They hand what they compute, as a plain function of tensors, to `shared`; who
builds graphs says how a function is traced once (`t2t_mm.traces` for TensorFlow). Until then it is simply called.
"""

from collections.abc import Callable
from typing import Any

_share = None


def shared(function: Callable, *arguments: Any, **settings: Any) -> Any:
    """`function(*arguments, **settings)`, traced once for all calls with equal settings and arguments of equal shapes.

    function: of a module, not a closure: it must depend on its arguments alone. arguments: tensors, numbers or None.
    """
    return function(*arguments, **settings) if _share is None else _share(function, arguments, settings)


def share_by(share: Callable | None) -> None:
    """From now on shared functions are called by `share(function, arguments, settings)`; None calls them plainly."""
    global _share
    _share = share
