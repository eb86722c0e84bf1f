"""Convolution steps and blocks, one- and two-dimensional (paper, 2.1 and 2.5)."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from t2t_mm.layers import shifts
from t2t_mm.layers.checks import at_least, check_features, check_padding, not_negative, one_of, positive
from t2t_mm.layers.normalization import LayerNorm, scale_and_shift
from t2t_mm.layers.positions import Positions
from t2t_mm.layers.randomness import Dropout, drop
from t2t_mm.layers.sharing import shared
from t2t_mm.layers.tensors import Shape, Tensor


def zero_padding(x: Tensor, padding: Tensor) -> Tensor:
    """Sets padded positions of x [B, ..., D] to zero. `padding` broadcasts to x's shape without D, or is None."""
    if padding is None:
        return x
    return x * ops.cast(ops.logical_not(padding), x.dtype)[..., None]


def pointwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Computes `x @ kernel` for x [..., D] and kernel [D, F] as a product of two matrices.

    The general product of a tensor and a matrix needs dozens of graph nodes to compute its shapes. A model with hundreds
    of them would take minutes to trace.
    """
    shape = ops.shape(x)
    return ops.reshape(ops.matmul(ops.reshape(x, [-1, x.shape[-1]]), kernel), [-1, *shape[1:-1], kernel.shape[-1]])


def depthwise_conv(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Convolves each channel of x [B, H, W, C] with its own filter of kernel [h, w, C, 1], without padding.

    It computes in float32 even if the compute type is another one: there are few multiplications, and on a CPU
    TensorFlow's gradients take two to three times longer in bfloat16.
    """
    wide, kernel = ops.cast(x, "float32"), ops.cast(kernel, "float32")
    # Padding is added by the callers, who know which side it belongs to.
    if shifts.preferred():
        return ops.cast(shifts.depthwise(wide, kernel, stride), x.dtype)
    y = ops.depthwise_conv(wide, kernel, strides=stride, padding="valid", data_format="channels_last")
    return ops.cast(y, x.dtype)


