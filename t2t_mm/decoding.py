"""Greedy and beam search over the decoder's step-by-step state (paper, 2.4: autoregressive decoding)."""

import tensorflow as tf

from t2t_mm.data.tokenizer import END_ID, PADDING_ID

_IMPOSSIBLE = -1e9


def length_penalty(length, alpha: float):
    """`((5 + length) / 6)^α`: what a hypothesis' log-probability is divided by (Wu et al. 2016, eq. 14)."""
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** alpha


def beam_search(model, encoded, source_padding, command, max_length: int, beam_size: int = 1, alpha: float = 0.6):
    """The best output of each example among `beam_size` hypotheses; beam_size=1 is greedy search.

    All hypotheses of all examples advance together, and the search stops when every one has ended. An ended
    hypothesis keeps its place with its score.

    Args:
      encoded: [B, S, D]. source_padding: [B, S].
      command: the command token, or its id, or an id for each example [B].
      max_length: most tokens of an output, the end token included.
      beam_size: hypotheses kept for each example.
      alpha: strength of the length penalty; 0 is none.

    Returns: ids [B, max_length] (PADDING_ID after the end token), scores [B] (penalised log-probability, nats).
    """
    batch, width = tf.shape(encoded)[0], beam_size
    encoded, source_padding = (tf.repeat(x, width, axis=0) for x in (encoded, source_padding))
    state = model.initial_state(encoded, source_padding, max_length)
    x = tf.repeat(model.command(command, batch), width, axis=0)  # [B·K, D]
    # All hypotheses start equal: only the first may be extended at the first step.
    scores = tf.tile([[0.0] + [_IMPOSSIBLE] * (width - 1)], [batch, 1])  # [B, K]
    ids = tf.fill([batch, width, max_length], PADDING_ID)
    lengths = tf.zeros([batch, width], tf.int32)
    ended = tf.zeros([batch, width], tf.bool)
    positions = tf.range(max_length)
    first_of = tf.range(batch)[:, None] * width  # row of each example's first hypothesis

    def goes_on(position, x, state, scores, ids, lengths, ended):
        return tf.logical_and(position < max_length, tf.logical_not(tf.reduce_all(ended)))

    def advance(position, x, state, scores, ids, lengths, ended):
        logits, new_state = model.step(x, position, state)
        symbols = logits.shape[-1]
        log_p = tf.reshape(tf.nn.log_softmax(logits), [-1, width, symbols])
        stay = tf.one_hot(PADDING_ID, symbols, on_value=0.0, off_value=_IMPOSSIBLE)
        padding_never = tf.one_hot(PADDING_ID, symbols, on_value=_IMPOSSIBLE, off_value=0.0)
        log_p = tf.where(ended[..., None], stay, log_p + padding_never)
        total = tf.reshape(scores[..., None] + log_p, [-1, width * symbols])
        scores, choice = tf.math.top_k(total, width)  # [B, K]
        parent, token = choice // symbols, choice % symbols
        rows = tf.reshape(first_of + parent, [-1])
        ids, lengths, ended = (tf.gather(old, parent, batch_dims=1) for old in (ids, lengths, ended))
        ids = tf.where((positions == position)[None, None], token[..., None], ids)
        lengths += tf.cast(tf.logical_not(ended), tf.int32)
        ended = tf.logical_or(ended, token == END_ID)
        state = tf.nest.map_structure(
            lambda new, old: tf.ensure_shape(new if width == 1 else tf.gather(new, rows), old.shape), new_state, state
        )
        x = tf.ensure_shape(model.language_in(tf.reshape(token, [-1])), x.shape)
        return position + 1, x, state, scores, ids, lengths, ended

    *_, scores, ids, lengths, ended = tf.while_loop(
        goes_on, advance, (tf.constant(0), x, state, scores, ids, lengths, ended)
    )
    penalised = scores / length_penalty(lengths, alpha)
    best = tf.argmax(penalised, axis=1, output_type=tf.int32)
    return tf.gather(ids, best, batch_dims=1), tf.gather(penalised, best, batch_dims=1)
