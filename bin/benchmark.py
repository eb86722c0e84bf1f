"""Measures one part of the package and prints a table; with --output also JSON on disk.

    python bin/benchmark.py moe
    python bin/benchmark.py decode --output=docs/results/decode.json

The measurements are the modules of t2t_mm/lab/benchmarks; each has its settings in gin/benchmarks/NAME.gin.
"""

import importlib
import os
import shlex
import sys
import time

from absl import app, flags

from t2t_mm.corpora import example
from t2t_mm.lab import benchmarks, results
from t2t_mm.run import config
from t2t_mm.run.errors import RunError

_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration; gin/benchmarks/NAME.gin without.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Single bindings over the files.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write the figures to, with a table (.md) beside it.")


def known() -> list[str]:
    folder = os.path.dirname(benchmarks.__file__)
    return sorted(name.removesuffix(".py") for name in os.listdir(folder) if name.endswith(".py") and name[0] != "_")


def main(arguments):
    start = time.monotonic()
    if len(arguments) != 2 or arguments[1] not in known():
        raise SystemExit(f"benchmark.py: give one of {', '.join(known())}.")
    name = arguments[1]
    module = importlib.import_module(f"t2t_mm.lab.benchmarks.{name}")
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        config.parse(_GIN_FILE.value or [os.path.join(top, "gin", "benchmarks", f"{name}.gin")], _GIN_PARAM.value)
        measured = config.configured(module.run)()
        print(results.table(measured))
        if _OUTPUT.value:
            command = shlex.join(["python", *sys.argv])
            results.write_results(_OUTPUT.value, command, 0, (time.monotonic() - start) / 60, measured)
            print(f"Written to {_OUTPUT.value}")
        config.check_all_used()  # at the end, so that an idle binding does not cost what was measured
    except (config.ConfigError, example.CorpusError, RunError) as error:
        raise SystemExit(f"benchmark.py: {error}") from error


if __name__ == "__main__":
    app.run(main)
