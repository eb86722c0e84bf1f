"""The input and output nets for language (paper, 2.5)."""

from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import at_least, check_ids
from t2t_mm.layers.tensors import Shape, Tensor
from t2t_mm.modalities.features import Texts
from t2t_mm.modalities.modality import Modality
from t2t_mm.modalities.net import InputNet


@keras.saving.register_keras_serializable(package="t2t_mm")
class LanguageInput(InputNet):
    """A learned embedding of subword ids, multiplied by √D, so that the variance of a position is about one.

    Args:
      depth: D.
      vocabulary_size: V, the number of ids.
    """

    def __init__(self, depth: int, vocabulary_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.depth = at_least(1, depth, "depth")
        self.vocabulary_size = at_least(1, vocabulary_size, "vocabulary_size")

    def get_config(self) -> dict:
        return super().get_config() | {"depth": self.depth, "vocabulary_size": self.vocabulary_size}

    def build(self, input_shape: Shape | None = None) -> None:
        self.embedding = self.add_weight(
            name="embedding",
            shape=(self.vocabulary_size, self.depth),
            # With the factor √D in `call`, as in the 2017 release. An Adam step of a given size then changes an embedding √D
            # times as much as if the weights themselves had unit variance.
            initializer=keras.initializers.RandomNormal(stddev=self.depth**-0.5),
            autocast=False,  # float32, because the gradient of a frequent subword is a sum of many terms
        )

    def call(self, ids: Tensor) -> Tensor:  # [..., L] int -> [..., L, D]
        check_ids(ids, "ids")
        return ops.cast(ops.take(self.embedding, ids, axis=0) * self.depth**0.5, self.compute_dtype)

    def sequence(self, x: Tensor, padding: Tensor, training: bool = False) -> tuple[Tensor, Tensor, None]:
        # Text has one dimension, so there is no grid.
        return self(x), padding, None


@keras.saving.register_keras_serializable(package="t2t_mm")
class LanguageOutput(keras.layers.Layer):
    """A learned linear map to the logits of the vocabulary. The softmax is a part of the loss.

    The initial weights have a tenth of unit scale, so that the loss of an untrained model is close to ln(vocabulary).
    """

    def __init__(self, vocabulary_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.vocabulary_size = at_least(1, vocabulary_size, "vocabulary_size")

    def get_config(self) -> dict:
        return super().get_config() | {"vocabulary_size": self.vocabulary_size}

    def build(self, input_shape: Shape) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.vocabulary_size),
            # 0.01 scales the variance: a tenth of unit scale.
            initializer=keras.initializers.VarianceScaling(0.01, "fan_in", "uniform"),
        )

    def call(self, x: Tensor) -> Tensor:  # [..., D] -> [..., V] float32
        # The kernel is not the transposed embedding: the paper describes two separate maps (2.5). The logits are float32,
        # because the loss sums the exponentials of thousands of them.
        return ops.cast(ops.matmul(x, self.kernel), "float32")


LANGUAGE = Modality("language", LanguageInput, (None,), Texts())
