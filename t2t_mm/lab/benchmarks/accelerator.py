"""Measures forward and backward passes on an accelerator with the JAX backend of Keras, without TensorFlow.

KERAS_BACKEND=jax python bin/benchmark.py accelerator --output=docs/results/accelerator.json
"""

import time
from collections.abc import Callable, Sequence

import keras
import numpy as np

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.source import NoExamples
from t2t_mm.lab import inspection
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.losses import problem_loss
from t2t_mm.problem import Problem

_COMMAND = "To-Benchmark"


def run(
    models: dict[str, Callable],
    batch_sizes: Sequence[int] = (64, 256),
    tokens: int = 64,
    vocabulary_size: int = 8192,
    policies: Sequence[str] = ("float32", "mixed_bfloat16"),
    peak_size: int = 8192,
    depth: int = 1024,
    hidden: int = 2048,
    chosen: int = 4,
    experts: Sequence[int] = (16, 60, 240),
    mixture_tokens: int = 8192,
    repeats: int = 10,
) -> dict[str, dict]:
    """Times the training loss and gradients of each model on translation, and the mixture against a dense layer.

    The text is random: `tokens` tokens in and out, without padding. FLOPs are three times the forward pass as estimated
    by `t2t_mm.lab.inspection`. The share of peak is relative to the measured product of two matrices
    `[peak_size, peak_size]` in the same precision. A case that does not fit into memory is reported as `out_of_memory`.
    The dense layer has `chosen · hidden` hidden units, as many as the chosen experts together. `peak_memory_of_process_gib` is
    the most that any case up to this one has used, because JAX never resets the peak.

    Args:
      models: name -> MultiModel, or a configured constructor of it.

    Raises:
      RunError: Keras does not use the JAX backend.
    """
    if keras.backend.backend() != "jax":
        raise RunError("The accelerator benchmark needs JAX: set KERAS_BACKEND=jax in the environment.")
    import jax

    from t2t_mm.jax_training.peak import matmul_flops

    device = jax.devices()[0]
    peaks = {policy: matmul_flops(_compute_dtype(policy), peak_size) for policy in policies}
    found: dict = {"machine": {"device": f"{len(jax.devices())} x {device.device_kind}", "jax": jax.__version__}}
    found["machine"] |= {f"{policy}_matmul_tflops": peak / 1e12 for policy, peak in peaks.items()}
    before = keras.config.dtype_policy()
    try:
        for policy, peak in peaks.items():
            keras.config.set_dtype_policy(policy)
            for name, model in models.items():
                for size in batch_sizes:
                    case = f"{name}, {policy}, batch {size}"
                    found[case] = _if_it_fits(_translation, model, vocabulary_size, size, tokens, repeats, peak)
            for pool in experts:
                case = f"mixture of {pool}, {policy}"
                found[case] = _if_it_fits(_mixture, depth, hidden, chosen, pool, mixture_tokens, repeats)
    finally:
        keras.config.set_dtype_policy(before)
    return found


def _compute_dtype(policy: str) -> str:
    return keras.dtype_policies.get(policy).compute_dtype


def _if_it_fits(measure: Callable, *arguments) -> dict:
    import jax

    try:
        return measure(*arguments)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"out_of_memory": True}


def _seconds(functions: Sequence[Callable], repeats: int) -> list[tuple[float, float]]:
    """Returns (median seconds, seconds of the first call, which compiles) of each function.

    The functions take turns, so that a change in the machine's speed affects all of them alike.
    """
    import jax

    def call(function):
        start = time.perf_counter()
        jax.block_until_ready(function())
        return time.perf_counter() - start

    first = [call(function) for function in functions]
    found = np.array([[call(function) for function in functions] for _ in range(repeats)])
    return list(zip(np.median(found, axis=0), first))


def _gradients(variables, loss: Callable) -> Callable:
    """Returns a compiled function without arguments that computes the loss and its gradient for each variable.

    Random states are read but not advanced, so that every call applies the same dropout.

    Args:
      loss: a function without arguments, written with keras.ops.
    """
    import jax

    values = [variable.value for variable in variables]

    @jax.jit
    def both(values):
        def of(values):
            with keras.StatelessScope(state_mapping=list(zip(variables, values))):
                return loss()

        return jax.value_and_grad(of)(values)

    return lambda: both(values)


def _translation(model, vocabulary_size: int, size: int, tokens: int, repeats: int, peak: float) -> dict[str, float]:
    import jax

    keras.utils.set_random_seed(0)
    problem = Problem("translation", NoExamples(), inputs="language", targets="text", command=_COMMAND)
    network = model(vocabulary_size=vocabulary_size, commands=(_COMMAND,), inputs=("language",))
    network.build()
    ids = np.random.default_rng(0).integers(3, vocabulary_size, (2, size, tokens), np.int32)
    nothing = np.zeros((size, tokens), bool)
    batch = {"inputs": ids[0], "input_padding": nothing, "targets": ids[1], "target_padding": nothing}
    batch = {name: keras.ops.convert_to_tensor(value) for name, value in batch.items()}
    step = _gradients(network.trainable_variables, lambda: problem_loss(network, problem, batch, 0.1, 0.01)[0])
    ((seconds, first),) = _seconds([step], repeats)
    lengths = inspection.Lengths(tokens)
    flops = 3.0 * size * sum(inspection.example_cost(network, problem, None, lengths).flops.values())
    memory = jax.devices()[0].memory_stats() or {}  # None on a CPU
    return {
        "parameters": network.count_params(),
        "milliseconds": 1e3 * seconds,
        "target_tokens_per_second": size * tokens / seconds,
        "gflop": flops / 1e9,
        "share_of_peak": flops / seconds / peak,
        "first_call_seconds": first,
    } | ({"peak_memory_of_process_gib": memory["peak_bytes_in_use"] / 2**30} if "peak_bytes_in_use" in memory else {})


def _mixture(depth: int, hidden: int, chosen: int, pool: int, tokens: int, repeats: int) -> dict[str, float]:
    """Times both passes of one mixture with random gates, and of a dense layer with as many active weights."""
    keras.utils.set_random_seed(0)
    mixture = MixtureOfExperts(pool, chosen, hidden)
    mixture.build((None, None, depth))
    mixture.gate.assign(keras.random.normal(mixture.gate.shape, stddev=depth**-0.5))
    layers = keras.layers
    dense = keras.Sequential(
        [layers.Dense(chosen * hidden, activation="relu", use_bias=False), layers.Dense(depth, use_bias=False)]
    )
    dense.build((None, None, depth))
    x = keras.ops.cast(keras.random.normal((1, tokens, depth)), mixture.compute_dtype)
    nothing = keras.ops.zeros((1, tokens), "bool")

    def squared(y):
        return keras.ops.mean(keras.ops.square(keras.ops.cast(y, "float32")))

    (sparse, _), (plain, _) = _seconds(
        [
            _gradients(mixture.trainable_variables, lambda: squared(mixture(x, nothing, training=True)[0])),
            _gradients(dense.trainable_variables, lambda: squared(dense(x))),
        ],
        repeats,
    )
    return {"milliseconds": 1e3 * sparse, "dense_milliseconds": 1e3 * plain, "over_dense": sparse / plain}
