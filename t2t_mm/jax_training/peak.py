"""The speed of an accelerator's matrix product, which the share of its peak refers to."""

import functools
import time

import jax


@functools.cache
def matmul_flops(dtype: str = "float32", size: int = 8192) -> float:
    """Returns the operations per second of the product of two square matrices `[size, size]`, the best of five."""
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))  # compiles
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        jax.block_until_ready(product(a))
        seconds.append(time.perf_counter() - begun)
    return 2.0 * size**3 / min(seconds)