def _full_conv(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Convolves x [B, H, W, C] with kernel [h, w, C, F] of the same type, without padding."""
    if shifts.preferred():
        return shifts.convolve(x, kernel, stride)
    return ops.conv(x, kernel, strides=stride, padding="valid", data_format="channels_last")


def depthwise_along(x: Tensor, length: Tensor, kernel: Tensor, dilation: int, causal: bool) -> Tensor:
    """Convolves each channel of x, [B, L, D] or [N, D], with its own filter of kernel [k, D] along L -> [B, L, D]."""
    taps, depth = kernel.shape
    memory = (taps - 1) * dilation
    # On the left only in mixer and decoder; SAME in the encoder, with equal parts for an odd number of taps (paper, 2.1).
    left = memory if causal else memory // 2
    if dilation > 1:
        # Taps that reach beyond both ends of a short sequence would only be multiplied with padding.
        # Tap i reads position t + i·d − left. `first` is the smallest i for which this is not negative for the last t, and
        # `last` the largest for which it is within the sequence for the first t.
        first = _larger(0, -((length - 1 - left) // dilation))
        last = _smaller(taps - 1, (left + length - 1) // dilation)
        left, memory = left - first * dilation, (last - first) * dilation
        kernel = kernel[first : last + 1]
    # A convolution with dilation d is an undilated convolution of each of the d phases of the sequence. With the positions
    # arranged as [L/d, d], a convolution along the first axis computes all phases in one call of the native kernel. On a
    # CPU this is several times faster than the framework's own dilated convolution.
    # Zeros at the end make the length a multiple of d. The outputs that they add are cut off below.
    fill = (-(length + memory)) % dilation
    total = length + memory + fill
    x = ops.pad(ops.reshape(x, [-1, length, depth]), [[0, 0], [left, memory - left + fill], [0, 0]])
    x = ops.reshape(x, [-1, total // dilation, dilation, depth])
    y = depthwise_conv(x, ops.reshape(kernel, [-1, 1, depth, 1]))
    y = ops.reshape(y, [-1, total - memory, depth])
    # The gradient of a strided slice takes three times as long as that of `ops.slice`.
    return y if dilation == 1 else ops.slice(y, (0, 0, 0), (ops.shape(y)[0], length, depth))


def depthwise_initializer(taps: int, scale: float = 1.0) -> keras.initializers.Initializer:
    """Returns uniform unit scaling, times `scale`, for a depthwise kernel, whose fan-in is its number of taps."""
    # A uniform number from −a to a has the variance a² / 3, which is to be 1 / taps.
    limit = scale * math.sqrt(3.0 / taps)
    return keras.initializers.RandomUniform(-limit, limit)


def pointwise_initializer(scale: float = 1.0) -> keras.initializers.Initializer:
    """Returns uniform unit scaling, as in the 2017 release (the paper is silent). `scale` multiplies the variance."""
    return keras.initializers.VarianceScaling(scale, "fan_in", "uniform")


def mean_free_initializer(taps: Tensor | None = None, scale: float = 1.0) -> Callable:
    """Returns `pointwise_initializer` times `scale`, with each column made orthogonal to the image of a constant input.

    The outputs of a ReLU have a positive mean, which is similar for all channels and all inputs. A random kernel turns it
    into an offset, which the next ReLU and layer norm keep and amplify, and after about ten steps all inputs are nearly
    equal. A kernel without the component along the constant only passes on what differs between inputs.

    Args:
      taps: the depthwise kernel before the pointwise one, [h, w, C, 1] or [k, C]. None for a full convolution or a
        pointwise convolution without a depthwise one.
    """

    def initial(shape, dtype=None):
        # Squared, because Keras's argument scales the variance and `scale` the values.
        kernel = ops.convert_to_tensor(pointwise_initializer(scale**2)(shape, dtype=dtype))
        flat = ops.reshape(kernel, [-1, shape[-1]])
        # What a constant input becomes before the pointwise kernel: in each channel, the sum of the depthwise taps.
        constant = ops.ones([flat.shape[0]], flat.dtype)
        if taps is not None:  # summed over the taps: [C]
            constant = ops.cast(ops.sum(ops.reshape(ops.convert_to_tensor(taps), [-1, shape[0]]), axis=0), flat.dtype)
        # The projection of each column on the constant, in units of the constant (a step of Gram-Schmidt).
        along = ops.sum(constant[:, None] * flat, axis=0) / ops.sum(ops.square(constant))
        return ops.reshape(flat - constant[:, None] * along, shape)

    return initial


@keras.saving.register_keras_serializable(package="t2t_mm")
class SeparableConv1D(keras.layers.Layer):
    """`SepConv_{d,1,f}(W^{k×1}, x)`: depthwise convolution over positions, then a pointwise one (paper, 2).

    Args:
      filters: number of output channels f.
      kernel_size: number of taps k.
      dilation: distance d between taps.
      causal: whether only the left side is padded, so that no position sees a later one; otherwise the padding is SAME.
      kernel_scale: factor for both initial kernels, see ConvBlock.

    Raises:
      ValueError: an argument is out of range.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        dilation: int = 1,
        causal: bool = False,
        kernel_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.kernel_scale = positive(kernel_scale, "kernel_scale")
        self.filters = at_least(1, filters, "filters")
        self.kernel_size = at_least(1, kernel_size, "kernel_size")
        self.dilation = at_least(1, dilation, "dilation")
        self.causal = causal

    def get_config(self) -> dict:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dilation": self.dilation,
            "causal": self.causal,
            "kernel_scale": self.kernel_scale,
        }

    def build(self, input_shape: Shape) -> None:
        depth = input_shape[-1]
        taps = self.kernel_size
        # No bias, as in the paper's formulas; the layer norm that follows has a learned shift. The kernel is not cast to the
        # compute type, because the depthwise convolution computes in float32 (see `depthwise_conv`).
        self.depthwise = self.add_weight(
            name="depthwise",
            shape=(taps, depth),
            initializer=depthwise_initializer(taps, self.kernel_scale),
            autocast=False,
        )
        # After the depthwise kernel, whose drawn values it has to be orthogonal to.
        self.pointwise = self.add_weight(
            name="pointwise",
            shape=(depth, self.filters),
            initializer=mean_free_initializer(self.depthwise, self.kernel_scale),
        )

    def call(self, x: Tensor) -> Tensor:  # [B, L, D] -> [B, L, F]
        check_features(x, "x", "[B, L, D]", self.depthwise.shape[1])
        y = depthwise_along(x, ops.shape(x)[1], self.depthwise, self.dilation, self.causal)
        return pointwise(y, self.pointwise)


