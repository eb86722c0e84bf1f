"""Greedy search, beam search and sampling over the decoder's step-by-step state (paper, 2.4)."""

import dataclasses
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from t2t_mm.incremental import IncrementalDecoder
from t2t_mm.input.tokenizer import END_ID, PADDING_ID

_IMPOSSIBLE = -1e9
IMPOSSIBLE_SCORE = -1e8  # a hypothesis below it is no output, but fills the place of one
_ROOM = 32  # positions by which the attention's memory grows: short answers never pay for the length limit


@dataclasses.dataclass(frozen=True)
class Decoding:
    """beam_size: 1 is greedy search. alpha: strength of the length penalty. max_length: tokens of an answer."""

    beam_size: int = 1
    alpha: float = 0.6
    max_length: int = 128


class Constraint(Protocol):
    """What an output must look like, as an automaton that each hypothesis carries through the search.

    A state is a structure of tensors [B, K, ...]. In every state that is reached by allowed tokens, and whose example
    has room for its output, at least one token must be allowed.
    """

    def initial(self, width: int) -> Any:
        """The state of all hypotheses before their first token."""

    def allowed(self, state: Any, position: tf.Tensor) -> tf.Tensor:
        """[B, K, V] boolean: which tokens may stand at this position."""

    def advance(self, state: Any, token: tf.Tensor) -> Any:
        """The state after a token [B, K], which may be one that was not allowed: then it only must not fail."""


def length_penalty(length: int | tf.Tensor, alpha: float) -> tf.Tensor:
    """`((5 + length) / 6)^α`: what a hypothesis' log-probability is divided by (Wu et al. 2016, eq. 14)."""
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** alpha


