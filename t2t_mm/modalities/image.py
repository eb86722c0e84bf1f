"""The input net for images, Xception's entry flow (paper, 2.5)."""

import functools
from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import check_features
from t2t_mm.layers.convolution import ConvRes, ConvStep2D
from t2t_mm.layers.tensors import Shape, Tensor
from t2t_mm.modalities.features import Pictures
from t2t_mm.modalities.modality import Modality
from t2t_mm.modalities.net import InputNet


@keras.saving.register_keras_serializable(package="t2t_mm")
class ImageInput(InputNet):
    """Turns images into sequences of positions with D channels, one for each 16 × 16 pixels, row by row.

    `h1 = ConvStep_{s=2,f=32}(W^{3×3}, x)`, `h2 = ConvStep_{f=64}(W^{3×3}, h1)`, `ConvRes` to 128, 256 and D.

    Args:
      depth: D.
      filters: numbers of channels of h1, h2 and all ConvRes blocks except the last; the paper's 32, 64, 128 and 256.
      first_relu: True applies the ReLU of ConvStep also to the raw pixels, as the paper literally says. A standardised
        image then loses everything below its mean, so the default is False.
      full_stem: True makes h1 and h2 full convolutions, as in Xception. The ConvStep of the paper is separable, so that
        h1 has only three spatial filters.
      kernel_scale: factor for the initial kernels, see ConvBlock.

    Raises:
      ValueError: `filters` has fewer than two elements, or a number of channels is out of range.
    """

    def __init__(
        self,
        depth: int,
        filters: tuple[int, ...] = (32, 64, 128, 256),
        first_relu: bool = False,
        full_stem: bool = False,
        kernel_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if len(filters) < 2:
            raise ValueError(f"ImageInput: filters is {filters!r}; it needs at least the two of h1 and h2.")
        self.filters = tuple(filters)
        # The ConvRes blocks after h1 and h2 are separable in any case, as in Xception.
        stem = functools.partial(ConvStep2D, separable=not full_stem, kernel_scale=kernel_scale)
        # Four halvings in all, one here and one in each ConvRes of the paper's size: one position for 16 × 16 pixels.
        self.h1 = stem(filters[0], 3, strides=(2, 2), relu=first_relu, name="h1")
        self.h2 = stem(filters[1], 3, name="h2")
        self.blocks = [
            ConvRes(f, kernel_scale=kernel_scale, name=f"r{i}") for i, f in enumerate((*filters[2:], depth), start=1)
        ]

    def get_config(self) -> dict:
        return super().get_config() | {
            "depth": self.blocks[-1].filters,
            "filters": self.filters,
            "first_relu": self.h1.relu,
            "full_stem": not self.h1.separable,
            "kernel_scale": self.h1.kernel_scale,
        }

    def build(self, input_shape: Shape) -> None:
        self.h1.build(input_shape)
        self.h2.build((None, None, None, self.h1.filters))
        channels = self.h2.filters
        for block in self.blocks:
            block.build((None, None, None, channels))
            channels = block.filters

    def call(self, x: Tensor, padding: Tensor = None) -> tuple[Tensor, Tensor, tuple]:
        """Returns a sequence [B, H'·W', D], its padding [B, H'·W'] and its grid (H', W').

        Args:
          x: [B, H, W, 3] standardised pixels. All images of a batch have the same size.
          padding: None; images have no padding.

        Raises:
          ValueError: x has another shape, or there is a padding.
        """
        check_features(x, "x", "[B, H, W, 3]", 3)
        if padding is not None:
            raise ValueError("There is a padding for images, which have none: those of a batch have one size; pass None.")
        # All images of a batch have the same size, so nothing is padded in this net.
        x = self.h2(self.h1(x))
        for block in self.blocks:
            x, _ = block(x)
        return flatten_grid(x, None)


def flatten_grid(x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor, tuple]:
    """Joins the rows of x [B, H, W, D] and of its padding ([B, H, W] or None) to one sequence.

    Returns:
      The sequence [B, H·W, D], its padding [B, H·W], and the grid (H, W).
    """
    rows, columns, depth = ops.shape(x)[1], ops.shape(x)[2], x.shape[-1]
    sequence = ops.reshape(x, [-1, rows * columns, depth])
    # The body always takes a mask.
    if padding is None:
        flat = ops.zeros(ops.shape(sequence)[:2], "bool")
    else:
        # The mask of a spectrogram has one column, which holds for all frequencies.
        flat = ops.reshape(ops.broadcast_to(padding, ops.shape(x)[:3]), [-1, rows * columns])
    return sequence, flat, (rows, columns)


IMAGE = Modality("image", ImageInput, (None, None, 3), Pictures(), padded=False)
