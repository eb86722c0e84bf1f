"""A local server for exports, and a client for it or for TensorFlow Serving.

The server is for trying an export without a container; in production, use TensorFlow Serving (docs/serving.md). It only
relies on the conventions of TensorFlow Serving: nothing here imports the model, the problems or training. The server and the
client for REST need the extra `serve` (aiohttp).
"""
