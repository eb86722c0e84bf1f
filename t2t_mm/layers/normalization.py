"""Layer normalisation with learned scale and shift (paper, 2.1)."""

from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import not_negative
from t2t_mm.layers.tensors import Shape, Tensor

# The statistics of layer norm are those of each position over its channels (paper, 2.1; it does not state the axis).
# An epsilon of 1e-3 was tried against rounding errors in bfloat16, and helped little (docs/learning.md, "Rounding").
EPSILON = 1e-6


def standardise(x: Tensor) -> tuple[Tensor, Tensor]:  # [N, D] -> [N, D], [N, 1]
    """Returns `(x − mean) / √(variance + ε)` over the channels, and the factor by which the centred x was multiplied."""
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    scale = ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + EPSILON)
    return centred * scale, scale


@ops.custom_gradient
def normalise(x: Tensor, gamma: Tensor, beta: Tensor) -> Any:
    """Computes `(x − mean) / √(variance + ε) · gamma + beta` over the channels of x [N, D] float32; gamma, beta [D].

    The gradient is written by hand, because automatic differentiation would pass over x twice as often. The model
    normalises about a hundred times, which would then cost as much as the matrix products.
    """
    standard, scale = standardise(x)

    def gradient(*arguments, upstream=None):
        # Backends pass the gradient of the output in one of these two ways (see keras.ops.custom_gradient).
        up = arguments[0] if upstream is None else upstream
        product = up * standard
        weighted = up * gamma
        along = ops.matmul(product, gamma[:, None]) / x.shape[-1]  # [N, 1], the mean of weighted·standard
        # With s the standardised x and w the weighted gradient, this is (w − mean(w) − s·mean(w·s)) / √(variance + ε).
        to_x = (weighted - ops.mean(weighted, axis=-1, keepdims=True) - standard * along) * scale
        ones = ops.ones([1, ops.shape(x)[0]])  # a product with ones sums positions faster than a reduction
        return to_x, ops.matmul(ones, product)[0], ops.matmul(ones, up)[0]

    return standard * gamma + beta, gradient


@ops.custom_gradient
def scale_and_shift(x: Tensor, kept: Tensor, gamma: Tensor, beta: Tensor) -> Any:
    """Computes `x / √(mean of squares + ε) · gamma + beta`, and zero at padded positions.

    If x is centred over the channels, this is layer normalisation. The preceding matrix product does the centring (see
    `convolution.centred`). Sums over positions are computed as products with vectors, which are faster than reductions.

    Args:
      x: [N, D] float32, centred over the channels.
      kept: [N, 1], 0 where a position is padded and 1 elsewhere.
      gamma, beta: [D].
    """
    depth = x.shape[-1]
    # The factor `kept` makes the result and the gradient zero at padded positions without another pass over x.
    scale = ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON) * kept
    standard = x * scale

    def gradient(*arguments, upstream=None):
        up = arguments[0] if upstream is None else upstream
        product = up * standard
        along = ops.matmul(product, gamma[:, None]) / depth  # [N, 1], the mean over channels of up·gamma·standard
        # No mean is subtracted, unlike in `normalise`: the centring belongs to the kernel before, and so does its gradient.
        to_x = (up * gamma - standard * along) * scale
        to_gamma = ops.matmul(ops.transpose(kept), product)
        to_beta = ops.matmul(ops.transpose(kept), up)
        return to_x, None, ops.reshape(to_gamma, [-1]), ops.reshape(to_beta, [-1])

    return standard * gamma + ops.matmul(kept, beta[None]), gradient


def normalise_flat(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:  # [N, D] -> [N, D]
    """Computes `normalise` in float32 for an x of any compute type."""
    # A reshape turns weights into plain tensors, the only thing that a custom gradient takes.
    y = normalise(ops.cast(x, "float32"), ops.reshape(gamma, [-1]), ops.reshape(beta, [-1]))
    return ops.cast(y, x.dtype)


@keras.saving.register_keras_serializable(package="t2t_mm")
class LayerNorm(keras.layers.Layer):
    """Normalises each position over its channels [..., D], in float32 regardless of the compute type.

    Args:
      scale: initial value of the learned scale.

    Raises:
      ValueError: `scale` is negative or not finite.
    """

    def __init__(self, scale: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = not_negative(scale, "scale")

    def get_config(self) -> dict:
        return super().get_config() | {"scale": self.scale}

    def build(self, input_shape: Shape) -> None:
        depth = input_shape[-1:]
        # A small scale weakens a residual branch at the start without limiting it later (see `ConvBlock.branch_scale`).
        start = keras.initializers.Constant(self.scale)
        # Not cast to the compute type, because the norm computes in float32.
        self.gamma = self.add_weight(name="gamma", shape=depth, initializer=start, autocast=False)
        self.beta = self.add_weight(name="beta", shape=depth, initializer="zeros", autocast=False)

    def call(self, x: Tensor) -> Tensor:
        return ops.reshape(normalise_flat(ops.reshape(x, [-1, x.shape[-1]]), self.gamma, self.beta), ops.shape(x))

    def flat(self, x: Tensor) -> Tensor:  # [N, D] -> [N, D]
        return normalise_flat(x, self.gamma, self.beta)
