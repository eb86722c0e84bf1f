"""Exports a trained model as a SavedModel for TensorFlow Serving, with the pipeline from bytes to answers in the graph."""
