"""Several inputs as one sequence of the unified representation.

They are joined before the encoder. The paper's representation has a variable size so that one body can take any input, and
its encoder is the part that sees the inputs and nothing else: two inputs meet there first, by convolution, and again in the
attentions of mixer and decoder. All that follows is given one sequence and its padding, as ever, and where classes are read
from the encoder's output they can depend on both. Joined after it, they would meet in attention alone.
"""

from collections.abc import Sequence

from keras import ops

from t2t_mm.layers.tensors import Tensor
from t2t_mm.layers.timing import timing_signal

PART = 1000  # the position from which the second part is counted; the third from twice that


def joined(parts: Sequence[Tensor], paddings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Joins sequences along their length, without gaps: the padding of all stands at the end.

    The convolutions and the timing signal of attention's keys count positions of the whole, so that a gap between two parts
    would make the result depend on how far a batch is padded. Each part has a timing signal (paper, 2.2) of its own
    besides, whatever the length of those before it, that counts from 0 in the first, from `PART` in the second: it tells
    where a position lies in its part and, as parts may be of one modality, in which. It needs no weights, so that every
    trained model can take several inputs.

    Args:
      parts: each [B, S_i, D]. paddings: each [B, S_i] boolean.

    Returns: [B, S, D] and its padding [B, S], S the sum of all S_i.
    """
    timed = [
        part + timing_signal(ops.shape(part)[1], part.shape[-1], number * PART, part.dtype)[None]
        for number, part in enumerate(parts)
    ]
    return packed(ops.concatenate(timed, axis=1), ops.concatenate(list(paddings), axis=1))


def packed(x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:  # [B, L, D], [B, L] -> [B, L, D], [B, L]
    """Moves padded positions behind all others, which keep their order."""
    batch, length = ops.shape(x)[0], ops.shape(x)[1]
    order = ops.argsort(ops.cast(padding, "int32") * length + ops.arange(length)[None], axis=1)
    order = ops.reshape(order + ops.arange(batch)[:, None] * length, [-1])  # rows of the flat sequences
    moved = ops.take(ops.reshape(x, [-1, x.shape[-1]]), order, axis=0)
    kept = ops.take(ops.reshape(padding, [-1]), order, axis=0)
    return ops.reshape(moved, [-1, length, x.shape[-1]]), ops.reshape(kept, [-1, length])