def _larger(a, b):
    """Returns the maximum of two lengths, as a plain number if both are plain numbers."""
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else ops.maximum(a, b)


def _smaller(a, b):
    """Returns the minimum of two lengths, as a plain number if both are plain numbers."""
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else ops.minimum(a, b)


@keras.saving.register_keras_serializable(package="t2t_mm")
class ConvStep(keras.layers.Layer):
    """`ConvStep_{d,1,f}(W^{k×1}, x) = LayerNorm(SepConv(W, ReLU(x)))` (paper, 2.1)."""

    def __init__(
        self, filters: int, kernel_size: int, dilation: int = 1, causal: bool = False, kernel_scale: float = 1.0,
        scale: float = 1.0, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.conv = SeparableConv1D(filters, kernel_size, dilation, causal, kernel_scale, name="conv")
        self.norm = LayerNorm(scale, name="norm")

    def get_config(self) -> dict:
        return super().get_config() | {
            "filters": self.conv.filters,
            "kernel_size": self.conv.kernel_size,
            "dilation": self.conv.dilation,
            "causal": self.conv.causal,
            "kernel_scale": self.conv.kernel_scale,
            "scale": self.norm.scale,
        }

    def build(self, input_shape: Shape) -> None:
        self.conv.build(input_shape)
        self.norm.build((*input_shape[:-1], self.conv.filters))

    def call(self, x: Tensor, padding: Tensor = None) -> Tensor:  # [B, L, D], [B, L] -> [B, L, F], zero where padded
        positions = Positions.of(padding, x, depth=self.conv.depthwise.shape[1])
        kept = positions.kept(x.dtype)
        depthwise, pointwise, gamma, beta = self.tensors()
        # Padded positions are zeroed before a convolution, which would carry them into real positions: the result of an
        # example would then depend on the other examples of its batch.
        flat = conv_step(
            positions.flatten(x) * kept, kept, positions.length, depthwise, pointwise, gamma, beta,
            self.conv.dilation, self.conv.causal,
        )  # fmt: skip
        return positions.unflatten(flat)

    def tensors(self) -> list:
        """Returns the weights in the order in which `conv_step` takes them."""
        weights = self.conv.depthwise, self.conv.pointwise, self.norm.gamma, self.norm.beta
        return [weight.value for weight in weights]


def conv_step(
    x: Tensor,
    kept: Tensor,
    length: Tensor,
    depthwise: Tensor,
    pointwise: Tensor,
    gamma: Tensor,
    beta: Tensor,
    dilation: int,
    causal: bool,
) -> Tensor:
    """Computes the ConvStep of flat x [N, D] -> [N, F]. Padded positions must be zero, and are zero in the result."""
    # The ReLU comes first and the norm last (paper, 2.1), so that a block ends with a norm and its sums get signed terms.
    y = depthwise_along(ops.relu(x), length, depthwise, dilation, causal)
    y = ops.matmul(ops.reshape(y, [-1, y.shape[-1]]), centred(pointwise))
    # A reshape turns weights into plain tensors, the only thing that a custom gradient takes.
    gamma, beta = ops.reshape(gamma, [-1]), ops.reshape(beta, [-1])
    # The centring is already done by the matrix product, where it costs a pass over the kernel instead of one over all
    # positions.
    y = scale_and_shift(ops.cast(y, "float32"), ops.cast(kept, "float32"), gamma, beta)
    return ops.cast(y, x.dtype)


def centred(kernel: Tensor) -> Tensor:  # [..., D, F] -> [..., D, F]
    """Returns the kernel whose products are those of `kernel` minus their mean over the channels.

    This centring is the first half of layer normalisation.
    """
    return kernel - ops.mean(kernel, axis=-1, keepdims=True)


def conv_block(
    x: Tensor,
    kept: Tensor,
    length: Tensor,
    bits: Tensor,
    factor: Tensor,
    *weights: Tensor,
    dilations: Sequence[int],
    causal: bool,
    rate: float,
    on_sum: bool,
) -> Tensor:
    """Computes the ConvBlock of flat x [N, D] -> [N, D].

    Args:
      weights: four for each step, as `ConvStep.tensors` returns them.
      bits, factor: the random bits of dropout, see `randomness.drop`.
    """
    # Once for the block: its steps return zeros at padded positions, so the padding of their inputs stays zero.
    x = x * kept
    first, second, third, fourth = (
        functools.partial(
            conv_step, kept=kept, length=length, depthwise=weights[4 * i], pointwise=weights[4 * i + 1],
            gamma=weights[4 * i + 2], beta=weights[4 * i + 3], dilation=dilation, causal=causal,
        )
        for i, dilation in enumerate(dilations)
    )  # fmt: skip
    # h2 = x + step2(h1) and h4 = x + step4(h3): both sums add the block's input; the second one does not add h2 (2.1).
    branch = fourth(third(x + second(first(x))))
    # No dropout: the graph then contains no multiplication with ones.
    if bits is None:
        return x + branch
    return drop(x + branch, bits, factor, rate) if on_sum else x + drop(branch, bits, factor, rate)


@keras.saving.register_keras_serializable(package="t2t_mm")
class ConvBlock(keras.layers.Layer):
    """Four convolution steps with two residual sums and dropout (paper, 2.1).

    Args:
      causal: whether only the left side is padded (mixer and decoder); otherwise the padding is SAME (encoder).
      dropout: fraction that is dropped in training; the paper's 0.4.
      dropout_on: "sum" applies dropout to the block's output including the residual, as the paper writes it. "branch"
        applies it only to what the block adds, so that the stream passes through about thirty blocks without damage. A
        small model needs this.
      kernel_small, kernel_large, dilation: the paper's 3, 15 and 8.
      branch_scale: initial scale of the last layer norm, and thereby of everything that the block adds to the stream. With
        1, about thirty blocks drown out the attention, whose averages of values are much smaller, and a model learns to
        attend to its source hundreds of updates later. The paper is silent on this.
      kernel_scale: factor for the initial depthwise and pointwise kernels. Layer norm cancels it, so the function is the
        same. But an Adam step has the same size whatever the size of the gradient, and rotates a smaller kernel further:
        with 0.3, the convolutions alone learn about three times faster, until the kernels have grown.

    Raises:
      ValueError: an argument is out of range.
    """

    def __init__(
        self,
        causal: bool = False,
        dropout: float = 0.4,
        dropout_on: str = "sum",
        kernel_small: int = 3,
        kernel_large: int = 15,
        dilation: int = 8,
        # English to French reaches 2.16 nats after 300 updates with 1, 0.72 with 0.2 and 0.67 with 0 (docs/learning.md,
        # "Translation").
        branch_scale: float = 0.2,
        kernel_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.dropout_on = one_of(("sum", "branch"), dropout_on, "dropout_on")
        self.causal = causal
        self.branch_scale = not_negative(branch_scale, "branch_scale")
        self.kernel_scale = positive(kernel_scale, "kernel_scale")
        at_least(1, kernel_small, "kernel_small")
        at_least(1, kernel_large, "kernel_large")
        at_least(1, dilation, "dilation")
        # The taps and the dilation of h1 to h4 (paper, 2.1).
        self.kernels = ((kernel_small, 1), (kernel_small, 1), (kernel_large, 1), (kernel_large, dilation))
        self.dropout = Dropout(dropout, name="dropout")

    def get_config(self) -> dict:
        return super().get_config() | {
            "causal": self.causal,
            "dropout": self.dropout.rate,
            "dropout_on": self.dropout_on,
            "kernel_small": self.kernels[0][0],
            "kernel_large": self.kernels[-1][0],
            "dilation": self.kernels[-1][1],
            "branch_scale": self.branch_scale,
            "kernel_scale": self.kernel_scale,
        }

    def build(self, input_shape: Shape) -> None:
        depth = input_shape[-1]
        # Only the last norm scales what the block adds to the stream; the others are followed by a step that normalises again.
        scales = (1.0, 1.0, 1.0, self.branch_scale)
        self.steps = [
            ConvStep(depth, kernel, dilation, self.causal, self.kernel_scale, scale, name=f"step{index}")
            for index, ((kernel, dilation), scale) in enumerate(zip(self.kernels, scales), start=1)
        ]
        for step in self.steps:
            step.build(input_shape)

    def compute_output_shape(self, x_shape: Shape, padding_shape: Shape | None = None) -> Shape:
        return x_shape

    def call(self, x: Tensor, padding: Tensor = None, training: bool = False) -> Tensor:  # [B, L, D], [B, L] -> [B, L, D]
        positions = Positions.of(padding, x, depth=self.steps[0].conv.filters)
        return positions.unflatten(self.flat(positions.flatten(x), positions, training))

    def flat(self, x: Tensor, positions: Positions, training: bool = False) -> Tensor:  # [N, D] -> [N, D]
        """Does the same as `call` on the flat sequences of `positions`."""
        # The weights are arguments, because the traced function is shared by all blocks with equal settings (see `sharing`).
        bits, factor = self.dropout.bits(positions, x.shape[-1], training)
        return shared(
            conv_block, x, positions.kept(x.dtype), positions.length, bits, factor,
            *(weight for step in self.steps for weight in step.tensors()),
            dilations=tuple(step.conv.dilation for step in self.steps), causal=self.causal,
            rate=self.dropout.rate, on_sum=self.dropout_on == "sum",
        )  # fmt: skip


def strided(padding: Tensor, strides: tuple[int, int]) -> Tensor | None:
    """Returns the padding of a strided layer's output, where output (i, j) is centred on input (i·s, j·s).

    If `padding` is None, the result is None.
    """
    # Centred windows make this exact: an output is padded if and only if the input at its centre is.
    return None if padding is None else padding[:, :: strides[0], :: strides[1]]


@keras.saving.register_keras_serializable(package="t2t_mm")
class ConvStep2D(keras.layers.Layer):
    """`ConvStep_{s,f}(W^{h×w}, x)` on an image or spectrogram (paper, 2.1 and 2.5).

    Each side is padded by `(k − 1)/2` regardless of the size, so that output (i, j) is centred on input (i·s, j·s). The
    framework's SAME would shift its windows depending on whether the padded length is even, so that the result of an
    example would depend on its neighbours in the batch.

    Args:
      filters: number of output channels f.
      kernel_size: number of rows and columns of the kernel; it must be odd.
      strides: strides along rows and columns.
      relu: False leaves out the ReLU. This is for the first step on raw pixels or samples, where a ReLU would discard all
        negative values. (The 2017 code leaves it out there, too.)
      separable: False makes it a full convolution with equal strides. On three colours, a separable convolution has only
        three spatial filters, which are too few to detect edges in every direction.
      kernel_scale: factor for the initial kernels, see ConvBlock.

    Raises:
      ValueError: an argument is out of range, the kernel size is even, or a full convolution has unequal strides.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        strides: tuple[int, int] = (1, 1),
        relu: bool = True,
        separable: bool = True,
        # For images, 0.3 is better than 1, and 0.1 is too small (docs/learning.md, "Images").
        kernel_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.kernel_scale = positive(kernel_scale, "kernel_scale")
        self.filters = at_least(1, filters, "filters")
        self.kernel_size = at_least(1, kernel_size, "kernel_size")
        if kernel_size % 2 == 0:
            raise ValueError(f"ConvStep2D: kernel_size is {kernel_size}; it must be odd to have a centre.")
        self.strides = tuple(at_least(1, stride, "strides") for stride in strides)
        self.relu = relu
        self.separable = separable
        if not separable and len(set(self.strides)) > 1:
            raise ValueError(f"ConvStep2D: strides {self.strides} differ, which only a separable convolution can do.")
        self.norm = LayerNorm(name="norm")

    def get_config(self) -> dict:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "relu": self.relu,
            "separable": self.separable,
            "kernel_scale": self.kernel_scale,
        }

    def build(self, input_shape: Shape) -> None:
        depth = input_shape[-1]
        size = self.kernel_size
        scale = self.kernel_scale

        # Without a ReLU before it, the input of the first step has no positive mean, and the mean-free kernel would gain
        # nothing.
        def start(taps=None):
            return mean_free_initializer(taps, scale) if self.relu else pointwise_initializer(scale**2)

        if not self.separable:
            self.kernel = self.add_weight(name="kernel", shape=(size, size, depth, self.filters), initializer=start())
            self.norm.build((*input_shape[:-1], self.filters))
            return
        if size > 1:  # a 1×1 depthwise kernel would only rescale the pointwise kernel
            self.depthwise = self.add_weight(
                name="depthwise",
                shape=(size, size, depth, 1),
                initializer=depthwise_initializer(size * size, scale),
                autocast=False,
            )
        self.pointwise = self.add_weight(
            name="pointwise",
            shape=(depth, self.filters),
            initializer=start(self.depthwise if size > 1 else None),
        )
        self.norm.build((*input_shape[:-1], self.filters))

    def call(
        self, x: Tensor, padding: Tensor = None
    ) -> Tensor:  # [B, H, W, C], [B, H, W] or None -> [B, ceil(H/s), ceil(W/s), F]
        check_features(x, "x", "[B, H, W, C]", self.pointwise.shape[0] if self.separable else self.kernel.shape[2])
        if padding is not None:
            check_padding(padding, "padding", x, axes=3, broadcast=True)
        if self.relu:
            x = ops.relu(x)
        x = zero_padding(x, padding)
        # Strides come after the padding, so that windows are centred on the inputs (i·s, j·s).
        rows, columns = self.strides
        side = self.kernel_size // 2
        # Explicit zeros and no SAME, whose windows depend on the parity of the padded size (see the class).
        x = ops.pad(x, [[0, 0], [side, side], [side, side], [0, 0]])
        if not self.separable:
            kernel = ops.cast(centred(self.kernel), x.dtype)
            return self._normed(_full_conv(x, kernel, rows))
        if self.kernel_size > 1:
            # The native depthwise kernel only supports equal strides. For unequal ones, use their greatest common divisor and
            # then subsample.
            stride = math.gcd(rows, columns)
            x = depthwise_conv(x, self.depthwise, stride)
            rows, columns = rows // stride, columns // stride
        # Before the matrix product, which would otherwise compute positions that are then dropped.
        x = x[:, ::rows, ::columns]
        return self._normed(pointwise(x, centred(self.pointwise)))

    def _normed(self, x):  # [B, H, W, F] centred over the channels -> [B, H, W, F]
        flat = ops.cast(ops.reshape(x, [-1, self.filters]), "float32")
        gamma, beta = ops.reshape(self.norm.gamma, [-1]), ops.reshape(self.norm.beta, [-1])
        # Ones: padded positions are not zeroed here, because the next step and the pooling do it themselves.
        y = scale_and_shift(flat, ops.ones([ops.shape(flat)[0], 1]), gamma, beta)
        return ops.reshape(ops.cast(y, x.dtype), ops.shape(x))


def max_pool(x: Tensor, padding: Tensor, strides: tuple[int, int]) -> Tensor:
    """Computes `MaxPool_s([3×3], x)` -> [B, ceil(H/s), ceil(W/s), C], with windows centred like those of ConvStep2D.

    Padded positions are ignored.
    """
    # Below all values after a norm, and finite in float16: −∞ would later become NaN, when padded positions are set to zero.
    lowest = -6e4
    if padding is not None:
        x = ops.where(padding[..., None], ops.convert_to_tensor(lowest, x.dtype), x)
    # The border must lose against every value. Zeros would not, because the values are normalised and half of them negative.
    x = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=lowest)
    if shifts.preferred():
        return shifts.largest(x, (3, 3), strides)
    return ops.max_pool(x, (3, 3), strides=strides, padding="valid", data_format="channels_last")


@keras.saving.register_keras_serializable(package="t2t_mm")
class ConvRes(keras.layers.Layer):
    """`ConvRes(x, F) = p1 + ConvStep_{s=2,F}(W^{1×1}, x)` with `p1 = MaxPool_2(ConvStep_F(ConvStep_F(x)))` (2.5).

    Args:
      filters: number of output channels F.
      strides: strides along rows and columns: (2, 2) for images, and (2, 1) for spectrograms, which keep all
        frequencies.
      relu: False leaves out the ReLU in the first step and in the shortcut, for a block on raw input (see ConvStep2D).
      separable: False makes the first step a full convolution (see ConvStep2D).
      kernel_scale: factor for the initial kernels, see ConvBlock.
    """

    def __init__(
        self,
        filters: int,
        strides: tuple[int, int] = (2, 2),
        relu: bool = True,
        separable: bool = True,
        kernel_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        rows, columns = strides
        self.strides = (rows, columns)
        step = functools.partial(ConvStep2D, filters, kernel_scale=kernel_scale)
        self.step1 = step(3, relu=relu, separable=separable, name="step1")
        # Only the first step may read few channels, so only that one can be a full convolution.
        self.step2 = step(3, name="step2")
        # The shortcut reads the raw input, too, and would lose its negative values in a ReLU as the first step would.
        self.shortcut = step(1, strides=self.strides, relu=relu, name="shortcut")

    def get_config(self) -> dict:
        return super().get_config() | {
            "filters": self.filters,
            "strides": self.strides,
            "relu": self.step1.relu,
            "separable": self.step1.separable,
            "kernel_scale": self.step1.kernel_scale,
        }

    def build(self, input_shape: Shape) -> None:
        self.step1.build(input_shape)
        self.step2.build((*input_shape[:-1], self.filters))
        self.shortcut.build(input_shape)

    def call(
        self, x: Tensor, padding: Tensor = None
    ) -> tuple[Tensor, Tensor | None]:  # [B, H, W, C], [B, H, W] or None -> [B, H', W', F], [B, H', W'] or None
        # The names are those of section 2.5.
        c2 = self.step2(self.step1(x, padding), padding)
        # A window in which all is padded has the value `lowest`; `strided` marks it as padded, and the next layer sets it to
        # zero.
        p1 = max_pool(c2, padding, self.strides)
        return p1 + self.shortcut(x, padding), strided(padding, self.strides)
