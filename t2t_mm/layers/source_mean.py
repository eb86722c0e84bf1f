"""The mean of an encoded input, as a summary from which a decoder can answer."""

from typing import Any

import keras
from keras import ops

from t2t_mm.layers.attention import unpadded_mean
from t2t_mm.layers.checks import share
from t2t_mm.layers.randomness import SeedGenerator
from t2t_mm.layers.tensors import Tensor


def pooled(encoded: Tensor, padding: Tensor) -> Tensor:  # [B, S, D], [B, S] -> [B, D] float32
    """Returns the mean of the encoded positions that are not padded; 0 if there are none."""
    return unpadded_mean(encoded, ops.logical_not(padding)[..., None])


@keras.saving.register_keras_serializable(package="t2t_mm")
class SourceMean(keras.layers.Layer):
    """Replaces all positions of some encoded inputs by their mean.

    The positions of an image and those of a sentence have little in common, even if the means of both are close because of a
    contrast (`losses.contrast`). A decoder that has learnt to write German from the means of German sentences can therefore
    also do so from the mean of an image. This is the way of captioning models that are trained on text alone, with a common
    embedding of images and sentences (Nukrai et al. 2022, arXiv 2211.00575).

    The mean is scaled so that its norm is the root mean square of the norms of the positions. It would otherwise be much
    smaller than what mixer and decoder are used to.

    Args:
      rate: the fraction of the examples of a training batch whose positions are replaced, at least 0 and less than 1.
      always: whether all examples are replaced when the model is not trained.
    """

    def __init__(self, rate: float = 0.0, always: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate, self.always = share(rate, "mean_share"), always
        # A generator has a state, which would be a variable of the model that nothing uses.
        if rate:
            self.seed_generator = SeedGenerator()

    def get_config(self) -> dict:
        return super().get_config() | {"rate": self.rate, "always": self.always}

    def call(self, encoded: Tensor, padding: Tensor, training: bool = False) -> Tensor:  # [B, S, D], [B, S] -> [B, S, D]
        if not (self.rate if training else self.always):
            return encoded
        mean = pooled(encoded, padding)
        # The mean of the squared norms of the positions, [B, 1].
        squared = pooled(ops.sum(ops.square(ops.cast(encoded, "float32")), axis=-1, keepdims=True), padding)
        scaled = mean * ops.sqrt(
            ops.maximum(squared, 1e-12) / ops.maximum(ops.sum(ops.square(mean), axis=-1, keepdims=True), 1e-12)
        )
        means = ops.broadcast_to(ops.cast(scaled, encoded.dtype)[:, None], ops.shape(encoded))
        if not training:
            return means
        replaced = keras.random.uniform((ops.shape(encoded)[0], 1, 1), seed=self.seed_generator) < self.rate
        return ops.where(replaced, means, encoded)