def beam_search(
    model: IncrementalDecoder,
    encoded: tf.Tensor,
    source_padding: tf.Tensor,
    command: str | int | tf.Tensor,
    max_length: int,
    beam_size: int = 1,
    alpha: float = 0.6,
    never_end: bool = False,
    constraint: Constraint | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best output of each example among `beam_size` hypotheses; beam_size=1 is greedy search.

    Args and Raises are those of `best_of_beam`.

    Returns: ids [B, max_length] (PADDING_ID after the end token), scores [B] (penalised log-probability, nats).
    """
    ids, scores = best_of_beam(
        model, encoded, source_padding, command, max_length, beam_size, 1, alpha, never_end, constraint
    )
    return ids[:, 0], scores[:, 0]


def best_of_beam(
    model: IncrementalDecoder,
    encoded: tf.Tensor,
    source_padding: tf.Tensor,
    command: str | int | tf.Tensor,
    max_length: int,
    beam_size: int,
    best: int,
    alpha: float = 0.6,
    never_end: bool = False,
    constraint: Constraint | None = None,
    log_probs: bool = False,
) -> tuple[tf.Tensor, ...]:
    """The `best` outputs of each example among `beam_size` hypotheses, in the order of their scores.

    All hypotheses of all examples advance together, and the search stops when every one has ended. An ended
    hypothesis keeps its place with its score.

    Args:
      encoded: [B, S, D]. source_padding: [B, S].
      command: the command token, or its id, or an id for each example [B].
      max_length: most tokens of an output, the end token included.
      beam_size: hypotheses kept for each example.
      best: how many of them are returned.
      alpha: strength of the length penalty; 0 is none.
      never_end: make the end token impossible, for outputs of a known length (measurements).
      constraint: what an output must look like. It takes tokens out, and leaves the probabilities of the others as the
        model has them.
      log_probs: return those of the tokens too.

    Returns: ids [B, N, max_length] (PADDING_ID after the end token), scores [B, N] (penalised log-probability, nats);
      with `log_probs` also [B, N, max_length], the log-probability of each token given those before it (nats), 0 after
      the end token. They are the model's own over its whole vocabulary, also where a constraint has taken tokens out:
      a token that was the only one allowed has the probability that the model gave it, not 1. Their sum is the score
      before the length penalty. Where fewer outputs than `best` are possible, the scores of the others are below
      IMPOSSIBLE_SCORE.

    Raises:
      ValueError: `best` is not between 1 and `beam_size`.
    """
    if not 1 <= best <= beam_size:
        raise ValueError(f"best is {best}; it must be between 1 and the {beam_size} hypotheses of beam_size.")

    def choose(position, log_p, scores, ended):
        symbols = log_p.shape[-1]
        if never_end:
            log_p += tf.one_hot(END_ID, symbols, on_value=_IMPOSSIBLE, off_value=0.0)
        if beam_size == 1:
            best = tf.argmax(log_p, axis=-1, output_type=tf.int32)
            return scores + tf.gather(log_p, best, batch_dims=2), None, best
        total = tf.reshape(scores[..., None] + log_p, [-1, beam_size * symbols])
        scores, choice = tf.math.top_k(total, beam_size)  # [B, K]
        return scores, choice // symbols, choice % symbols

    ids, scores, lengths, of_tokens = _decode(
        model, encoded, source_padding, command, max_length, beam_size, choose, constraint, log_probs
    )
    # What is impossible must stay so, however long it is.
    penalised = tf.where(scores < IMPOSSIBLE_SCORE, scores, scores / length_penalty(lengths, alpha))
    scores, places = tf.math.top_k(penalised, best)
    found = tf.gather(ids, places, batch_dims=1), scores
    return (*found, tf.gather(of_tokens, places, batch_dims=1)) if log_probs else found


def sample(
    model: IncrementalDecoder,
    encoded: tf.Tensor,
    source_padding: tf.Tensor,
    command: str | int | tf.Tensor,
    max_length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    constraint: Constraint | None = None,
    log_probs: bool = False,
) -> tuple[tf.Tensor, ...]:
    """One output of each example, drawn token by token.

    Args:
      encoded, source_padding, command, max_length, constraint, log_probs: as in `best_of_beam`.
      temperature: logits are divided by it; below 1 the likely becomes likelier.
      top_k: draw among the k likeliest tokens only; 0 among all.
      top_p: draw among the fewest likeliest tokens whose probabilities sum to p (Holtzman et al. 2020); 1 among all.
        Of the k likeliest where both are given.
      seed: the same seed draws the same output for an example at the same place in its batch, whatever the others are.

    Returns: ids [B, max_length], scores [B] (log-probability of the output under the model itself, nats); with
      `log_probs` also those of the tokens [B, max_length], under the model itself like the scores.
    """
    if temperature <= 0 or top_k < 0 or not 0 < top_p <= 1:
        raise ValueError(
            f"temperature {temperature}, top_k {top_k}, top_p {top_p}: temperature must be above 0, top_k at least 0, "
            "top_p above 0 and at most 1."
        )

    def choose(position, log_p, scores, ended):
        allowed = keep_likely(log_p[:, 0] / temperature, top_k, top_p)  # [B, V]
        noise = tf.random.stateless_uniform(tf.shape(allowed), tf.stack([seed, position]), minval=1e-20)
        drawn = tf.argmax(allowed - tf.math.log(-tf.math.log(noise)), axis=-1, output_type=tf.int32)[:, None]
        return scores + tf.gather(log_p, drawn, batch_dims=2), None, drawn

    ids, scores, _, of_tokens = _decode(
        model, encoded, source_padding, command, max_length, 1, choose, constraint, log_probs
    )
    found = ids[:, 0], scores[:, 0]
    return (*found, of_tokens[:, 0]) if log_probs else found


def keep_likely(logits: tf.Tensor, top_k: int, top_p: float) -> tf.Tensor:
    """logits [B, V] with all but the likeliest tokens made impossible (see `sample`); at least one is kept."""
    symbols = logits.shape[-1]
    if not 0 < top_k < symbols and top_p == 1:
        return logits
    ordered, order = tf.math.top_k(logits, min(top_k, symbols) or symbols)
    probabilities = tf.nn.softmax(ordered)
    kept = tf.cumsum(probabilities, axis=-1, exclusive=True) < top_p  # what lies before a token is less than p
    rows = tf.broadcast_to(tf.range(tf.shape(logits)[0])[:, None], tf.shape(order))
    places = tf.stack([rows, order], axis=-1)
    nothing = tf.fill(tf.shape(logits), _IMPOSSIBLE)
    return tf.tensor_scatter_nd_update(nothing, places, tf.where(kept, ordered, _IMPOSSIBLE))


def _decode(
    model, encoded, source_padding, command, max_length: int, width: int, choose, constraint=None, log_probs: bool = False
):
    """The loop that every search shares -> ids [B, K, max_length], scores [B, K], lengths [B, K] and, with `log_probs`, those
    of the tokens [B, K, max_length]; else ().

    Args:
      choose: (position, log_p [B, K, V], scores [B, K], ended [B, K]) -> new scores [B, K], parent [B, K] (the
        hypothesis that each goes on from; None: its own), token [B, K]. Of an ended hypothesis, log_p allows
        PADDING_ID alone, at no cost.
      constraint: a Constraint, or None.
    """
    batch = tf.shape(encoded)[0]
    # Memory that is written in place must be nobody else's, and the zeros of all layers are one constant to TensorFlow.
    state = tf.nest.map_structure(
        lambda part: tf.raw_ops.DeepCopy(x=part), model.initial_state(encoded, source_padding, 0, width)
    )
    x = tf.repeat(model.command(command, batch), width, axis=0)  # [B·K, D]
    # All hypotheses start equal: only the first may be extended at the first step.
    scores = tf.tile([[0.0] + [_IMPOSSIBLE] * (width - 1)], [batch, 1])  # [B, K]
    ids = tf.fill([batch, width, max_length], PADDING_ID)
    lengths = tf.zeros([batch, width], tf.int32)
    ended = tf.zeros([batch, width], tf.bool)
    own = tf.range(width)[None, :, None]
    longest = -(-max_length // _ROOM) * _ROOM
    ancestors = tf.broadcast_to(own, [batch, width, longest]) if width > 1 else tf.zeros([], tf.int32)
    form = () if constraint is None else constraint.initial(width)
    of_tokens = tf.zeros([batch, width, max_length]) if log_probs else ()

    def goes_on(position, x, state, ancestors, form, of_tokens, scores, ids, lengths, ended):
        return tf.logical_and(position < max_length, tf.logical_not(tf.reduce_all(ended)))

    def advance(position, x, state, ancestors, form, of_tokens, scores, ids, lengths, ended):
        logits, state = model.step(x, position, state, ancestors if width > 1 else None, _write_in_place)
        log_p = tf.nn.log_softmax(tf.reshape(logits, [-1, width, logits.shape[-1]]))
        if constraint is not None:
            log_p += tf.where(constraint.allowed(form, position), 0.0, _IMPOSSIBLE)
        log_p = tf.where(ended[..., None], _only_padding(logits.shape[-1], 0.0), log_p + _no_padding(logits.shape[-1]))
        scores, parent, token = choose(position, log_p, scores, ended)
        if parent is not None:
            ids, lengths, ended, form, of_tokens = tf.nest.map_structure(
                lambda old: tf.gather(old, parent, batch_dims=1), (ids, lengths, ended, form, of_tokens)
            )
            past = tf.range(longest)[None, None] <= position
            ancestors = tf.where(past, tf.gather(ancestors, parent, batch_dims=1), own)
        ids = tf.where(tf.range(max_length)[None, None] == position, token[..., None], ids)
        if log_probs:
            # What the score has gained; the difference of two long sums would round it.
            rows = log_p if parent is None else tf.gather(log_p, parent, batch_dims=1)
            gain = tf.gather(rows, token, batch_dims=2)
            of_tokens = tf.where(tf.range(max_length)[None, None] == position, gain[..., None], of_tokens)
        lengths += tf.cast(tf.logical_not(ended), tf.int32)
        ended = tf.logical_or(ended, token == END_ID)
        form = () if constraint is None else constraint.advance(form, token)
        x = model.language_in(tf.reshape(token, [-1]))
        return position + 1, x, state, ancestors, form, of_tokens, scores, ids, lengths, ended

    def advance_in_shape(*loop):
        """What TensorFlow does not infer of the shapes, but a loop must keep."""
        advanced = advance(*loop)
        tf.nest.map_structure(lambda new, old: new.set_shape(old.shape), advanced, loop)
        return advanced

    def fill_room(position, x, state, *others):
        limit = position + _ROOM
        return tf.while_loop(
            lambda position, *loop: tf.logical_and(position < limit, goes_on(position, *loop)),
            advance_in_shape,
            (position, x, model.extend(state, _ROOM), *others),
        )

    loop = (tf.constant(0), x, state, ancestors, form, of_tokens, scores, ids, lengths, ended)
    # The attention's memory is the one thing whose shape changes.
    grown = tf.nest.map_structure(
        lambda one, other: one.shape.most_specific_compatible_shape(other.shape), state, model.extend(state, _ROOM)
    )
    shapes = tf.nest.map_structure(lambda one: one.shape, loop)
    *_, of_tokens, scores, ids, lengths, ended = tf.while_loop(
        goes_on, fill_room, loop, shape_invariants=(*shapes[:2], grown, *shapes[3:])
    )
    return ids, scores, lengths, of_tokens


def _write_in_place(memory, rows, values, after):
    """`layers.history.scatter` without the copy of all memory that TensorFlow's scatter makes at every step.

    Safe because what reads the memory of before comes first (`after`), and the next position is only known when all
    layers have read that of this one.
    """
    with tf.control_dependencies([after]):
        return tf.raw_ops.InplaceUpdate(x=memory, i=rows, v=values)


def _only_padding(symbols: int, value: float):
    found = np.full([symbols], _IMPOSSIBLE, np.float32)
    found[PADDING_ID] = value
    return found


def _no_padding(symbols: int):
    found = np.zeros([symbols], np.float32)
    found[PADDING_ID] = _IMPOSSIBLE
    return found
