"""The base class of the nets that map inputs to the unified representation (paper, 2.5)."""

import inspect

import keras

from t2t_mm.layers.tensors import Tensor


class InputNet(keras.layers.Layer):
    """Base class of the nets of all modalities, including custom ones.

    A net is constructed with `depth` and `name`, built with the shape of a batch, `[None, *Modality.shape]`, and called
    with a batch and its padding.
    """

    def sequence(self, x: Tensor, padding: Tensor, training: bool = False) -> tuple[Tensor, Tensor, tuple | None]:
        """Returns a batch as a sequence in the unified representation. By default, this is the result of calling the layer.

        Args:
          x: a batch of arrays, `[B, *Modality.shape]`.
          padding: boolean [B, L], True where a position of the first axis is padded; None if the modality is not padded.
          training: whether the model is being trained, which only layers such as Dropout and BatchNormalization ask for.

        Returns:
          The sequence [B, S, D], its padding [B, S], and its grid (rows, columns) with rows · columns = S if it has two
          dimensions, otherwise None.
        """
        # Keras passes `training` on to the layers of a net whose `call` does not have this argument.
        return self(x, padding, training=training)


def as_sequence(net: InputNet, x: Tensor, padding: Tensor, training: bool) -> tuple[Tensor, Tensor, tuple | None]:
    """Calls `net.sequence`, which may lack the argument `training` in a net of one's own."""
    if "training" in inspect.signature(net.sequence).parameters:
        return net.sequence(x, padding, training=training)
    return net.sequence(x, padding)
