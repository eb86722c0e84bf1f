"""Training with JAX on an accelerator, many runs of one architecture at once, each in a lane of the same computation.

`pack` writes runs and their corpora as arrays, `train` trains them without TensorFlow, and `unpack` makes folders of them
that all other commands read. See docs/accelerators.md.
"""
