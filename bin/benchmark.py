"""Measures one part of the package and prints a table. With --output, also writes the measurements as JSON.

    python bin/benchmark.py moe
    python bin/benchmark.py decode --output=docs/results/decode.json

The benchmarks are the modules in t2t_mm/lab/benchmarks. The settings of each are in gin/benchmarks/NAME.gin.
"""

import importlib
import inspect
import os
import time
from collections.abc import Callable, Sequence

from absl import flags

from t2t_mm.common import command, config, environment
from t2t_mm.lab import benchmarks, results

_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration files. Default: gin/benchmarks/NAME.gin.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the files; may be repeated.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the measurements; a table (.md) is written next to it.")

# These train in this process, so the cores are divided as in bin/train.py. Of scaling, each process decides for itself.
_TRAINING = ("bfloat16", "input", "memory", "train", "xla")


def known() -> list[str]:
    folder = os.path.dirname(benchmarks.__file__)
    return sorted(name.removesuffix(".py") for name in os.listdir(folder) if name.endswith(".py") and name[0] != "_")


def seeds_of(run: Callable) -> int | Sequence[int]:
    """Returns the random seeds of a benchmark: its argument `seeds`, or 0, which those without this argument set."""
    argument = inspect.signature(run).parameters.get("seeds")
    return 0 if argument is None else list(config.arguments_of(run).get("seeds", argument.default))


def main(arguments):
    start = time.monotonic()
    name = arguments[1]
    gin_files = _GIN_FILE.value or [f"gin/benchmarks/{name}.gin"]
    config.check_files(gin_files)
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":  # with JAX, TensorFlow need not be installed
        if name == "decode":  # with the settings of bin/decode.py
            environment.prepare()
        command.load_tensorflow()
    if name in _TRAINING:
        from t2t_mm.training import strategy

        strategy.divide_cores()
    module = importlib.import_module(f"t2t_mm.lab.benchmarks.{name}")
    config.parse(gin_files, _GIN_PARAM.value)
    measured = config.configured(module.run)()
    print(results.table(measured))
    if _OUTPUT.value:
        minutes = (time.monotonic() - start) / 60
        results.write_results(_OUTPUT.value, command.line(), seeds_of(module.run), minutes, measured)
        print(f"Written to {_OUTPUT.value}")
    config.check_all_used()  # at the end, so that an unused binding does not discard the measurements


if __name__ == "__main__":
    command.run(main, known())
