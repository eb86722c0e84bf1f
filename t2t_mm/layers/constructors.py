"""Constructors of layers that can be saved.

The model takes its parts as constructors, each configured by itself: a class, a partial, a class with Gin's bindings. None
of them can be written to a file. The layers that they make can, because a layer knows its settings.
"""

from typing import Any

import keras

# What layers take for a constructor of their parts: a callable, or a dict as their `get_config` returns it.
Part = Any


class Constructor:
    """Makes layers of one class with the settings of a layer that was made before.

    Args:
      saved: the serialised form of that layer, without what each call gives.
    """

    def __init__(self, saved: dict[str, Any]):
        self.saved = saved

    @classmethod
    def of(cls, layer: keras.layers.Layer, *given: str) -> "Constructor":
        """The constructor of `layer`; `given` names the arguments that each call gives, besides the layer's name."""
        saved = _alone(keras.saving.serialize_keras_object(layer))
        settings = {name: value for name, value in saved["config"].items() if name not in ("name", *given)}
        # Without "build_config" and the like: what is made from it is a new layer, which its owner builds.
        return cls({key: saved[key] for key in ("module", "class_name", "registered_name")} | {"config": settings})

    def __call__(self, **given: Any) -> keras.layers.Layer:
        return keras.saving.deserialize_keras_object(self.saved | {"config": self.saved["config"] | given})


def _alone(saved: Any) -> Any:
    """A serialised form without Keras's numbers of objects that are shared within one file, which mean nothing outside."""
    if isinstance(saved, dict):
        return {key: _alone(value) for key, value in saved.items() if key != "shared_object_id"}
    return [_alone(value) for value in saved] if isinstance(saved, list | tuple) else saved


def constructor(part: Part) -> Any:
    """The callable of a part; None stays None."""
    return Constructor(part) if isinstance(part, dict) else part
