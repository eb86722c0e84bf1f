"""What the nets into the unified representation have in common (paper, 2.5)."""

import keras

from t2t_mm.layers.tensors import Tensor


class InputNet(keras.layers.Layer):
    """A net into the unified representation; the base of those of the three modalities, and of one's own.

    It is constructed with `depth` and `name`, built with the shape of a batch, `[None, *Modality.shape]`, and called with
    a batch and its padding.
    """

    def sequence(self, x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor, tuple | None]:
        """A batch as a sequence of the unified representation. Default: what calling the layer returns.

        Args:
          x: a batch of the modality's arrays, `[B, *Modality.shape]`.
          padding: boolean [B, L], True where a position of the first axis is padded; None where the modality is not padded.

        Returns: the sequence [B, S, D], its padding [B, S], and its grid (rows, columns) with rows · columns = S where it
          has two dimensions, else None.
        """
        return self(x, padding)
