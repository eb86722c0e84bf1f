"""The names that annotations of layers use. A legend of the shapes is in `t2t_mm.layers`."""

from typing import Any

# A tensor of whichever backend Keras uses, or a weight; a plain number where a size is known when tracing. TensorFlow and
# Keras come without types that a checker could hold it to.
Tensor = Any
Shape = tuple[Any, ...]  # of integers, and None where a size is not known
