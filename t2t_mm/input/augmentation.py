"""Random augmentation of training images and spectrograms. The result depends only on the input and the seed."""

import dataclasses
import typing
from collections.abc import Sequence

if typing.TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Crops images to a random size, aspect ratio and position, and mirrors half of the crops.

    This follows Szegedy et al. 2015, "Going Deeper with Convolutions", section 6.

    Attributes:
      area: minimum and maximum fraction of the image's area that is kept.
      aspect: minimum and maximum aspect ratio (width / height) of the crop.
      mirror: whether half of the crops are flipped horizontally.

    Raises:
      ValueError: a range does not consist of positive numbers in order, or an area is larger than the image.
    """

    area: Sequence[float] = (0.08, 1.0)
    aspect: Sequence[float] = (3 / 4, 4 / 3)
    mirror: bool = True

    def __post_init__(self):
        for name in ("area", "aspect"):
            value = getattr(self, name)
            if len(value) != 2 or not 0 < value[0] <= value[1] or (name == "area" and value[1] > 1):
                raise ValueError(
                    f"RandomCrop: {name} is {value}; it must be (minimum, maximum) with a minimum above 0, and for "
                    "area a maximum of at most 1."
                )

    def __call__(self, pixels: "tf.Tensor", size: int, seed: "tf.Tensor") -> "tf.Tensor":
        """Returns a random crop, resized with antialiasing.

        An image in which no such crop is found in ten attempts, such as a very narrow one, is used as a whole.

        Args:
          pixels: image `[H, W, 3]`.
          size: height and width of the result.
          seed: `[2]`.

        Returns:
          float32 `[size, size, 3]` with values in the range of `pixels`.
        """
        import tensorflow as tf  # imported here, because batch sizes are also computed without TensorFlow

        # Two seeds, so that the mirroring is independent of the place of the crop.
        crop_seed, mirror_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        # No bounding boxes are given, so the whole image is the object, of which no part has to be contained in the crop.
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(pixels), tf.zeros([1, 0, 4]), crop_seed, min_object_covered=0.0, aspect_ratio_range=self.aspect,
            area_range=self.area, max_attempts=10, use_image_if_no_bounding_boxes=True,
        )  # fmt: skip
        crop = tf.ensure_shape(tf.slice(pixels, begin, extent), [None, None, 3])
        crop = tf.image.resize(crop, [size, size], antialias=True)
        return tf.image.stateless_random_flip_left_right(crop, mirror_seed) if self.mirror else crop


@dataclasses.dataclass(frozen=True)
class SpecAugment:
    """Masks times and frequencies of spectrograms (Park et al. 2019, arXiv 1904.08779, 2).

    Time warping is left out, because the authors found that it matters least. The default is their policy LD, "LibriSpeech
    double".

    `tfio.audio.freq_mask` and `time_mask` of tensorflow-io compute the same masks, but use TensorFlow's random state, so
    that the seed of the run would not determine the masks and checkpoints would not restore them. In addition,
    tensorflow-io has no wheel for Python 3.13. A test compares both implementations if tensorflow-io is installed. There is
    one difference: here, a mask may include the last frame and the last frequency, so that all are masked equally often.

    Attributes:
      frequency_masks, time_masks: numbers of masks.
      frequency_width, time_width: maximum number of frequencies or frames of a mask; all widths up to it are equally likely.
      time_share: maximum fraction of a recording that a time mask covers.

    Raises:
      ValueError: a number is negative, or the share is not in [0, 1].
    """

    frequency_masks: int = 2
    frequency_width: int = 27
    time_masks: int = 2
    time_width: int = 100
    time_share: float = 1.0

    def __post_init__(self):
        for name in ("frequency_masks", "frequency_width", "time_masks", "time_width"):
            if getattr(self, name) < 0:
                raise ValueError(f"SpecAugment: {name} is {getattr(self, name)}; it must not be negative.")
        if not 0 <= self.time_share <= 1:
            raise ValueError(f"SpecAugment: time_share is {self.time_share}; it must be between 0 and 1.")

    def __call__(self, spectrogram: "tf.Tensor", seed: "tf.Tensor") -> "tf.Tensor":
        """Returns the spectrogram with masked values set to zero, which is the mean of each frequency.

        A waveform (1 bin) only has time masks.

        Args:
          spectrogram: [time, bins].
          seed: [2].
        """
        import tensorflow as tf  # as above

        frames, bins = tf.shape(spectrogram)[0], spectrogram.shape[1]
        # The bound p·τ of the paper for short recordings (2, "time masking").
        longest = tf.minimum(self.time_width, tf.cast(self.time_share * tf.cast(frames, tf.float32), tf.int32))
        masks = [(frames, longest)] * self.time_masks
        # The single bin of a waveform is the signal itself, which a frequency mask would remove altogether.
        masks += [(bins, min(self.frequency_width, bins))] * (self.frequency_masks if bins > 1 else 0)
        for number, (size, widest) in enumerate(masks):
            # Each mask gets its own seed from its number, so that the masks are independent of each other.
            two = tf.random.experimental.stateless_split(tf.random.experimental.stateless_fold_in(seed, number), 2)
            # Both bounds are inclusive in the result; `stateless_uniform` excludes the upper one, hence the + 1.
            width = tf.random.stateless_uniform([], two[0], 0, widest + 1, tf.int32)
            begin = tf.random.stateless_uniform([], two[1], 0, size - width + 1, tf.int32)
            covered = tf.logical_and(tf.range(size) >= begin, tf.range(size) < begin + width)
            covered = covered[:, None] if number < self.time_masks else covered[None, :]
            spectrogram = tf.where(covered, tf.zeros([], spectrogram.dtype), spectrogram)
        return spectrogram
