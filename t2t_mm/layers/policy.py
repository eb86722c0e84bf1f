"""Keras's dtype policy of what is made."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def made_with(policy: str | keras.DTypePolicy) -> Iterator[None]:
    """Layers that are made inside, and their sublayers, have this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
