"""Random changes of training pictures, each a function of its seed alone."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Crops of random size, shape and place, half of them mirrored (Szegedy et al. 2015, "Going Deeper with
    Convolutions", 6).

    area: least and largest share of the picture that is kept. aspect: least and largest width over height of it.
    mirror: whether half of the crops are turned left to right.

    Raises:
      ValueError: a range is not one of positive numbers, or an area is larger than the picture.
    """

    area: Sequence[float] = (0.08, 1.0)
    aspect: Sequence[float] = (3 / 4, 4 / 3)
    mirror: bool = True

    def __post_init__(self):
        for name in ("area", "aspect"):
            value = getattr(self, name)
            if len(value) != 2 or not 0 < value[0] <= value[1] or (name == "area" and value[1] > 1):
                raise ValueError(f"RandomCrop: {name} is {value}; it must be (least, largest), above 0, areas up to 1.")

    def __call__(self, pixels, size: int, seed):
        """pixels [H, W, 3], seed [2] -> float32 [size, size, 3] in the same range, resized with antialiasing.

        A picture in which ten tries find no such crop (a very narrow one) stays whole.
        """
        import tensorflow as tf  # here, because sizes of batches are also asked for where there is no TensorFlow

        crop_seed, mirror_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(pixels), tf.zeros([1, 0, 4]), crop_seed, min_object_covered=0.0, aspect_ratio_range=self.aspect,
            area_range=self.area, max_attempts=10, use_image_if_no_bounding_boxes=True,
        )  # fmt: skip
        crop = tf.ensure_shape(tf.slice(pixels, begin, extent), [None, None, 3])
        crop = tf.image.resize(crop, [size, size], antialias=True)
        return tf.image.stateless_random_flip_left_right(crop, mirror_seed) if self.mirror else crop
