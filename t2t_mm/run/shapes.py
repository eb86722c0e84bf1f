"""A model whose variables have paths and shapes, but no values."""

import concurrent.futures
from collections.abc import Callable
from typing import Any

import keras


def without_values(build: Callable) -> Any:
    """Returns the result of `build`, a model or layer with its weights, without allocating memory for their values."""

    def stateless():
        with keras.StatelessScope(initialize_variables=False):
            return build()

    # Keras keeps one list per thread of variables without values and initializes all of them when that thread leaves
    # its next StatelessScope (decoding opens one). For a paper-size model that would allocate gigabytes, so the model
    # is built in a thread that ends right away.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(stateless).result()
