"""Multi-head dot-product attention and the attention block (paper, 2.2)."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from t2t_mm.layers.checks import at_least, check_features, not_negative
from t2t_mm.layers.constructors import Constructor, Part, constructor
from t2t_mm.layers.convolution import ConvBlock, pointwise, pointwise_initializer
from t2t_mm.layers.normalization import LayerNorm, normalise_flat
from t2t_mm.layers.positions import Positions
from t2t_mm.layers.randomness import Dropout, drop
from t2t_mm.layers.sharing import shared
from t2t_mm.layers.tensors import Shape, Tensor


@keras.saving.register_keras_serializable(package="t2t_mm")
class Projection(keras.layers.Layer):
    """A pointwise convolution that keeps the number of channels D and has no bias."""

    def build(self, input_shape: Shape) -> None:
        depth = input_shape[-1]
        # Not mean-free, unlike the kernels of convolutions: no ReLU precedes this layer (see `mean_free_initializer`).
        self.kernel = self.add_weight(name="kernel", shape=(depth, depth), initializer=pointwise_initializer())

    def call(self, x: Tensor) -> Tensor:  # [B, L, D] -> [B, L, D]
        check_features(x, "x", "[B, L, D]", self.kernel.shape[0])
        return pointwise(x, self.kernel)


def flat_heads(
    x: Tensor, length: Tensor, heads: int, axes: Sequence[int] = (0, 2, 1, 3)
) -> Tensor:  # [N, D] -> [B, G, L, D/G], or another order of [B, L, G, D/G]
    return ops.transpose(ops.reshape(x, [-1, length, heads, x.shape[-1] // heads]), axes)


def attend(queries: Tensor, keys: Tensor, values: Tensor, unseen: Tensor) -> Tensor:
    """Computes softmax(q·k/√(D/G))·v for each head (paper, 2.2), of flat sequences. The softmax is computed in float32.

    Args:
      queries: [B, G, T, D/G].
      keys: [B, G, D/G, S].
      values: [B, G, S, D/G].
      unseen: float32 mask that is added to the logits. It broadcasts to [B, G, T, S] and is −1e9 for the keys that a query
        must not attend to.

    Returns:
      [N, D] for the N = B·T queries.
    """
    heads, depth = queries.shape[1], queries.shape[3]
    # Vaswani et al. 2017 (arXiv 1706.03762), 3.2. The weights are rounded to the compute type only after the softmax.
    weights = attention_weights(queries, keys, unseen)
    # The heads are a batch axis of both products, so that each head is one matrix product.
    mixed = ops.matmul(ops.cast(weights, values.dtype), values)  # [B, G, T, D/G]
    return ops.reshape(ops.transpose(mixed, [0, 2, 1, 3]), [-1, heads * depth])


def attention_weights(queries: Tensor, keys: Tensor, unseen: Tensor) -> Tensor:  # -> [B, G, T, S] float32
    """Computes the weight that each query gives to each key; those of a query sum to 1. The arguments are those of `attend`."""
    # The queries are scaled instead of the logits, because they are fewer and because products in float16 could overflow
    # before a later division. The softmax is computed in float32, whose range contains the −1e9 of the mask.
    logits = ops.cast(ops.matmul(queries * (1.0 / math.sqrt(queries.shape[3])), keys), "float32")
    # The mask is −1e9 and not −∞: a row that only fills the batch has no key to attend to, and its softmax would be NaN. With
    # −1e9 it is uniform, and nobody reads it.
    return ops.softmax(logits + unseen, axis=-1)


def self_attention(
    x: Tensor,
    unseen: Tensor,
    length: Tensor,
    bits: Tensor,
    factor: Tensor,
    gamma: Tensor,
    beta: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    *,
    heads: int,
    rate: float,
) -> Tensor:
    """Adds to x [N, D] its attention to itself. For `unseen` see `attend`, for `bits` and `factor` see `randomness.drop`."""
    # The norm is inside the residual branch, so that the stream itself passes through all blocks unchanged.
    h = normalise_flat(x, gamma, beta)
    queries, values = (flat_heads(ops.matmul(h, kernel), length, heads) for kernel in (query, value))
    # The keys are laid out so that their product with the queries needs no transposed operand.
    keys = flat_heads(ops.matmul(h, key), length, heads, (0, 2, 3, 1))
    return _added(x, ops.matmul(attend(queries, keys, values, unseen), output), bits, factor, rate)


def source_attention(
    x: Tensor, source: Tensor, timing: Tensor, unseen: Tensor, source_length: Tensor, length: Tensor,
    bits: Tensor, factor: Tensor, gamma: Tensor, beta: Tensor,
    query: Tensor, key: Tensor, value: Tensor, output: Tensor, *, heads: int, rate: float,
) -> Tensor:  # fmt: skip
    """Adds to the target x [N, D] its attention to the source. `timing` is the timing signal of the source, or None."""
    queries, keys = _asked(x, source, timing, source_length, length, gamma, beta, query, key, heads)
    values = flat_heads(ops.matmul(source, value), source_length, heads)
    return _added(x, ops.matmul(attend(queries, keys, values, unseen), output), bits, factor, rate)


def source_weights(
    x: Tensor, source: Tensor, timing: Tensor, unseen: Tensor, source_length: Tensor, length: Tensor,
    gamma: Tensor, beta: Tensor, query: Tensor, key: Tensor, *, heads: int,
) -> Tensor:  # fmt: skip
    """Computes the weights [B, G, T, S] with which `source_attention` attends to the source."""
    queries, keys = _asked(x, source, timing, source_length, length, gamma, beta, query, key, heads)
    return attention_weights(queries, keys, unseen)


def _asked(x, source, timing, source_length, length, gamma, beta, query, key, heads: int):
    """Returns the queries [B, G, T, D/G] and keys [B, G, D/G, S] of the attention to the source."""
    # Only the keys get the timing signal: a query may look for a position, but what it finds there is content. The source
    # needs no norm here, because the encoder ends with one.
    keyed = source if timing is None else source + timing
    keys = flat_heads(ops.matmul(keyed, key), source_length, heads, (0, 2, 3, 1))
    return flat_heads(ops.matmul(normalise_flat(x, gamma, beta), query), length, heads), keys


def uniform_source_attention(
    x: Tensor, source: Tensor, kept: Tensor, source_length: Tensor, length: Tensor, bits: Tensor, factor: Tensor,
    value: Tensor, output: Tensor, *, rate: float,
) -> Tensor:  # fmt: skip
    """Adds to the target x [N, D] the mean of the source's values over its positions that are not padding.

    It is the attention to the source with equal weights. `kept` is 0 at the padded positions of the source, and 1 elsewhere.
    """
    depth = x.shape[-1]
    mean = unpadded_mean(ops.reshape(source, [-1, source_length, depth]), ops.reshape(kept, [-1, source_length, 1]))
    mixed = ops.matmul(ops.matmul(ops.cast(mean, x.dtype), value), output)  # [B, D]: the same for all target positions
    return _added(x, ops.reshape(ops.repeat(mixed[:, None], length, axis=1), [-1, depth]), bits, factor, rate)


def unpadded_mean(x: Tensor, kept: Tensor) -> Tensor:  # [B, S, D], [B, S, 1] -> [B, D] float32
    """Computes the mean of the positions at which `kept` is 1 and not 0; it is 0 if there are none."""
    x, kept = ops.cast(x, "float32"), ops.cast(kept, "float32")
    return ops.sum(x * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1.0)


class SourceLooks:
    """Collects the source attention weights of the blocks of a model while it runs.

    An instance is passed through the layers to the blocks. A list would not work: Keras copies a list that is passed to a
    layer, and whatever is appended to the copy is lost.

    Attributes:
      names: the paths of the layers, in the order in which they run.
      weights: the weights [B, G, T, S] of each layer.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.weights: list[Tensor] = []

    def add(self, name: str, weights: Tensor) -> None:
        self.names.append(name)
        self.weights.append(weights)


