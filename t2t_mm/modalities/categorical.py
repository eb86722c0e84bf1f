"""The categorical output net, Xception's exit flow (paper, 2.5)."""

import functools
from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import at_least, check_features, check_padding, one_of
from t2t_mm.layers.convolution import ConvStep2D, max_pool, pointwise_initializer, strided
from t2t_mm.layers.tensors import Shape, Tensor


@keras.saving.register_keras_serializable(package="t2t_mm")
class CategoricalOutput(keras.layers.Layer):
    """Computes logits over classes from the body's output, which is reshaped to the two dimensions of the input.

    `skip = ConvStep_{s=2}(W^{3×3}, x)`, `h1, h2 = ConvStep(W^{3×3})`, `h3 = skip + MaxPool_2([3×3], h2)`,
    `h4, h5` widen, `h6 = GlobalAvgPool(ReLU(h5))`, `out = PointwiseConv(W^{classes}, h6)`. The exit flow is shared
    by all categorical problems; each label set has its own pointwise map.

    Args:
      num_classes: name of a label set -> its number of classes.
      widths: numbers of channels of h4 and h5; the paper's 1,536 and 2,048.
      batch_norm: whether h6 is standardised with the statistics of the batch (in inference, with the moving mean and
        variance). Layer norm, ReLU and the command make h6 nearly equal for all images: before training, they have 99.9 %
        of it in common. A class that happens to be frequent in a batch then outweighs what distinguishes the images, and
        learning stalls for a long time. False follows the paper literally.
      kernel_scale: factor for the initial kernels, see ConvBlock.

    Raises:
      ValueError: an argument is out of range.
    """

    def __init__(
        self,
        num_classes: dict[str, int],
        widths: tuple[int, int] = (1536, 2048),
        batch_norm: bool = True,
        kernel_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if len(widths) != 2:
            raise ValueError(f"CategoricalOutput: widths is {widths!r}; it must be the two of h4 and h5.")
        self.batch_norm = None
        if batch_norm:
            # Synchronised, so that the statistics are those of the whole batch, even if several replicas share it.
            self.batch_norm = keras.layers.BatchNormalization(
                # With 0.98, the moving statistics lag far behind in a run of a few hundred updates (docs/learning.md,
                # "Images"). There is no centre or scale, because the linear map that follows has a kernel and a bias.
                momentum=0.95, center=False, scale=False, name="batch_norm",
                synchronized=keras.backend.backend() == "tensorflow",
            )  # fmt: skip
        for label_set, count in num_classes.items():
            at_least(1, count, f"num_classes[{label_set!r}]")
        # Sorted, so that neither the order of the problems nor a saved configuration changes the order of the weights.
        self.num_classes = dict(sorted(num_classes.items()))
        self.step = functools.partial(ConvStep2D, kernel_size=3, kernel_scale=kernel_scale)
        self.h4 = self.step(widths[0], name="h4")
        self.h5 = self.step(widths[1], name="h5")
        self.heads = {
            # With a standardised h6, the logits have a variance of 0.1. The first loss is then ln(classes) + 0.05, and the
            # layers below still get a gradient.
            labels: keras.layers.Dense(count, kernel_initializer=pointwise_initializer(0.1), name=labels)
            for labels, count in self.num_classes.items()
        }

    def get_config(self) -> dict:
        return super().get_config() | {
            "num_classes": dict(self.num_classes),
            "widths": (self.h4.filters, self.h5.filters),
            "batch_norm": self.batch_norm is not None,
            "kernel_scale": self.h4.kernel_scale,
        }

    def build(self, input_shape: Shape) -> None:
        depth = input_shape[-1]
        shape = (None, None, None, depth)
        # Made here, because they have the depth of the body, which the constructor does not know.
        self.skip = self.step(depth, strides=(2, 2), name="skip")
        self.h1 = self.step(depth, name="h1")
        self.h2 = self.step(depth, name="h2")
        for layer in (self.skip, self.h1, self.h2, self.h4):
            layer.build(shape)
        self.h5.build((None, None, None, self.h4.filters))
        if self.batch_norm:
            self.batch_norm.build((None, self.h5.filters))
        for head in self.heads.values():
            head.build((None, self.h5.filters))

    def call(self, x: Tensor, padding: Tensor, grid: tuple | None = None, labels: str = "", training: bool = False) -> Tensor:
        """Returns the logits [B, classes] in float32.

        Args:
          x: [B, L, D].
          padding: [B, L] boolean.
          grid: (H, W) with H·W = L. Default: the input has one dimension.
          labels: the name of the label set.

        Raises:
          ValueError: a tensor has the wrong shape or type, or the label set is unknown.
        """
        check_features(x, "x", "[B, L, D]", self.h1.filters)
        check_padding(padding, "padding", x, axes=2)
        one_of(list(self.num_classes), labels, "labels")
        # "Reshaped back to two dimensions" (paper, 2.5): the body keeps the order of positions, so the grid of the input is
        # still valid. Text becomes a single column.
        rows, columns = grid if grid is not None else (ops.shape(x)[1], 1)
        x = ops.reshape(x, [-1, rows, columns, x.shape[-1]])
        padding = ops.reshape(padding, [-1, rows, columns])
        h2 = self.h2(self.h1(x, padding), padding)
        # The names and the order are those of the exit flow in section 2.5.
        h3 = self.skip(x, padding) + max_pool(h2, padding, (2, 2))
        padding = strided(padding, (2, 2))
        # In float32, because the mean over hundreds of positions follows.
        h5 = ops.cast(self.h5(self.h4(h3, padding), padding), "float32")
        kept = ops.cast(ops.logical_not(padding), h5.dtype)[..., None]
        # The mean is over real positions only, so that it does not depend on the padding of the batch. A row that only fills a
        # batch has none, and its sum of zeros is divided by 1.
        h6 = ops.sum(ops.relu(h5) * kept, axis=(1, 2)) / ops.maximum(ops.sum(kept, axis=(1, 2)), 1.0)
        if self.batch_norm:
            h6 = self.batch_norm(h6, training=training)
        # Each label set has its own map; the paper has only one classification problem, and is silent on more.
        return ops.cast(self.heads[labels](h6), "float32")
