"""Constructors of layers that can be saved.

The model takes its parts as constructors, each with its own settings: a class, a partial, or a class with Gin bindings.
None of these can be written to a file. The layers that they make can be, because a layer knows its settings.
"""

from typing import Any

import keras

# A constructor of a part: a callable, or a dict as returned by `get_config`.
Part = Any


class Constructor:
    """Makes layers of one class with the settings of an existing layer.

    Args:
      saved: the serialised form of that layer, without the arguments that each call passes.
    """

    def __init__(self, saved: dict[str, Any]):
        self.saved = saved

    @classmethod
    def of(cls, layer: keras.layers.Layer, *given: str) -> "Constructor":
        """Returns the constructor of `layer`. `given` names the arguments that each call passes, besides the layer's name."""
        saved = _alone(keras.saving.serialize_keras_object(layer))
        settings = {name: value for name, value in saved["config"].items() if name not in ("name", *given)}
        # "build_config" and similar keys are left out, because the result is a new layer, which its owner builds.
        return cls({key: saved[key] for key in ("module", "class_name", "registered_name")} | {"config": settings})

    def __call__(self, **given: Any) -> keras.layers.Layer:
        # What the call passes takes precedence over what the original layer had.
        return keras.saving.deserialize_keras_object(self.saved | {"config": self.saved["config"] | given})


def _alone(saved: Any) -> Any:
    """Removes Keras's ids of shared objects from a serialised form, because they are only meaningful within one file."""
    if isinstance(saved, dict):
        return {key: _alone(value) for key, value in saved.items() if key != "shared_object_id"}
    return [_alone(value) for value in saved] if isinstance(saved, list | tuple) else saved


def constructor(part: Part) -> Any:
    """Returns a part as a callable, or None if the part is None."""
    # `get_config` gives dicts, so a loaded or cloned model is made from dicts where the original was made from classes.
    return Constructor(part) if isinstance(part, dict) else part
