"""From an example's text, picture or sound to the tensors that the modality nets take."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class AudioFeatures:
    """How sound becomes the model's input.

    sample_rate: Hz; other rates are resampled. bins: mel frequencies; 1 feeds the waveform itself.
    frame, hop: window and its step, in samples. lowest, highest: Hz of the mel scale's ends.
    """

    sample_rate: int = 16000
    bins: int = 80
    frame: int = 400
    hop: int = 160
    lowest: float = 60.0
    highest: float = 7600.0

    def __call__(self, samples: tf.Tensor) -> tf.Tensor:
        """samples [N] in [-1, 1] -> log-mel spectrogram [time, bins], each frequency standardised over the time.

        With bins=1, the waveform [N, 1] standardised.
        """
        if self.bins == 1:
            features = samples[:, None]
        else:
            samples = tf.pad(samples, [[0, tf.maximum(self.frame - tf.shape(samples)[0], 0)]])
            power = tf.abs(tf.signal.stft(samples, self.frame, self.hop)) ** 2
            mel = tf.signal.linear_to_mel_weight_matrix(
                self.bins, power.shape[-1], self.sample_rate, self.lowest, self.highest
            )
            features = tf.math.log(power @ mel + 1e-6)
        mean, variance = tf.nn.moments(features, axes=[0], keepdims=True)
        return (features - mean) * tf.math.rsqrt(variance + 1e-5)


def standardise_image(pixels: np.ndarray) -> np.ndarray:
    """[H, W, 3] -> the same with mean 0 and deviation 1 over the whole picture (T2T's preprocessing of 2017)."""
    deviation = max(float(pixels.std()), 1.0 / pixels.size**0.5)
    return ((pixels - pixels.mean()) / deviation).astype(np.float32)
