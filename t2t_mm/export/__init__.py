"""A trained model as a SavedModel that TensorFlow Serving runs: whole pipelines in the graph, bytes in, answers out."""
