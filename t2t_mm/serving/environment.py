"""The environment variables with which an export is served best on a CPU."""

import os

# docs/serving.md gives the same to TensorFlow Serving. Decoding multiplies small matrices thousands of times, and looking
# up oneDNN's primitive costs more than such a product. The C library keeps what was freed, in an arena for each thread.
VARIABLES = {"TF_ENABLE_ONEDNN_OPTS": "0", "MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576"}


def prepare() -> None:
    """Sets those of TensorFlow that are not set; call it before TensorFlow is imported.

    The C library has read its own by then: `memory.bound` does what they do.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", VARIABLES["TF_ENABLE_ONEDNN_OPTS"])
