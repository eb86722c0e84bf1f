"""A local server for exports, and a client for it or for TensorFlow Serving.

The server is for trying an export without a container; in production, use TensorFlow Serving (docs/serving.md). It only
relies on the conventions of TensorFlow Serving: nothing here imports the model, the problems or training.
"""

import importlib.util

for _package in ("aiohttp", "grpc", "tensorflow_serving"):
    if importlib.util.find_spec(_package) is None:
        raise ImportError(f"Serving needs {_package}: pip install 't2t_mm[serve]' (in a checkout: -e '.[serve]').")
