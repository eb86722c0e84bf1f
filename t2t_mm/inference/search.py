"""Greedy search, beam search and sampling with the incremental decoder (paper, 2.4)."""

import dataclasses
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from t2t_mm.incremental import IncrementalDecoder
from t2t_mm.input.tokenizer import END_ID, PADDING_ID

# Finite, because differences and products of infinities would be NaN. A sum of a few of them, or of one and the
# log-probabilities of a long text, still is far below IMPOSSIBLE_SCORE.
_IMPOSSIBLE = -1e9
IMPOSSIBLE_SCORE = -1e8  # hypotheses with lower scores are not outputs, but only fill places
_ROOM = 32  # positions by which the memory of the attention grows, so that short answers do not pay for the length limit


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Settings of a search.

    Attributes:
      beam_size: number of hypotheses; 1: greedy search.
      alpha: strength of the length penalty.
      max_length: maximum number of tokens of an answer, including the end token.
    """

    beam_size: int = 1
    # As Vaswani et al. 2017, 6.1.
    alpha: float = 0.6
    max_length: int = 128


class Constraint(Protocol):
    """A constraint on the form of outputs, as an automaton whose state each hypothesis carries through the search.

    A state is a structure of tensors [B, K, ...]. At least one token must be allowed in every state that is reached by allowed
    tokens, if the output of the example fits the maximum length.
    """

    def initial(self, width: int) -> Any:
        """Returns the state of `width` hypotheses before their first token."""

    def allowed(self, state: Any, position: tf.Tensor) -> tf.Tensor:
        """Returns which tokens are allowed at this position, [B, K, V] boolean."""

    def merged(self, log_p: tf.Tensor) -> tf.Tensor:
        """Returns log-probabilities [B, K, V] in which tokens that mean the same to the constraint all have that of their sum.

        At most one token of such a set may be allowed at a time.
        """

    def advance(self, state: Any, token: tf.Tensor) -> Any:
        """Returns the state after a token [B, K]. After a token that is not allowed, any state may be returned."""


def length_penalty(length: int | tf.Tensor, alpha: float) -> tf.Tensor:
    """Returns ((5 + length) / 6)^α, by which the log-probability of a hypothesis is divided (Wu et al. 2016, eq. 14)."""
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
    """Returns the best output of each example among `beam_size` hypotheses. With beam_size=1, this is greedy search.

    For the arguments and errors, see `best_of_beam`.

    Returns:
      The ids [B, max_length] (PADDING_ID after the end token); scores [B] (log-probability divided by the length penalty,
      in nats).
    """
    ids, scores = best_of_beam(model, encoded, source_padding, command, max_length, beam_size, 1, alpha, never_end, constraint)
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
    """Returns the `best` outputs of each example among `beam_size` hypotheses, ordered by their scores.

    All hypotheses of all examples advance together, and the search stops when all have ended. A hypothesis that has ended
    keeps its place and its score.

    Args:
      encoded: the encoded inputs [B, S, D].
      source_padding: [B, S], True where they are padding.
      command: the command token, its id, or an id for each example [B]; the same with which the inputs were encoded.
      max_length: maximum number of tokens of an output, including the end token.
      beam_size: number of hypotheses of each example.
      best: number of hypotheses that are returned, N.
      alpha: strength of the length penalty; 0: no penalty.
      never_end: makes the end token impossible, for outputs of a known length (in measurements).
      constraint: constraint on the form of outputs. It makes tokens impossible without changing the probabilities of the
        others, except that it may count several tokens as one.
      log_probs: whether to return the log-probabilities of the tokens too.

    Returns:
      The ids [B, N, max_length] (PADDING_ID after the end token); scores [B, N] (log-probability divided by the length
      penalty, in nats); with `log_probs` also [B, N, max_length], the log-probability of each token given those before it,
      in nats, 0 after the end token. These are the log-probabilities of the model over its whole vocabulary, even if a
      constraint is set: the only token that a constraint allows has the probability that the model assigns to it, not 1.
      Their sum is the score before the length penalty. If fewer than N outputs are possible, the scores of the others are
      below IMPOSSIBLE_SCORE.

    Raises:
      ValueError: `best` is not between 1 and `beam_size`.
    """
    if not 1 <= best <= beam_size:
        raise ValueError(f"best is {best}; it must be between 1 and the {beam_size} hypotheses of beam_size.")

    def choose(position, log_p, scores, ended):
        symbols = log_p.shape[-1]
        if never_end:
            log_p += tf.one_hot(END_ID, symbols, on_value=_IMPOSSIBLE, off_value=0.0)
        # Greedy search needs neither a sort nor a reordering of the pasts.
        if beam_size == 1:
            best = tf.argmax(log_p, axis=-1, output_type=tf.int32)
            return scores + tf.gather(log_p, best, batch_dims=2), None, best
        # The K best of all K·V continuations. A hypothesis that has ended has a single one, padding with log-probability 0,
        # and so competes with its unchanged score.
        total = tf.reshape(scores[..., None] + log_p, [-1, beam_size * symbols])
        scores, choice = tf.math.top_k(total, beam_size)  # [B, K]
        return scores, choice // symbols, choice % symbols

    ids, scores, lengths, of_tokens = _decode(
        model, encoded, source_padding, command, max_length, beam_size, choose, constraint, log_probs
    )
    # Impossible hypotheses are not divided by the penalty, so that long ones remain impossible.
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
    """Samples one output of each example, token by token.

    Args:
      encoded, source_padding, command, max_length, constraint, log_probs: see `best_of_beam`.
      temperature: the logits are divided by it. Values below 1 make likely tokens more likely.
      top_k: samples only from the k most likely tokens; 0: from all tokens.
      top_p: samples only from the smallest set of the most likely tokens whose probabilities sum to at least p (Holtzman et al.
        2020); 1: from all tokens. With `top_k`, the set is taken from the k most likely tokens.
      seed: with the same seed, an example at the same place in its batch has the same output, whatever the other examples are.

    Returns:
      The ids [B, max_length]; scores [B] (log-probability of the output under the model itself, in nats); with `log_probs`
      also the log-probabilities of the tokens [B, max_length], under the model itself like the scores.

    Raises:
      ValueError: `temperature`, `top_k` or `top_p` is out of range.
    """
    if temperature <= 0 or top_k < 0 or not 0 < top_p <= 1:
        raise ValueError(
            f"temperature {temperature}, top_k {top_k}, top_p {top_p}: temperature must be above 0, top_k at least 0, "
            "top_p above 0 and at most 1."
        )

    def choose(position, log_p, scores, ended):
        # Gumbel's method: the argmax of log p + Gumbel noise is a sample from p, so that nothing has to be normalised again.
        allowed = keep_likely(log_p[:, 0] / temperature, top_k, top_p)  # [B, V]
        # One draw per position for the whole batch, from the seed and the position alone. 0 is left out, because its logarithm
        # is infinite.
        noise = tf.random.stateless_uniform(tf.shape(allowed), tf.stack([seed, position]), minval=1e-20)
        drawn = tf.argmax(allowed - tf.math.log(-tf.math.log(noise)), axis=-1, output_type=tf.int32)[:, None]
        # The score is the log-probability under the model itself, without temperature and truncation.
        return scores + tf.gather(log_p, drawn, batch_dims=2), None, drawn

    ids, scores, _, of_tokens = _decode(model, encoded, source_padding, command, max_length, 1, choose, constraint, log_probs)
    found = ids[:, 0], scores[:, 0]
    return (*found, of_tokens[:, 0]) if log_probs else found


def keep_likely(logits: tf.Tensor, top_k: int, top_p: float) -> tf.Tensor:
    """Returns logits [B, V] in which all except the most likely tokens are impossible (see `sample`). At least one is kept."""
    symbols = logits.shape[-1]
    if not 0 < top_k < symbols and top_p == 1:
        return logits
    # All symbols if there is no limit of k.
    ordered, order = tf.math.top_k(logits, min(top_k, symbols) or symbols)
    probabilities = tf.nn.softmax(ordered)
    # Exclusive, so that the most likely token is always kept.
    kept = tf.cumsum(probabilities, axis=-1, exclusive=True) < top_p  # the tokens before it have less than p
    rows = tf.broadcast_to(tf.range(tf.shape(logits)[0])[:, None], tf.shape(order))
    places = tf.stack([rows, order], axis=-1)
    nothing = tf.fill(tf.shape(logits), _IMPOSSIBLE)
    return tf.tensor_scatter_nd_update(nothing, places, tf.where(kept, ordered, _IMPOSSIBLE))


def _decode(
    model, encoded, source_padding, command, max_length: int, width: int, choose, constraint=None, log_probs: bool = False
):
    """Runs the loop that all searches share.

    Args:
      choose: a function from position, log_p [B, K, V], scores [B, K] and ended [B, K] to the new scores [B, K], the parent
        [B, K] (the hypothesis that each one continues; None: itself) and the token [B, K]. For a hypothesis that has ended,
        log_p only allows PADDING_ID, with log-probability 0.
      constraint: a Constraint, or None.

    Returns:
      The ids [B, K, max_length], scores [B, K], lengths [B, K], and the log-probabilities of the tokens [B, K, max_length]
      with `log_probs`, otherwise ().
    """
    batch = tf.shape(encoded)[0]
    # Memory that is written in place must not be shared, but TensorFlow merges the zeros of all layers into one constant.
    state = tf.nest.map_structure(
        lambda part: tf.raw_ops.DeepCopy(x=part), model.initial_state(encoded, source_padding, 0, width)
    )
    # All hypotheses of an example start from its command token (paper, 2.4).
    first = tf.repeat(model.command(command, batch), width, axis=0)  # [B·K, D]
    # All hypotheses start equal, so only the first may be extended in the first step.
    scores = tf.tile([[0.0] + [_IMPOSSIBLE] * (width - 1)], [batch, 1])  # [B, K]
    # Of full length from the start, because a loop must not change the shapes of its state.
    ids = tf.fill([batch, width, max_length], PADDING_ID)
    lengths = tf.zeros([batch, width], tf.int32)
    ended = tf.zeros([batch, width], tf.bool)
    # A hypothesis writes to its own slot, whatever past it continues (see `History`).
    own = tf.range(width)[None, :, None]
    # Rounded up to whole rooms, like the memory of the attention.
    longest = -(-max_length // _ROOM) * _ROOM
    ancestors = tf.broadcast_to(own, [batch, width, longest]) if width > 1 else tf.zeros([], tf.int32)
    # A loop cannot carry None, but it can carry an empty structure.
    form = () if constraint is None else constraint.initial(width)
    of_tokens = tf.zeros([batch, width, max_length]) if log_probs else ()

    def goes_on(position, x, state, ancestors, form, of_tokens, scores, ids, lengths, ended):
        return tf.logical_and(position < max_length, tf.logical_not(tf.reduce_all(ended)))

    def advance(position, x, state, ancestors, form, of_tokens, scores, ids, lengths, ended):
        logits, state = model.step(x, position, state, ancestors if width > 1 else None, _write_in_place)
        # Before the constraint, so that what it forbids keeps its share of the probability.
        log_p = tf.nn.log_softmax(tf.reshape(logits, [-1, width, logits.shape[-1]]))
        if constraint is not None:
            log_p = constraint.merged(log_p) + tf.where(constraint.allowed(form, position), 0.0, _IMPOSSIBLE)
        # Padding is the only continuation of an ended hypothesis, and is impossible for all others.
        log_p = tf.where(ended[..., None], _only_padding(logits.shape[-1], 0.0), log_p + _no_padding(logits.shape[-1]))
        scores, parent, token = choose(position, log_p, scores, ended)
        if parent is not None:
            # Everything that belongs to a hypothesis follows it to its new place, except for the memory of the layers, which
            # is large: only the table of ancestors changes.
            ids, lengths, ended, form, of_tokens = tf.nest.map_structure(
                lambda old: tf.gather(old, parent, batch_dims=1), (ids, lengths, ended, form, of_tokens)
            )
            # Later positions keep the own slot, to which the hypothesis is going to write.
            past = tf.range(longest)[None, None] <= position
            ancestors = tf.where(past, tf.gather(ancestors, parent, batch_dims=1), own)
        ids = tf.where(tf.range(max_length)[None, None] == position, token[..., None], ids)
        if log_probs:
            # The difference between the scores would be less exact, because they are long sums.
            rows = log_p if parent is None else tf.gather(log_p, parent, batch_dims=1)
            gain = tf.gather(rows, token, batch_dims=2)
            of_tokens = tf.where(tf.range(max_length)[None, None] == position, gain[..., None], of_tokens)
        # Before `ended` is updated, so that the end token counts.
        lengths += tf.cast(tf.logical_not(ended), tf.int32)
        ended = tf.logical_or(ended, token == END_ID)
        form = () if constraint is None else constraint.advance(form, token)
        # All hypotheses of an example have the same command, so it does not follow them to their new places.
        x = model.language_in(tf.reshape(token, [-1]), first)
        return position + 1, x, state, ancestors, form, of_tokens, scores, ids, lengths, ended

    def advance_in_shape(*loop):
        """Sets the static shapes that a loop must keep, but TensorFlow does not infer."""
        advanced = advance(*loop)
        tf.nest.map_structure(lambda new, old: new.set_shape(old.shape), advanced, loop)
        return advanced

    # Two nested loops: in the inner one, no shape changes; the outer one copies the memory into a larger one, once per room.
    def fill_room(position, x, state, *others):
        limit = position + _ROOM
        return tf.while_loop(
            lambda position, *loop: tf.logical_and(position < limit, goes_on(position, *loop)),
            advance_in_shape,
            (position, x, model.extend(state, _ROOM), *others),
        )

    loop = (tf.constant(0), first, state, ancestors, form, of_tokens, scores, ids, lengths, ended)
    # Only the memory of the attention changes its shape.
    grown = tf.nest.map_structure(
        lambda one, other: one.shape.most_specific_compatible_shape(other.shape), state, model.extend(state, _ROOM)
    )
    shapes = tf.nest.map_structure(lambda one: one.shape, loop)
    *_, of_tokens, scores, ids, lengths, ended = tf.while_loop(
        goes_on, fill_room, loop, shape_invariants=(*shapes[:2], grown, *shapes[3:])
    )
    return ids, scores, lengths, of_tokens


def _write_in_place(memory, rows, values, after):
    """Does the same as `layers.history.scatter` without copying all memory at every step, as TensorFlow's scatter does.

    This is safe, because it runs after the operations that read the previous memory (`after`), and because the next position
    is known only after all layers have read the memory of this one.
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
