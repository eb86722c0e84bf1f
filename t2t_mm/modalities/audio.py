"""The input net for audio, either a waveform or a spectrogram (paper, 2.5)."""

from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import at_least, check_features, check_padding, one_of
from t2t_mm.layers.convolution import ConvRes, zero_padding
from t2t_mm.layers.tensors import Shape, Tensor
from t2t_mm.modalities.features import Sounds
from t2t_mm.modalities.image import flatten_grid
from t2t_mm.modalities.modality import Modality
from t2t_mm.modalities.net import InputNet


@keras.saving.register_keras_serializable(package="t2t_mm")
class AudioInput(InputNet):
    """A stack of ConvRes blocks, `l_i = ConvRes(l_{i−1}, 2^i)`, followed by a pointwise map to the depth D.

    Waveforms and spectrograms pass through the same code as [B, time, frequency, 1]; a waveform has one frequency. The
    blocks only stride along time, so that a spectrogram keeps its full spectral resolution.

    If the paper is followed literally (blocks=8, least_width=1, frequencies="positions"), l_1 has only 2 channels, of which
    layer norm leaves little more than a sign, and one position covers 256 steps. These are 16 ms of a waveform at 16 kHz,
    but 2.6 s of a spectrogram with a hop of 10 ms. Fewer and wider blocks keep the information that a transcript needs.

    Args:
      depth: D.
      blocks: number of ConvRes blocks, each of which halves the length in time.
      least_width: block i has max(2^i, least_width) channels.
      frequencies: "positions" makes every pair of time and frequency a position of the sequence, as the paper literally
        says. "channels" joins all frequencies of one time into one position by a learned pointwise map.
      first_relu: True applies the ReLU of ConvStep also to the raw input, as the paper literally says (see ImageInput).
      full_stem: True makes the first step a full convolution (see ImageInput). Audio has one channel, of which a separable
        convolution computes a single number for each position. Regardless of the width, layer norm leaves only its sign.
      kernel_scale: factor for the initial kernels, see ConvBlock.

    Raises:
      ValueError: an argument is out of range.
    """

    def __init__(
        self,
        depth: int,
        blocks: int = 8,
        least_width: int = 1,
        frequencies: str = "positions",
        first_relu: bool = False,
        full_stem: bool = False,
        kernel_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.frequencies = one_of(("positions", "channels"), frequencies, "frequencies")
        self.least_width = at_least(1, least_width, "least_width")
        self.blocks = [
            ConvRes(
                max(2**i, least_width),
                # Time is halved and the frequencies are kept: "full spectral resolution" (paper, 2.5).
                (2, 1),
                # Only the first block reads raw input, on which a ReLU would discard all negative values.
                relu=first_relu or i > 1,
                # `tests/test_start.py` counts the directions that the first step can pass on: one if it is separable, nine if
                # it is full (docs/learning.md, "Speech").
                separable=i > 1 or not full_stem,
                kernel_scale=kernel_scale,
                name=f"l{i}",
            )  # fmt: skip
            for i in range(1, at_least(1, blocks, "blocks") + 1)
        ]
        self.to_depth = keras.layers.Dense(at_least(1, depth, "depth"), use_bias=False, name="to_depth")

    def get_config(self) -> dict:
        return super().get_config() | {
            "depth": self.to_depth.units,
            "blocks": len(self.blocks),
            "least_width": self.least_width,
            "frequencies": self.frequencies,
            "first_relu": self.blocks[0].step1.relu,
            "full_stem": not self.blocks[0].step1.separable,
            "kernel_scale": self.blocks[0].step1.kernel_scale,
        }

    def build(self, input_shape: Shape) -> None:
        # Needed for the check of `call`, because with "channels" the weights depend on the number of frequencies.
        self.bins = input_shape[2]
        channels = 1
        for block in self.blocks:
            block.build((None, None, input_shape[2], channels))
            channels = block.filters
        if self.frequencies == "channels":
            channels *= input_shape[2]
        self.to_depth.build((None, None, channels))

    def call(self, x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor, tuple]:
        """Returns a sequence [B, L, D], its padding [B, L] and its grid (rows, columns).

        Args:
          x: [B, time, frequency].
          padding: [B, time] boolean.
        """
        check_features(x, "x", "[B, time, frequency]", self.bins)
        check_padding(padding, "padding", x, axes=2)
        # Static, because the channels of `to_depth` are computed from it.
        frequency = x.shape[2]
        # A spectrogram is an image with one channel.
        x, padding = x[..., None], padding[..., None]  # padding broadcasts along the frequencies
        for block in self.blocks:
            x, padding = block(x, padding)
        x = zero_padding(x, padding)  # max_pool leaves large numbers there, whose products would be infinite in float16
        if self.frequencies == "channels":
            x = ops.reshape(x, [-1, ops.shape(x)[1], 1, frequency * self.blocks[-1].filters])
        return flatten_grid(self.to_depth(x), padding)


AUDIO = Modality("audio", AudioInput, (None, None), Sounds())
