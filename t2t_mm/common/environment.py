"""The environment variables that make decoding on a CPU faster and return free memory."""

import os

# docs/serving.md sets the same variables for TensorFlow Serving. Decoding multiplies small matrices thousands of times, and the
# lookup of oneDNN's primitive costs more than such a product. By default, the C library keeps free memory in an arena for each
# thread.
VARIABLES = {"TF_ENABLE_ONEDNN_OPTS": "0", "MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576"}


def prepare() -> None:
    """Sets the variables of TensorFlow unless they are set. Call it before TensorFlow is imported.

    It is too late for the variables of the C library, which reads them when the process starts. `serving.memory.bound` has the
    same effect as they do.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", VARIABLES["TF_ENABLE_ONEDNN_OPTS"])
