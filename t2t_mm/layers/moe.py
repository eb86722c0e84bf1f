"""The sparsely-gated mixture-of-experts layer (paper, 2.3; Shazeer et al. 2017, arXiv 1701.06538)."""

from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import at_least
from t2t_mm.layers.positions import Positions
from t2t_mm.layers.randomness import Dropout, SeedGenerator
from t2t_mm.layers.tensors import Shape, Tensor

# The normal distribution function is Φ(z) = (1 + erf(z/√2)) / 2.
_SQRT_HALF = 0.7071067811865476


def squared_variation(x: Tensor) -> Tensor:
    """Returns the squared coefficient of variation of a vector [E], `Var(x) / Mean(x)²` (Shazeer et al., eq. 7)."""
    # The constant only matters for a batch without tokens, whose mean is zero; the loss is then 0 instead of NaN.
    return ops.var(x) / (ops.square(ops.mean(x)) + 1e-10)


def dispatch_to_blocks(experts: Tensor, valid: Tensor, num_experts: int, block_size: int) -> tuple[Tensor, Tensor]:
    """Sorts the assignments of tokens to experts into blocks, each of which belongs to one expert.

    No assignment is dropped, even if the load is very uneven. The assignments of an expert fill ceil(count / block_size)
    blocks, so that the number of blocks is at most `assignments // block_size + num_experts`. This bound depends only on
    the shapes, as a compiler requires.

    Args:
      experts: [A] int32, the expert of each assignment. A token with K chosen experts has K assignments.
      valid: [A] boolean, False where the token is padding.
      num_experts: E.
      block_size: the number of rows of a block.

    Returns:
      slots: [A] int32, the row of each assignment among the rows of all blocks. Assignments that are not valid get the
        row after the last one.
      block_experts: [blocks] int32, the expert of each block.
    """
    # Each expert wastes less than one block, so there is at most one partial block per expert beside the full ones.
    blocks = ops.shape(experts)[0] // block_size + num_experts
    counts, rank = count_and_rank(experts, valid, num_experts)
    ends = ops.cumsum((counts + block_size - 1) // block_size)  # [E] the block after each expert's last
    starts = ends - (counts + block_size - 1) // block_size
    slots = ops.where(valid, ops.take(starts, experts) * block_size + rank, blocks * block_size)
    # The number of experts whose blocks end before a block is the index of the expert of that block.
    block_experts = ops.sum(ops.cast(ops.arange(blocks)[:, None] >= ends[None, :], "int32"), axis=1)
    # Blocks that no expert needs would get the index E. They get a valid one; their rows are empty, so the result is not used.
    return slots, ops.minimum(block_experts, num_experts - 1)


def count_and_rank(experts: Tensor, valid: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    """Returns the number of valid assignments of each expert [E], and the rank [A] of each assignment within its expert."""
    # Sorting by keys that combine expert and place groups the assignments by expert and keeps their order. A table of all
    # assignments and experts would not need sorting, but would be E times as large.
    size = ops.shape(experts)[0]
    expert = ops.where(valid, experts, num_experts)  # padding comes after all experts
    counts = ops.segment_sum(ops.ones_like(expert), expert, num_segments=num_experts + 1)
    places = ops.arange(size, dtype="int32")
    keys = ops.sort(expert * size + places)
    starts = ops.cumsum(counts) - counts
    # A scatter: every place occurs once, so that each sum has a single term. `keys` contain the expert and the place.
    ranks = ops.segment_sum(places - ops.take(starts, keys // size), ops.mod(keys, size), num_segments=size)
    return counts[:num_experts], ops.where(valid, ranks, 0)


@keras.saving.register_keras_serializable(package="t2t_mm")
class MixtureOfExperts(keras.layers.Layer):
    """`y = Σ_i G(x)_i E_i(x)` over the K experts that noisy top-k gating chooses for each token (paper, 2.3).

    The gates G(x) are the softmax over the K largest of `H(x)_i = (x·W_g)_i + N(0,1)·softplus((x·W_noise)_i)`. Noise is
    only added in training. Each expert is a ReLU network with one hidden layer and no biases (Shazeer et al. show none
    either). Only the chosen experts are computed, in blocks of `block_size` tokens, and no token is dropped.

    Args:
      num_experts: E; the paper's 240 for eight problems and 60 for one problem.
      chosen: K; the paper's 4.
      hidden: width of an expert's hidden layer. The paper does not give it; the 2017 release has 2,048.
      dropout: fraction of the layer's output that is dropped in training. The paper does not mention any.
      gate_noise: whether noise is added to the gates in training.
      block_size: number of rows that are multiplied with the weights of one expert at once.

    Raises:
      ValueError: an argument is out of range, or `chosen` is not less than `num_experts`.
    """

    def __init__(
        self,
        num_experts: int = 240,
        chosen: int = 4,
        hidden: int = 2048,
        dropout: float = 0.0,
        gate_noise: bool = True,
        block_size: int = 32,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_experts = at_least(2, num_experts, "num_experts")
        self.chosen = at_least(1, chosen, "chosen")
        self.hidden = at_least(1, hidden, "hidden")
        self.block_size = at_least(1, block_size, "block_size")
        # Not only an economy: gating takes the K + 1 largest logits, and there must be that many.
        if chosen >= num_experts:
            raise ValueError(
                f"MixtureOfExperts: chosen is {chosen}, num_experts {num_experts}; fewer must be chosen than there "
                "are (the load estimator compares each chosen expert with the best one not chosen)."
            )
        self.dropout = Dropout(dropout, name="dropout")
        self.gate_noise = gate_noise
        self.seed_generator = SeedGenerator(name="gate_noise")

    def get_config(self) -> dict:
        return super().get_config() | {
            "num_experts": self.num_experts,
            "chosen": self.chosen,
            "hidden": self.hidden,
            "dropout": self.dropout.rate,
            "gate_noise": self.gate_noise,
            "block_size": self.block_size,
        }

    def build(self, input_shape: Shape) -> None:
        depth = input_shape[-1]
        # The gates start at zero, so that all experts are equally likely and only the noise chooses (Shazeer et al.,
        # appendix A). They are float32 regardless of the compute type, because rounding would change the choice.
        shape = (depth, self.num_experts)
        self.gate = self.add_weight(name="gate", shape=shape, initializer="zeros", autocast=False)
        self.noise = self.add_weight(name="noise", shape=shape, initializer="zeros", autocast=False)
        # All experts are one tensor, so that a batch of experts is one product and the optimizer has two variables instead of
        # hundreds.
        self.expert_in = self.add_weight(
            name="expert_in",
            shape=(self.num_experts, depth, self.hidden),
            initializer=_expert_initializer(depth),
        )
        self.expert_out = self.add_weight(
            name="expert_out",
            shape=(self.num_experts, self.hidden, depth),
            initializer=_expert_initializer(self.hidden),
        )

    def call(self, x: Tensor, padding: Tensor, training: bool = False) -> tuple[Tensor, dict]:
        """Returns the output [B, L, D] and the balance vectors.

        The balance vectors [E] are "importance", the sum of the gates of each expert, and "load", a smooth estimate of the
        number of its tokens. Neither of them counts padding. The balancing losses are the `squared_variation` of each
        vector, which is computed after the vectors of all replicas have been summed. With them come the "chosen" gates and
        experts of each token, each [N, K] with N = B·L; padding has gates of zero.

        Args:
          x: [B, L, D].
          padding: [B, L] boolean, or its `Positions`.
        """
        positions = Positions.of(padding, x, depth=self.gate.shape[0])
        y, balance = self.flat(positions.flatten(x), positions, training)
        # Not `unflatten`, which cannot infer the size of the batch if all sequences are empty.
        return ops.reshape(y, ops.shape(x)), balance

    def flat(
        self, tokens: Tensor, positions: Positions, training: bool = False
    ) -> tuple[Tensor, dict]:  # [N, D] -> [N, D], balance
        """Does the same as `call` on the flat sequences of `positions`."""
        # Padding is left out of gates, balance and experts, so that it neither costs anything nor counts as load.
        valid = positions.valid()
        weights, experts, balance = self.gating(tokens, valid, training)
        y = self._experts(tokens, valid, weights, experts)
        return self.dropout(y, training=training), balance

    def step_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the weights of the gate and the experts in the form that `step` takes, in float32.

        The gate is [D, E]. If a token chooses a large fraction of the experts, so that `step` computes all of them, the
        experts are [D, E·H] and [E·H, D]; otherwise they are [E, D, H] and [E, H, D].
        """
        gate, expert_in, expert_out = (
            ops.cast(ops.convert_to_tensor(x.value), "float32") for x in (self.gate, self.expert_in, self.expert_out)
        )
        if self._computes_all():
            depth = expert_out.shape[-1]
            expert_in = ops.reshape(ops.transpose(expert_in, [1, 0, 2]), [depth, -1])
            expert_out = ops.reshape(expert_out, [-1, depth])
        return gate, expert_in, expert_out

    def _computes_all(self) -> bool:
        # For a few tokens, one product with all experts needs fewer operations than K products per token, as long as it does
        # not compute many times more than what is asked for.
        return self.num_experts <= 4 * self.chosen

    def step(self, x: Tensor, gate: Tensor, expert_in: Tensor, expert_out: Tensor) -> Tensor:  # [N, D] -> [N, D]
        """Does the same as `call` for a few float32 tokens without padding, without distributing them over the experts.

        If a token chooses a large fraction of the experts, all experts are computed in one product, and those that are not
        chosen get the weight zero. Otherwise, the weights of the chosen experts are read in place, one choice after the
        other.

        Args:
          gate, expert_in, expert_out: as `step_weights` returns them.
        """
        # Without noise, because decoding is not training (paper, 2.3). There is no dispatch, because a step has only one token
        # per hypothesis.
        top, experts = ops.top_k(ops.matmul(x, gate), self.chosen)
        weights = ops.softmax(top, axis=-1)  # [N, K]
        if self._computes_all():
            chosen = ops.one_hot(experts, self.num_experts, dtype=x.dtype)  # [N, K, E]
            every = ops.sum(chosen * ops.expand_dims(weights, -1), axis=1)  # [N, E]
            hidden = ops.reshape(ops.relu(ops.matmul(x, expert_in)), [-1, self.num_experts, self.hidden])
            hidden = ops.reshape(hidden * ops.expand_dims(every, -1), [-1, self.num_experts * self.hidden])
            return ops.matmul(hidden, expert_out)

        def one(choice):
            token, expert = choice
            hidden = ops.relu(ops.matmul(x[token][None], expert_in[expert]))
            return ops.matmul(hidden, expert_out[expert])[0]

        experts = ops.reshape(ops.cast(experts, "int32"), [-1])
        tokens = ops.arange(ops.shape(experts)[0], dtype="int32") // self.chosen
        chosen = ops.reshape(ops.map(one, (tokens, experts)), [-1, self.chosen, x.shape[-1]])
        return ops.sum(chosen * weights[:, :, None], axis=1)

    def gating(self, tokens: Tensor, valid: Tensor, training: bool) -> tuple[Tensor, Tensor, dict]:
        """Computes noisy top-k gating in float32.

        Args:
          tokens: [N, D].
          valid: [N] boolean, False where a token is padding.

        Returns:
          The weights [N, K] and indices [N, K] (int32) of the chosen experts, and the balance vectors.
        """
        tokens = ops.cast(tokens, "float32")
        # Shazeer et al., eq. 3 to 5: H(x) is `noisy`, KeepTopK is `top_k`, and the softmax is over the K largest.
        clean = ops.matmul(tokens, self.gate)  # [N, E]
        spread = ops.softplus(ops.matmul(tokens, self.noise))
        noisy = clean
        if training and self.gate_noise:
            noisy = clean + spread * keras.random.normal(ops.shape(clean), seed=self.seed_generator)
        # One more than K, because the load estimator compares with the best expert that was not chosen.
        top, experts = ops.top_k(noisy, self.chosen + 1)
        counted = ops.cast(valid, "float32")[:, None]
        # Padding gets gates of zero, so that it counts neither in the output nor in the importance.
        weights = ops.softmax(top[:, : self.chosen], axis=-1) * counted
        experts = ops.cast(experts[:, : self.chosen], "int32")
        # Eq. 6, without a table of all tokens and experts.
        importance = ops.segment_sum(ops.reshape(weights, [-1]), ops.reshape(experts, [-1]), num_segments=self.num_experts)
        # The probability that expert i would be chosen if only its own noise were drawn again (eq. 8 and 9). It is compared
        # with the K-th best of the others, which is the (K+1)-th best of all if expert i was chosen itself.
        last, next_best = top[:, self.chosen - 1 : self.chosen], top[:, self.chosen :]
        threshold = ops.where(noisy > next_best, next_best, last)
        probability = 0.5 * (1.0 + ops.erf((clean - threshold) / (spread + 1e-10) * _SQRT_HALF))
        # Eq. 10. It is smooth in the weights of the gates, while the number of tokens of an expert is not.
        load = ops.sum(probability * counted, axis=0)
        return weights, experts, {"importance": importance, "load": load, "chosen": (weights, experts)}

    def _experts(self, tokens, valid, weights, experts):  # [N, D], [N], [N, K], [N, K] -> [N, D]
        # From here on, one row is one assignment, and token n has the assignments n·K to n·K + K − 1.
        experts, valid = ops.reshape(experts, [-1]), ops.repeat(valid, self.chosen)  # [A = N·K]

        def in_blocks():
            """Uses blocks that each belong to one expert, and copies the weights of the expert for each block."""
            slots, of_block = dispatch_to_blocks(experts, valid, self.num_experts, self.block_size)
            expert_in, expert_out = (ops.take(w, of_block, axis=0) for w in (self.expert_in, self.expert_out))
            return self._weighed(tokens, weights, slots, self.block_size, expert_in, expert_out)

        assignments = ops.shape(experts)[0]
        if isinstance(assignments, int):  # static shapes for a compiler: sizes must not depend on the choice of experts
            return in_blocks()
        counts, rank = count_and_rank(experts, valid, self.num_experts)
        most = ops.max(counts)

        def by_expert():
            """Gives every expert as many rows as the busiest one needs, and copies no weights."""
            slots = ops.where(valid, experts * most + rank, self.num_experts * most)
            return self._weighed(tokens, weights, slots, most, self.expert_in, self.expert_out)

        # If a few experts have most of the tokens, most of these rows would be empty. Blocks are then better, because their
        # number is bounded.
        return ops.cond(most * self.num_experts <= 3 * assignments + 8 * self.num_experts, by_expert, in_blocks)

    def _weighed(self, tokens, weights, slots, size, expert_in, expert_out):
        """Returns the sum [N, D] of the outputs of the chosen experts, each multiplied by its gate.

        Args:
          tokens: [N, D].
          weights: [N, K], the gates.
          slots: [N·K], the row of each assignment in groups of `size` rows.
          expert_in, expert_out: [groups, D, H] and [groups, H, D].
        """
        count, depth = ops.shape(weights)[0] * self.chosen, tokens.shape[-1]
        # The row after the last one takes the assignments of padding. It is cut off, so that padding is not computed.
        rows = ops.shape(expert_in)[0] * size
        # The assignment of each row. A row has at most one; empty rows get the index after the last assignment.
        # Counted from 1, because 0 is what a sum over no assignment gives.
        filled = ops.segment_sum(ops.arange(count, dtype="int32") + 1, slots, num_segments=rows + 1)[:rows]
        assignments = ops.where(filled > 0, filled - 1, count)
        groups = ops.reshape(_spread(tokens, assignments, slots, self.chosen), [-1, size, depth])
        # One product for all groups: [groups, size, D] with [groups, D, H].
        hidden = ops.relu(ops.matmul(groups, ops.cast(expert_in, tokens.dtype)))
        out = ops.reshape(ops.matmul(hidden, ops.cast(expert_out, tokens.dtype)), [-1, depth])
        chosen = ops.reshape(_collected(out, slots, assignments), [-1, self.chosen, depth])
        # The gates are float32, and so is the sum over the experts (eq. 1).
        return ops.cast(ops.sum(ops.cast(chosen, "float32") * weights[:, :, None], axis=1), tokens.dtype)


def _rows(x, index):
    """Returns the rows `index` of x [N, D]; row N is zero."""
    return ops.take(ops.concatenate([x, ops.zeros([1, x.shape[-1]], x.dtype)], axis=0), index, axis=0)


def _spread(tokens, assignments, slots, chosen: int):
    """Returns the token of each row [rows, D], given tokens [N, D] and assignments [rows] (N·K for an empty row).

    The gradient is a gather with the other one of the two indices. Automatic differentiation would compute a sum over
    segments, which may have any number of rows and takes many times longer.
    """

    # K is not an argument of the inner function, which only takes tensors. It does not follow from their sizes, because a
    # batch may be empty.
    @ops.custom_gradient
    def spread(tokens, assignments, slots):
        def gradient(*arguments, upstream=None):
            up = arguments[0] if upstream is None else upstream
            each = ops.reshape(_rows(up, slots), [-1, chosen, tokens.shape[-1]])
            # The gradient of a token is the sum over its K assignments; indices have none.
            return ops.sum(each, axis=1), None, None

        return _rows(tokens, assignments // chosen), gradient

    return spread(tokens, assignments, slots)


@ops.custom_gradient
def _collected(out, slots, assignments):
    """Returns the output of each assignment [N·K, D], given out [rows, D] and slots [N·K] (`rows` for padding).

    For the gradient, see `_spread`.
    """

    def gradient(*arguments, upstream=None):
        up = arguments[0] if upstream is None else upstream
        return _rows(up, assignments), None, None

    return _rows(out, slots), gradient


def _expert_initializer(fan_in: int) -> keras.initializers.Initializer:
    """Returns uniform unit scaling for a stack of matrices [E, fan_in, out], each with its own fan-in."""
    # Keras's VarianceScaling would take the number of experts for a receptive field and multiply the fan-in by it.
    limit = (3.0 / fan_in) ** 0.5
    return keras.initializers.RandomUniform(-limit, limit)
