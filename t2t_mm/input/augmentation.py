"""Random augmentation of training images. The result depends only on the image and the seed."""

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
        import tensorflow as tf  # imported here, because batch sizes are also computed where TensorFlow is missing

        crop_seed, mirror_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(pixels), tf.zeros([1, 0, 4]), crop_seed, min_object_covered=0.0, aspect_ratio_range=self.aspect,
            area_range=self.area, max_attempts=10, use_image_if_no_bounding_boxes=True,
        )  # fmt: skip
        crop = tf.ensure_shape(tf.slice(pixels, begin, extent), [None, None, 3])
        crop = tf.image.resize(crop, [size, size], antialias=True)
        return tf.image.stateless_random_flip_left_right(crop, mirror_seed) if self.mirror else crop
