"""The Keras dtype policy of new layers."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def made_with(policy: str | keras.DTypePolicy) -> Iterator[None]:
    """Gives this dtype policy to all layers, including sublayers, that are constructed in the context."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
