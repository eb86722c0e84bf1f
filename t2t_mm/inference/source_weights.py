"""The attention of the tokens of answers to the source, which a teacher-forced pass computes."""

import tensorflow as tf

from t2t_mm.input.tokenizer import PADDING_ID
from t2t_mm.layers.attention import SourceLooks
from t2t_mm.model import MultiModel


def without_weights(network: MultiModel) -> str:
    """Returns why the attention of a model to its source has no weights to show, or "" if it has."""
    if (attend := network.mixer.attention.attend) is not True:
        return f"The blocks of this model have no attention (attend={attend!r})"
    if network.reads != "positions":
        return f"This model does not attend to positions of its source (reads={network.reads!r})"
    return ""


def source_weights(
    network: MultiModel, encoded: tf.Tensor, padding: tf.Tensor, command: tf.Tensor, ids: tf.Tensor
) -> tuple[list[str], tf.Tensor]:
    """Runs a teacher-forced pass over answers.

    Args:
      encoded: [B, S, D].
      padding: [B, S] boolean.
      command: the ids of the command tokens, [] or [B].
      ids: [B, T].

    Returns:
      The names of the blocks, "mixer/attention", then "decoder/block1" and so on, and their weights [blocks, B, T, S],
      averaged over the heads.
    """
    looks = SourceLooks()
    # Teacher forcing gives the weights of all tokens at once, so that the search itself does not have to carry them along.
    network.decode_text(encoded, padding, command, ids, ids == PADDING_ID, looks=looks)
    names = [name.split("/", 1)[1] for name in looks.names]  # without the name of the model
    return names, tf.stack([tf.reduce_mean(one, axis=1) for one in looks.weights])
