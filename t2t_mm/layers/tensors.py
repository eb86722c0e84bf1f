"""Names for the type annotations of layers. `t2t_mm.layers` explains the letters of the shapes."""

from typing import Any

# A tensor of Keras's backend, a weight, or a plain number if a size is known when tracing. It is Any, because TensorFlow
# and Keras have no types that a type checker could use.
Tensor = Any
Shape = tuple[Any, ...]  # of integers, and None for unknown sizes
