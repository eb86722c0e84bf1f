"""Turns audio and images into the tensors that the modality nets expect."""

import dataclasses

import numpy as np
import tensorflow as tf

from t2t_mm.common.errors import RunError, check_at_least


@dataclasses.dataclass(frozen=True)
class AudioFeatures:
    """Settings that determine how audio is turned into the input of the model.

    Attributes:
      sample_rate: sample rate in Hz; audio with other rates is resampled.
      bins: number of mel bins; 1 uses the waveform itself.
      frame: window length in samples.
      hop: distance between two windows in samples.
      lowest: lower end of the mel scale in Hz.
      highest: upper end of the mel scale in Hz, at most half of the sample rate.

    Raises:
      RunError: a number is out of range.
    """

    sample_rate: int = 16000
    # With 40 bins, speech on the mini corpora has the same loss in 0.34 instead of 0.47 s per step (docs/learning.md,
    # "Speech").
    bins: int = 80
    # Windows of 25 ms at distances of 10 ms.
    frame: int = 400
    hop: int = 160
    lowest: float = 60.0
    highest: float = 7600.0

    def __post_init__(self):
        check_at_least(1, self, "sample_rate", "bins", "frame", "hop")
        if self.bins == 1:  # the waveform has no mel scale
            return
        if not 0 <= self.lowest < self.highest:
            raise RunError(f"AudioFeatures.lowest is {self.lowest!r}; it must be from 0 to below highest, {self.highest!r}.")
        if self.highest > self.sample_rate / 2:
            raise RunError(
                f"AudioFeatures.highest is {self.highest!r}, which is above half of sample_rate, {self.sample_rate}; a "
                "recording has no such frequencies."
            )

    def __call__(self, samples: tf.Tensor) -> tf.Tensor:
        """Computes the features of one audio clip.

        Args:
          samples: waveform `[N]` in [-1, 1].

        Returns:
          The log-mel spectrogram `[time, bins]`, in which every bin is standardised over time; with `bins=1`, the
          standardised waveform `[N, 1]`.
        """
        if self.bins == 1:
            features = samples[:, None]
        else:
            # Audio shorter than one window would have no frame, and nothing to be standardised.
            samples = tf.pad(samples, [[0, tf.maximum(self.frame - tf.shape(samples)[0], 0)]])
            power = tf.abs(tf.signal.stft(samples, self.frame, self.hop)) ** 2
            mel = tf.signal.linear_to_mel_weight_matrix(self.bins, power.shape[-1], self.sample_rate, self.lowest, self.highest)
            # The constant keeps the logarithm of digital silence finite.
            features = tf.math.log(power @ mel + 1e-6)
        mean, variance = tf.nn.moments(features, axes=[0], keepdims=True)
        # Per recording and bin, which removes its loudness and the colour of its microphone. The constant is for a silent one.
        return (features - mean) * tf.math.rsqrt(variance + 1e-5)


def standardise_image(pixels: np.ndarray) -> np.ndarray:
    """Scales an image `[H, W, 3]` to mean 0 and standard deviation 1, like tensor2tensor's preprocessing of 2017."""
    # The lower bound, as in `tf.image.per_image_standardization`, is for images of one colour.
    deviation = max(float(pixels.std()), 1.0 / pixels.size**0.5)
    return ((pixels - pixels.mean()) / deviation).astype(np.float32)
