"""The sparsely-gated mixture-of-experts layer (paper, 2.3; Shazeer et al. 2017, arXiv 1701.06538)."""

from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import at_least
from t2t_mm.layers.positions import Positions
from t2t_mm.layers.randomness import Dropout, SeedGenerator
from t2t_mm.layers.tensors import Shape, Tensor

_SQRT_HALF = 0.7071067811865476


def squared_variation(x: Tensor) -> Tensor:
    """Squared coefficient of variation, `Var(x) / Mean(x)²` over a vector [E] -> scalar (Shazeer et al., eq. 7)."""
    return ops.var(x) / (ops.square(ops.mean(x)) + 1e-10)


def dispatch_to_blocks(experts: Tensor, valid: Tensor, num_experts: int, block_size: int) -> tuple[Tensor, Tensor]:
    """Sorts token assignments by expert into blocks of one expert each; none is dropped, whatever the skew.

    Every expert's assignments fill ceil(count / block_size) blocks, so that the number of blocks is at most
    `assignments // block_size + num_experts`: a size known from the shapes alone, which is what a compiler needs.

    Args:
      experts: [A] int32, the expert of each assignment (a token chosen by K experts has K assignments).
      valid: [A] boolean, False where the token is padding.
      num_experts, block_size: E and the rows of a block.

    Returns:
      slots: [A] int32, each assignment's row among all blocks' rows; invalid ones get the row after the last.
      block_experts: [blocks] int32, the expert of each block.
    """
    blocks = ops.shape(experts)[0] // block_size + num_experts
    counts, rank = count_and_rank(experts, valid, num_experts)
    ends = ops.cumsum((counts + block_size - 1) // block_size)  # [E] the block after each expert's last
    starts = ends - (counts + block_size - 1) // block_size
    slots = ops.where(valid, ops.take(starts, experts) * block_size + rank, blocks * block_size)
    block_experts = ops.sum(ops.cast(ops.arange(blocks)[:, None] >= ends[None, :], "int32"), axis=1)
    return slots, ops.minimum(block_experts, num_experts - 1)


def count_and_rank(experts: Tensor, valid: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    """The number of valid assignments of each expert [E], and each assignment's place among its expert's [A]."""
    # Sorted keys, expert first and place second, bring each expert's assignments together in their order: a table of
    # all assignments and experts would be E times as large.
    size = ops.shape(experts)[0]
    expert = ops.where(valid, experts, num_experts)  # padding after all experts
    counts = ops.segment_sum(ops.ones_like(expert), expert, num_segments=num_experts + 1)
    places = ops.arange(size, dtype="int32")
    keys = ops.sort(expert * size + places)
    starts = ops.cumsum(counts) - counts
    ranks = ops.segment_sum(places - ops.take(starts, keys // size), ops.mod(keys, size), num_segments=size)
    return counts[:num_experts], ops.where(valid, ranks, 0)


@keras.saving.register_keras_serializable(package="t2t_mm")
class MixtureOfExperts(keras.layers.Layer):
    """`y = Σ_i G(x)_i E_i(x)` over the K experts that noisy top-k gating chose for each token (paper, 2.3).

    `H(x)_i = (x·W_g)_i + N(0,1)·softplus((x·W_noise)_i)`; the K largest are kept, softmax over those. No noise
    outside training. Experts are one-hidden-layer ReLU networks (without biases, which the source does not show).
    Only chosen experts are computed, in blocks of `block_size` tokens; no token is ever dropped.

    Args:
      num_experts: E; the paper's 240 for eight problems, 60 for one.
      chosen: K; the paper's 4.
      hidden: width of an expert's hidden layer (the paper is silent; the 2017 release: 2,048).
      dropout: share of the layer's output dropped in training (the paper is silent).
      gate_noise: whether training chooses with noise; without it a run draws nothing at random here.
      block_size: rows multiplied at once with one expert's weights.
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
        if chosen >= num_experts:
            raise ValueError(
                f"MixtureOfExperts: chosen is {chosen}, num_experts {num_experts}; fewer must be chosen than there "
                "are (the load estimator compares each choice with the best one left out)."
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
        # Gates start at zero: all experts equally likely, chosen by the noise alone (Shazeer et al., appendix A).
        # In float32 whatever the compute type: rounding would choose other experts.
        shape = (depth, self.num_experts)
        self.gate = self.add_weight(name="gate", shape=shape, initializer="zeros", autocast=False)
        self.noise = self.add_weight(name="noise", shape=shape, initializer="zeros", autocast=False)
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
        """x: [B, L, D], padding: [B, L] -> y [B, L, D], balance.

        balance: vectors [E] "importance" (summed gates) and "load" (smooth estimate of the number of tokens of each
        expert), padding left out of both. The balancing losses are the `squared_variation` of each, taken where the
        vectors of all replicas have been summed.
        """
        positions = Positions.of(padding, x, depth=self.gate.shape[0])
        y, balance = self.flat(positions.flatten(x), positions, training)
        return positions.unflatten(y), balance

    def flat(
        self, tokens: Tensor, positions: Positions, training: bool = False
    ) -> tuple[Tensor, dict]:  # [N, D] -> [N, D], balance
        """`call` on the flat sequences of `positions`."""
        valid = positions.valid()
        weights, experts, balance = self.gating(tokens, valid, training)
        y = self._experts(tokens, valid, weights, experts)
        return self.dropout(y, training=training), balance

    def step(self, x: Tensor) -> Tensor:  # [N, D] -> [N, D]
        """`call` of a few tokens, none of them padding, without the work that spreads many over the experts.

        Where a token's share of the experts is large, all are computed and the unchosen weighed with zero: one
        product for all tokens. Where it is small, the chosen experts' weights are read where they lie, one choice at
        a time. In float32 whatever the compute type: widening a few tokens is less than rounding all the weights.
        """
        return ops.cast(self._step(ops.cast(x, "float32")), x.dtype)

    def _step(self, x):
        top, experts = ops.top_k(ops.matmul(x, self.gate), self.chosen)
        weights = ops.softmax(top, axis=-1)  # [N, K]
        if self.num_experts <= 4 * self.chosen:
            hidden = ops.relu(ops.matmul(x[None], self.expert_in))  # [E, N, H]
            chosen = ops.one_hot(experts, self.num_experts, dtype=x.dtype)  # [N, K, E]
            every = ops.sum(chosen * weights[:, :, None], axis=1)  # [N, E]
            return ops.sum(ops.matmul(hidden, self.expert_out) * ops.transpose(every)[:, :, None], axis=0)

        def one(choice):
            token, expert = choice
            hidden = ops.relu(ops.matmul(x[token][None], self.expert_in[expert]))
            return ops.matmul(hidden, self.expert_out[expert])[0]

        experts = ops.reshape(ops.cast(experts, "int32"), [-1])
        tokens = ops.arange(ops.shape(experts)[0], dtype="int32") // self.chosen
        chosen = ops.reshape(ops.map(one, (tokens, experts)), [-1, self.chosen, x.shape[-1]])
        return ops.sum(chosen * weights[:, :, None], axis=1)

    def gating(self, tokens: Tensor, valid: Tensor, training: bool) -> tuple[Tensor, Tensor, dict]:
        """Noisy top-k gating in float32. [N, D], [N] -> weights [N, K], experts [N, K] int32, balance."""
        tokens = ops.cast(tokens, "float32")
        clean = ops.matmul(tokens, self.gate)  # [N, E]
        spread = ops.softplus(ops.matmul(tokens, self.noise))
        noisy = clean
        if training and self.gate_noise:
            noisy = clean + spread * keras.random.normal(ops.shape(clean), seed=self.seed_generator)
        top, experts = ops.top_k(noisy, self.chosen + 1)
        counted = ops.cast(valid, "float32")[:, None]
        weights = ops.softmax(top[:, : self.chosen], axis=-1) * counted
        experts = ops.cast(experts[:, : self.chosen], "int32")
        importance = ops.segment_sum(
            ops.reshape(weights, [-1]), ops.reshape(experts, [-1]), num_segments=self.num_experts
        )
        # Probability that expert i would be among the chosen if its noise alone were drawn again (eq. 8 and 9):
        # compared with the K-th of the others, which is the (K+1)-th of all where i itself was chosen (or was as good).
        last, next_best = top[:, self.chosen - 1 : self.chosen], top[:, self.chosen :]
        threshold = ops.where(noisy > next_best, next_best, last)
        probability = 0.5 * (1.0 + ops.erf((clean - threshold) / (spread + 1e-10) * _SQRT_HALF))
        load = ops.sum(probability * counted, axis=0)
        return weights, experts, {"importance": importance, "load": load}

    def _experts(self, tokens, valid, weights, experts):  # [N, D], [N], [N, K], [N, K] -> [N, D]
        experts, valid = ops.reshape(experts, [-1]), ops.repeat(valid, self.chosen)  # [A = N·K]

        def in_blocks():
            """Blocks of one expert each, its weights copied for each block."""
            slots, of_block = dispatch_to_blocks(experts, valid, self.num_experts, self.block_size)
            expert_in, expert_out = (ops.take(w, of_block, axis=0) for w in (self.expert_in, self.expert_out))
            return self._weighed(tokens, weights, slots, self.block_size, expert_in, expert_out)

        assignments = ops.shape(experts)[0]
        if isinstance(assignments, int):  # a compiler's shapes: sizes must not depend on what is chosen
            return in_blocks()
        counts, rank = count_and_rank(experts, valid, self.num_experts)
        most = ops.max(counts)

        def by_expert():
            """As many rows for every expert as the busiest needs, and no weight copied."""
            slots = ops.where(valid, experts * most + rank, self.num_experts * most)
            return self._weighed(tokens, weights, slots, most, self.expert_in, self.expert_out)

        # Few experts with most of the tokens would make mostly empty rows of it: then blocks, whose number is bounded.
        return ops.cond(most * self.num_experts <= 3 * assignments + 8 * self.num_experts, by_expert, in_blocks)

    def _weighed(self, tokens, weights, slots, size, expert_in, expert_out):
        """Sum of the chosen experts' answers, each times its gate.

        tokens [N, D], weights [N, K], slots [N·K] rows among groups of `size`; expert_in [groups, D, H], expert_out
        [groups, H, D] -> [N, D].
        """
        count, depth = ops.shape(weights)[0] * self.chosen, tokens.shape[-1]
        rows = ops.shape(expert_in)[0] * size
        # Row -> assignment, by counting: each row holds one at most; empty rows get the one after the last.
        filled = ops.segment_sum(ops.arange(count, dtype="int32") + 1, slots, num_segments=rows + 1)[:rows]
        assignments = ops.where(filled > 0, filled - 1, count)
        groups = ops.reshape(_spread(tokens, assignments, slots), [-1, size, depth])
        hidden = ops.relu(ops.matmul(groups, ops.cast(expert_in, tokens.dtype)))
        out = ops.reshape(ops.matmul(hidden, ops.cast(expert_out, tokens.dtype)), [-1, depth])
        chosen = ops.reshape(_collected(out, slots, assignments), [-1, self.chosen, depth])
        return ops.cast(ops.sum(ops.cast(chosen, "float32") * weights[:, :, None], axis=1), tokens.dtype)


def _rows(x, index):
    """Rows `index` of x [N, D]; row N is zero."""
    return ops.take(ops.concatenate([x, ops.zeros([1, x.shape[-1]], x.dtype)], axis=0), index, axis=0)


@ops.custom_gradient
def _spread(tokens, assignments, slots):
    """Each row's token: tokens [N, D], assignments [rows] (N·K where empty) -> [rows, D].

    The gradient is a gather by the other of the two indices. Differentiation would make it a sum over segments, which
    may have any number of rows and takes many times longer.
    """
    count, depth = ops.shape(tokens)[0], tokens.shape[-1]
    chosen = ops.shape(slots)[0] // count

    def gradient(*arguments, upstream=None):
        up = arguments[0] if upstream is None else upstream
        each = ops.reshape(_rows(up, slots), [-1, chosen, depth])
        return ops.sum(each, axis=1), None, None

    return _rows(tokens, assignments // chosen), gradient


@ops.custom_gradient
def _collected(out, slots, assignments):
    """Each assignment's answer: out [rows, D], slots [N·K] (rows where padding) -> [N·K, D]. See `_spread`."""

    def gradient(*arguments, upstream=None):
        up = arguments[0] if upstream is None else upstream
        return _rows(up, assignments), None, None

    return _rows(out, slots), gradient


def _expert_initializer(fan_in: int) -> keras.initializers.Initializer:
    """Uniform unit scaling for a stack of matrices [E, fan_in, out], each with its own fan-in."""
    limit = (3.0 / fan_in) ** 0.5
    return keras.initializers.RandomUniform(-limit, limit)
