"""Joins several inputs to one sequence of the unified representation.

The inputs are joined before the encoder. The paper's representation has a variable size so that one body can take any
input, and its encoder is the part that only sees the inputs. There, two inputs first interact by convolution, and later by
attention in the mixer and the decoder. All later parts take one sequence and its padding, as for a single input, and
classes that are read from the encoder's output can depend on both inputs. If the inputs were joined after the encoder, they
would only interact by attention.
"""

from collections.abc import Sequence

from keras import ops

from t2t_mm.layers.tensors import Tensor
from t2t_mm.layers.timing import timing_signal

PART = 1000  # first position of the second part; the third part begins at twice this number


def joined(parts: Sequence[Tensor], paddings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Joins sequences along their length without gaps, with all padding at the end.

    The convolutions and the timing signal of the attention keys count positions of the whole sequence, so a gap between two
    parts would make the result depend on the padding of the batch. In addition, each part gets its own timing signal
    (paper, 2.2), which does not depend on the lengths of the parts before it: it counts from 0 in the first part, from
    `PART` in the second, and so on. The signal shows the place of a position in its part, and which part it is, because
    several parts may have the same modality. It needs no weights, so any trained model can take several inputs. Therefore no
    part except the last may have more than `PART` positions, padding included: the further ones would have the signal of the
    next part. This is only checked where the lengths are static.

    Args:
      parts: [B, S_i, D] each.
      paddings: [B, S_i] boolean each.

    Returns:
      The sequence [B, S, D] and its padding [B, S], where S is the sum of all S_i.

    Raises:
      ValueError: a part is too long.
    """
    for number, part in enumerate(parts[:-1], start=1):
        if isinstance(part.shape[1], int) and part.shape[1] > PART:
            raise ValueError(
                f"Input {number} of {len(parts)} has {part.shape[1]} positions; only the last one may have more than {PART}. "
                "Shorten it, or make it the last one."
            )
    timed = [
        part + timing_signal(ops.shape(part)[1], part.shape[-1], number * PART, part.dtype)[None]
        for number, part in enumerate(parts)
    ]
    return packed(ops.concatenate(timed, axis=1), ops.concatenate(list(paddings), axis=1))


def packed(x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:  # [B, L, D], [B, L] -> [B, L, D], [B, L]
    """Moves the padded positions to the end. All other positions keep their order."""
    batch, length = ops.shape(x)[0], ops.shape(x)[1]
    # All keys are different, so the result does not depend on whether the sorting of a backend is stable.
    order = ops.argsort(ops.cast(padding, "int32") * length + ops.arange(length)[None], axis=1)
    order = ops.reshape(order + ops.arange(batch)[:, None] * length, [-1])  # rows of the flat sequences
    moved = ops.take(ops.reshape(x, [-1, x.shape[-1]]), order, axis=0)
    kept = ops.take(ops.reshape(padding, [-1]), order, axis=0)
    return ops.reshape(moved, [-1, length, x.shape[-1]]), ops.reshape(kept, [-1, length])
