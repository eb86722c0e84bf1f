"""Measurements, one module each: `run(...)` returns case -> {figure: value}; `bin/benchmark.py NAME` calls it.

A module's settings are bound in `gin/benchmarks/NAME.gin`.
"""