def _added(x, mixed, bits, factor, rate: float):
    # Dropout follows the attention inside its branch, and not the sum, so that it does not damage the stream.
    return x + mixed if bits is None else x + drop(mixed, bits, factor, rate)


@keras.saving.register_keras_serializable(package="t2t_mm")
class AttentionBlock(keras.layers.Layer):
    """Timing, two causal ConvBlocks, self-attention, then attention to the source (paper, 2.2).

    The paper shows no residual connections around the two attentions. Here, each attention takes the layer-normalised
    stream as its input, and its output is added to the stream, so that the ablation `attend=False` removes the attentions
    and nothing else.

    Without attention, a generated text never depends on its source, because nothing else in this block reads it. Perhaps the
    paper's ablation kept such a path: with `attend="mean"`, the stream gets the mean of the source's values instead, which
    are the same for all positions, and there is no self-attention.

    Args:
      conv_block: constructor of the ConvBlocks, which is called with `causal` and `name`.
      heads: G, the number of heads; the paper's 8.
      convs: number of ConvBlocks before the attentions; the paper's 2.
      dropout: fraction of each attention's output that is dropped in training. The paper does not say whether dropout
        follows other layers than the ConvBlocks.
      source_timing: whether the timing signal is added to the source before the keys are computed. The paper adds it only
        to the target, so that a query can find a word by its content but not by its position.
      timing_scale: factor for the timing signal when it is added to the target; the paper's 1. Every attention block adds
        the same signal to the same stream. After five blocks, it is five times as large, and the content of tokens or
        images is only a tenth of the second moment of the stream.
      attend: False removes both attentions (Table 4). "mean" removes the self-attention, and replaces the attention to the
        source by the mean of its values.

    Raises:
      ValueError: an argument is out of range, or the depth is not a multiple of `heads` (raised by `build`).
    """

    def __init__(
        self,
        conv_block: Part = ConvBlock,
        heads: int = 8,
        convs: int = 2,
        dropout: float = 0.0,
        source_timing: bool = False,
        # English to French reaches 1.21 nats after 150 updates with 1, and 1.08 with 0.2 (docs/learning.md, "Translation").
        timing_scale: float = 1.0,
        attend: bool | str = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.heads = at_least(1, heads, "heads")
        self.source_timing, self.timing_scale = source_timing, not_negative(timing_scale, "timing_scale")
        # A list of choices would contain 1, which is equal to True, but which step-by-step decoding does not take for True.
        if not isinstance(attend, bool) and attend != "mean":
            raise ValueError(f"AttentionBlock: attend is {attend!r}; it must be True, False or 'mean'.")
        self.attend = attend
        conv_block = constructor(conv_block)
        # Causal whatever the target is (paper, 2.1); `causal` of `call` only concerns the self-attention.
        self.convs = [conv_block(causal=True, name=f"conv{index}") for index in range(1, at_least(0, convs, "convs") + 1)]
        self._conv_block = Constructor.of(self.convs[0], "causal") if self.convs else None
        self.dropout = Dropout(dropout, name="dropout")

    def get_config(self) -> dict:
        return super().get_config() | {
            "conv_block": self._conv_block.saved if self._conv_block else None,
            "heads": self.heads,
            "convs": len(self.convs),
            "dropout": self.dropout.rate,
            "source_timing": self.source_timing,
            "timing_scale": self.timing_scale,
            "attend": self.attend,
        }

    def build(self, target_shape: Shape) -> None:
        self.depth = depth = target_shape[-1]
        # Here and not in the constructor, because a layer only learns its depth when it is built.
        if depth % self.heads:
            raise ValueError(f"AttentionBlock: depth {depth} is not a multiple of heads {self.heads}.")
        for conv in self.convs:
            conv.build(target_shape)
        # The ablation of Table 4 removes the attentions completely: their weights do not exist either.
        if not self.attend:
            return
        if self.attend == "mean":
            self._project(target_shape, "memory_value", "source_output")
            return
        self.self_norm = LayerNorm(name="self_norm")
        self.source_norm = LayerNorm(name="source_norm")
        self.self_norm.build(target_shape)
        self.source_norm.build(target_shape)
        self._project(target_shape, "self_query", "self_key", "self_value", "self_output")
        # "Two different pointwise convolutions" give the memory keys and values of the source (paper, 2.2). The paper does not
        # mention maps of the queries and outputs; they are those of Vaswani et al. 2017, 3.2.2.
        self._project(target_shape, "source_query", "memory_key", "memory_value", "source_output")

    def _project(self, shape: Shape, *names: str) -> None:
        for name in names:
            setattr(self, name, Projection(name=name))
            getattr(self, name).build(shape)

    def call(
        self,
        source: Tensor,
        source_padding: Tensor,
        target: Tensor,
        target_padding: Tensor,
        causal: bool = True,
        training: bool = False,
    ) -> Tensor:
        """Returns the target [B, T, D] after the block.

        Args:
          source: [B, S, D].
          source_padding: [B, S] boolean, or its `Positions`.
          target: [B, T, D].
          target_padding: [B, T] boolean, or its `Positions`.
          causal: whether the self-attention is masked. It is not if the target is not autoregressive, as in
            classification. The ConvBlocks are causal in any case (paper, 2.1).
        """
        source_positions = Positions.of(source_padding, source, ("source", "source_padding"), self.depth)
        positions = Positions.of(target_padding, target, ("target", "target_padding"), self.depth)
        flat = self.flat(
            source_positions.flatten(source), source_positions, positions.flatten(target), positions, causal, training
        )
        return positions.unflatten(flat)

    def flat(
        self,
        source: Tensor,
        source_positions: Positions,
        x: Tensor,
        positions: Positions,
        causal: bool = True,
        training: bool = False,
        looks: SourceLooks | None = None,
    ) -> Tensor:
        """Does the same as `call` on flat sequences: source [N, D], x [M, D] -> [M, D].

        Args:
          looks: collects the weights of the attention to the source.
        """
        depth = x.shape[-1]
        # The order of section 2.2: timing signal, ConvBlocks, self-attention, attention to the source.
        x = x + self.timing_scale * positions.timing(depth, x.dtype)
        for conv in self.convs:
            x = conv.flat(x, positions, training)
        if not self.attend:
            return x
        if self.attend == "mean":
            return shared(
                uniform_source_attention, x, source, source_positions.kept("float32"), source_positions.length,
                positions.length, *self.dropout.bits(positions, depth, training), self.memory_value.kernel.value,
                self.source_output.kernel.value, rate=self.dropout.rate,
            )  # fmt: skip
        x = shared(
            self_attention, x, positions.unseen(causal), positions.length, *self.dropout.bits(positions, depth, training),
            self.self_norm.gamma.value, self.self_norm.beta.value,
            *(part.kernel.value for part in (self.self_query, self.self_key, self.self_value, self.self_output)),
            heads=self.heads, rate=self.dropout.rate,
        )  # fmt: skip
        # Not scaled, because it is added once to the keys, and not to the stream by every block.
        timing = source_positions.timing(depth, source.dtype) if self.source_timing else None
        both = x, source, timing, source_positions.unseen(False), source_positions.length, positions.length
        # The weights are computed a second time, so that the function that is traced without `looks` stays as it is.
        if looks is not None:
            weights = shared(
                source_weights, *both, self.source_norm.gamma.value, self.source_norm.beta.value,
                self.source_query.kernel.value, self.memory_key.kernel.value, heads=self.heads,
            )  # fmt: skip
            looks.add(self.path, weights)
        return shared(
            source_attention, *both, *self.dropout.bits(positions, depth, training),
            self.source_norm.gamma.value, self.source_norm.beta.value,
            *(part.kernel.value for part in (self.source_query, self.memory_key, self.memory_value, self.source_output)),
            heads=self.heads, rate=self.dropout.rate,
        )  # fmt: skip
