"""A local server for exports, and a client for it or for TensorFlow Serving.

For trying an export where no container runs; production is TensorFlow Serving's job (docs/serving.md). Knows exports
only by TensorFlow Serving's own conventions: nothing here imports the model, the problems or training.
"""

import importlib.util

for _package in ("aiohttp", "grpc", "tensorflow_serving"):
    if importlib.util.find_spec(_package) is None:
        raise ImportError(f"Serving needs {_package}: pip install 't2t_mm[serve]' (in a checkout: -e '.[serve]').")
