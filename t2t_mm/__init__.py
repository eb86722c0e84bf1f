"""The MultiModel of "One Model To Learn Them All" in TensorFlow and Keras 3."""

__version__ = "0.1.0"
