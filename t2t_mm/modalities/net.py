"""The base class of the nets that map inputs to the unified representation (paper, 2.5)."""

import keras

from t2t_mm.layers.tensors import Tensor


class InputNet(keras.layers.Layer):
    """Base class of the nets of all modalities, including custom ones.

    A net is constructed with `depth` and `name`, built with the shape of a batch, `[None, *Modality.shape]`, and called
    with a batch and its padding.
    """

    def sequence(self, x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor, tuple | None]:
        """Returns a batch as a sequence in the unified representation. By default, this is the result of calling the layer.

        Args:
          x: a batch of arrays, `[B, *Modality.shape]`.
          padding: boolean [B, L], True where a position of the first axis is padded; None if the modality is not padded.

        Returns:
          The sequence [B, S, D], its padding [B, S], and its grid (rows, columns) with rows · columns = S if it has two
          dimensions, otherwise None.
        """
        return self(x, padding)
