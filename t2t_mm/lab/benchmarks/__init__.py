"""Benchmarks, one per module.

`bin/benchmark.py NAME` calls the module's `run(...)`, which returns case -> {figure: value}. The settings of a module
are bound in `gin/benchmarks/NAME.gin`.
"""
