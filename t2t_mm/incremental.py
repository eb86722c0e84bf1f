"""Runs the mixer and the decoder one position at a time, with as few operations as possible.

One position of one sentence takes about a hundred products of a vector and a matrix, and each of them takes less time than
the overhead of its operation. In addition, a TensorFlow loop needs several operations for every tensor that it passes from
step to step. Therefore the weights are combined into a few tensors once, whatever all layers have in common is computed once
per position, and the memory of the convolutions is read and written for all layers together.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from keras import ops

from t2t_mm.layers.convolution import ConvBlock, ConvStep, centred
from t2t_mm.layers.history import History, scatter
from t2t_mm.layers.normalization import EPSILON, LayerNorm
from t2t_mm.layers.source_mean import pooled
from t2t_mm.layers.tensors import Tensor
from t2t_mm.layers.timing import timing_signal
from t2t_mm.model import MultiModel


class IncrementalDecoder:
    """The interface of a model for a search: its decoding state, and the logits that follow each token.

    The logits equal those of `MultiModel.decode_text` at the same position, regardless of the position and of the other
    hypotheses. Everything is computed in float32.

    Args:
      model: a built MultiModel.
      weights: the result of `decoder_weights`, as tensors or variables. Default: they are computed from the model here, so
        that a decoder made within a graph uses the current weights of the model.
    """

    def __init__(self, model: MultiModel, weights: dict[str, Any] | None = None):
        self._model = model
        self._weights = decoder_weights(model) if weights is None else weights
        self._attention = model.mixer.attention  # the blocks of mixer and decoder are all made alike
        self._heads, self._depth = self._attention.heads, model.depth
        self._kinds = _kinds(model)

    def command(self, command: str | int | Tensor, batch: Tensor) -> Tensor:
        """Returns the embedding of a command token, the first `x`: [B, D]; see `MultiModel.command`."""
        return ops.cast(self._model.command(command, batch), "float32")

    def language_in(self, ids: Tensor, command: Tensor) -> Tensor:  # [rows], [rows, D] -> [rows, D]
        """Returns the next `x` of each hypothesis.

        Args:
          ids: the previous token of each hypothesis.
          command: the embedding of the command of each hypothesis, which was its first `x`. It is only read if the model adds
            it at every position (see `MultiModel.command_at`).
        """
        # The factor √D of the language net is already contained in these weights.
        x = ops.take(ops.convert_to_tensor(self._weights["embedding"]), ids, axis=0)
        return x + command if self._model.command_at_every else x

    def initial_state(self, encoded: Tensor, source_padding: Tensor, positions: int | Tensor, width: int = 1) -> dict:
        """Returns the state before the first position, which already contains the keys and values of the source.

        Args:
          encoded: [B, S, D].
          source_padding: [B, S] boolean.
          positions: the number of positions that the caches of the attentions can hold; see `extend`.
          width: K, the number of hypotheses of each example that advance together.
        """
        batch, rows = ops.shape(encoded)[0], ops.shape(encoded)[0] * width
        state: dict = {
            # One tensor for all convolutions of a kind, side by side in the channels. A loop needs operations for each tensor
            # that it passes on, so a few large ones are better than one per layer. Zeros are the padding on the left.
            "inputs": [
                ops.zeros([dilation, taps - 1, rows, count * self._depth]) for (taps, dilation), count in self._kinds.items()
            ]
        }
        if not self._attention.attend:
            return state
        encoded = ops.cast(self._model.source_mean(encoded, source_padding), "float32")
        if self._attention.attend == "mean":
            mean = pooled(encoded, source_padding)  # [B, D]
            # What each block adds is the same at all positions: [A, B·K, D].
            added = ops.matmul(mean[None], ops.convert_to_tensor(self._weights["source_means"]))
            return dict(state, source_means=ops.repeat(added, width, axis=1))
        # As in `attention._asked`: only the keys get the timing signal.
        keyed = encoded
        if self._attention.source_timing:
            keyed = encoded + timing_signal(ops.shape(encoded)[1], self._depth)
        # The source does not change while decoding, so its keys and values are computed once, for all blocks in one product.
        state["source_keys"], state["source_values"] = (
            self._of_heads(x, self._weights[name]) for x, name in ((keyed, "memory_keys"), (encoded, "memory_values"))
        )
        unseen = ops.repeat((ops.cast(source_padding, "float32") * -1e9)[:, None], self._heads, axis=1)
        state["source_unseen"] = ops.reshape(unseen, [-1, 1, ops.shape(encoded)[1]])
        # One cache per block; they start as the same zeros, so a search that writes in place has to copy them first.
        cache = ops.zeros([2, batch * self._heads, positions, width * self._depth // self._heads])
        state["caches"] = [cache] * (1 + len(self._model.decoder.blocks))
        return state

    def _of_heads(self, x, kernels):  # [B, S, D], [A, D, D] -> [A, B·G, S, D/G]
        length, count, head_depth = ops.shape(x)[1], kernels.shape[0], self._depth // self._heads
        # The kernels of all A blocks are one batch, so this is a single operation.
        projected = ops.matmul(ops.reshape(x, [1, -1, self._depth]), ops.convert_to_tensor(kernels))
        projected = ops.reshape(projected, [count, -1, length, self._heads, head_depth])
        return ops.reshape(ops.transpose(projected, [0, 1, 3, 2, 4]), [count, -1, length, head_depth])

    def extend(self, state: dict, positions: int) -> dict:
        """Returns the state with room for `positions` more positions."""
        if self._attention.attend is not True:
            return state
        # Only the caches of the self-attentions grow with the answer. The memory of a convolution has a fixed size.
        more = [[0, 0], [0, 0], [0, positions], [0, 0]]
        return dict(state, caches=[ops.pad(cache, more) for cache in state["caches"]])

    def step(
        self, x: Tensor, position: int | Tensor, state: dict, ancestors: Tensor = None, write: Callable = scatter
    ) -> tuple[Tensor, dict]:
        """Computes one position.

        Args:
          x: [B·K, D], the result of `command` or, for a previous token, of `language_in`.
          position: the index of the position.
          state: as `initial_state` or the previous step returned it.
          ancestors: [B, K, L], the hypothesis whose past each hypothesis continues (see `History`). Default: each example
            has only one hypothesis.
          write: the function that writes to the memory of the state.

        Returns:
          The logits [B·K, V] and the new state.
        """
        # The embedding is the largest weight, and is read by `language_in` between the steps.
        weights = {name: ops.convert_to_tensor(x) for name, x in self._weights.items() if name != "embedding"}
        return _Step(self, weights, History(position, ancestors, write), state).run(ops.cast(x, "float32"))


class _Step:
    """The computation of one position. The blocks take their weights in the order of `decoder_weights`."""

    def __init__(self, decoder: IncrementalDecoder, weights: dict[str, Tensor], history: History, state: dict):
        self._model, self._attention, self._kinds = decoder._model, decoder._attention, decoder._kinds
        self._weights, self._history, self._state = weights, history, state
        # Each weight is used once per position, in the order of `decoder_weights`, so that the blocks need no indices.
        self._vectors: Iterator = iter(ops.unstack(weights["vectors"]))
        self._matrices: Iterator = iter(ops.unstack(weights["matrices"]))
        # By kind of convolution: the contribution of the inputs before this position, and the inputs at this position.
        self._past = [
            history.past(inputs, weights[_name(kind)]) if kind[0] > 1 else None
            for kind, inputs in zip(self._kinds, state["inputs"])
        ]
        self._pieces = {
            kind: iter([past] * count if past is None or count == 1 else ops.split(past, count, axis=1))
            for (kind, count), past in zip(self._kinds.items(), self._past)
        }
        self._inputs: dict = {kind: [] for kind in self._kinds}
        self._caches: list = []
        if self._attention.attend == "mean":
            self._sources: Iterator = iter(ops.unstack(state["source_means"]))
        elif self._attention.attend:
            self._keys_values: Iterator = iter(ops.unstack(weights["keys_values"]))
            self._sources = zip(ops.unstack(state["source_keys"]), ops.unstack(state["source_values"]))

    def run(self, x: Tensor) -> tuple[Tensor, dict]:  # [B·K, D] -> [B·K, V], the new state
        mixer, decoder = self._model.mixer, self._model.decoder
        x = self._attention_block(x)
        for block in mixer.blocks:
            x = self._conv_block(x, block)
        for index in range(len(decoder.blocks)):
            if mixture := decoder.mixture_before(index):
                # As in `Mixture.flat`.
                x = x + mixture.mixture.step(self._normalised(x), *(self._weights[name] for name in _MIXTURE))
            x = self._attention_block(x)
        state = dict(self._state, inputs=[
            # Memory is written after all layers have read it; `past` makes an implementation that writes in place wait for
            # that.
            inputs if past is None else self._history.remember(inputs, _joined(self._inputs[kind]), past)
            for kind, inputs, past in zip(self._kinds, self._state["inputs"], self._past)
        ])  # fmt: skip
        if self._caches:
            state["caches"] = self._caches
        # The norm at the end of the decoder, then the language net.
        return ops.matmul(self._normalised(x), self._weights["logits"]), state

    def _conv_block(self, x, block: ConvBlock):
        # As in `convolution.conv_block`, without dropout.
        first, second, third, fourth = block.steps
        h = self._conv_step(self._conv_step(x, first), second)
        return x + self._conv_step(self._conv_step(x + h, third), fourth)

    def _conv_step(self, x, step: ConvStep):
        kind, x = _kind(step), ops.relu(x)
        past, tap = next(self._pieces[kind]), next(self._vectors)
        # What is stored is the input after the ReLU, so that later positions do not have to apply it again.
        self._inputs[kind].append(x)
        # The convolutions of mixer and decoder are causal, so the last tap reads the current position, and `past` is the rest
        # of the sum. It depends on earlier positions only, and has been computed for all layers at once.
        x = x * tap if past is None else x * tap + past
        return self._scaled(ops.matmul(x, next(self._matrices)))

    def _scaled(self, x):
        """Returns the layer normalisation of an x that is already centred over the channels."""
        # Without the subtraction of the mean, which the product before it contains (see `decoder_weights`).
        scale = ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON)
        return x * scale * next(self._vectors) + next(self._vectors)

    def _normalised(self, x):
        return self._scaled(x - ops.mean(x, axis=-1, keepdims=True))

    def _attention_block(self, x):
        history, attention = self._history, self._attention
        # The signal is the same for all blocks and hypotheses, so `history` computes it once per position.
        x = x + history.timing(x.shape[-1], attention.timing_scale)
        for conv in attention.convs:
            x = self._conv_block(x, conv)
        if not attention.attend:
            return x
        if attention.attend == "mean":
            return x + next(self._sources)
        h = self._normalised(x)
        # Pre-norm, as in `attention.self_attention`.
        queries = self._queries(h)
        both = self._by_heads(ops.matmul(ops.expand_dims(h, 0), next(self._keys_values)), 2)
        # The position itself is appended before it attends, because a position may attend to itself.
        cache = history.append(self._state["caches"][len(self._caches)], both)
        self._caches.append(cache)
        # The slots of all hypotheses of an example are keys for each of them. `unseen` masks those outside their own past.
        if history.width > 1:
            length = ops.shape(cache)[2] * history.width
            cache = ops.reshape(cache, [2, -1, length, x.shape[-1] // attention.heads])
        keys, values = ops.unstack(cache)
        unseen = history.unseen(ops.shape(self._caches[-1])[2], attention.heads)
        x = x + self._attended(queries, keys, values, unseen)
        # The source attention; `_normalised` takes the vectors of its norm, which come next.
        keys, values = next(self._sources)
        return x + self._attended(self._queries(self._normalised(x)), keys, values, self._state["source_unseen"])

    def _by_heads(self, x, parts: int):  # [parts, B·K, D] -> [parts·B·G, K·D/G]
        heads, width, head_depth = self._attention.heads, self._history.width, x.shape[-1] // self._attention.heads
        if width > 1:
            x = ops.transpose(ops.reshape(x, [parts, -1, width, heads, head_depth]), [0, 1, 3, 2, 4])
        return ops.reshape(x, [-1, width * head_depth])

    def _queries(self, h):  # [B·K, D] -> [B·G, D/G, K]
        head_depth = h.shape[-1] // self._attention.heads
        queries = self._by_heads(ops.matmul(h, next(self._matrices)), 1)
        # Without a beam, the rows are already in the order of examples and heads.
        if self._history.width == 1:
            return ops.expand_dims(queries, 2)
        return ops.transpose(ops.reshape(queries, [-1, self._history.width, head_depth]), [0, 2, 1])

    def _attended(self, queries, keys, values, unseen):  # [B·G, D/G, K], [B·G, S, D/G] twice, [.., S] -> [B·K, D]
        heads, width = self._attention.heads, self._history.width
        # The product is transposed instead of the keys, because the keys are much larger.
        logits = ops.transpose(ops.matmul(keys, queries), [0, 2, 1])
        mixed = ops.matmul(ops.softmax(logits + unseen, axis=-1), values)  # [B·G, K, D/G]
        if width > 1:
            mixed = ops.transpose(ops.reshape(mixed, [-1, heads, width, mixed.shape[-1]]), [0, 2, 1, 3])
        return ops.matmul(ops.reshape(mixed, [-1, heads * values.shape[-1]]), next(self._matrices))


_MIXTURE = ("gate", "expert_in", "expert_out")


def decoder_weights(model: MultiModel) -> dict[str, Tensor]:
    """Returns the float32 weights of a model's mixer, decoder and language nets in the form for `IncrementalDecoder`.

    Returns:
      A dict with "vectors" [v, D] and "matrices" [m, D, D] in the order in which a position needs them; "taps_k_d"
      [2(k − 1), 1, n·D, 1] for the n convolutions with k > 1 taps and dilation d (see `History.past`); "embedding" [V, D];
      "logits" [D, V]; with attention in A blocks, "keys_values" [A, 2, D, D], "memory_keys" and "memory_values" [A, D, D],
      or "source_means" [A, D, D] if these have the mean of the source instead; and with a mixture, "gate", "expert_in" and
      "expert_out" (see `MixtureOfExperts.step`).
    """
    vectors: list = []
    matrices: list = []
    taps: dict = {}
    memory_keys, memory_values, keys_values, source_means = [], [], [], []
    attention = model.mixer.attention
    # The factor 1/√(D/G) of the logits is multiplied into the query kernels here, once instead of at every position.
    scale = 1.0 / math.sqrt(model.depth // attention.heads)

    def norm(layer: LayerNorm) -> None:
        vectors.extend([_value(layer.gamma), _value(layer.beta)])

    def conv_block(block: ConvBlock) -> None:
        for step in block.steps:
            kernel = _value(step.conv.depthwise)
            taps.setdefault(_kind(step), []).append(kernel[:-1])
            vectors.append(kernel[-1])
            # Centred as in `conv_step`, so that `_scaled` is the whole layer norm.
            matrices.append(centred(_value(step.conv.pointwise)))
            norm(step.norm)

    def attention_block(block: Any) -> None:
        for conv in block.convs:
            conv_block(conv)
        if not block.attend:
            return
        if block.attend == "mean":
            source_means.append(ops.matmul(_value(block.memory_value.kernel), _value(block.source_output.kernel)))
            return
        norm(block.self_norm)
        matrices.extend([_value(block.self_query.kernel) * scale, _value(block.self_output.kernel)])
        # Together, because one product gives both, and both are written to one cache.
        keys_values.append(ops.stack([_value(block.self_key.kernel), _value(block.self_value.kernel)]))
        norm(block.source_norm)
        matrices.extend([_value(block.source_query.kernel) * scale, _value(block.source_output.kernel)])
        memory_keys.append(_value(block.memory_key.kernel))
        memory_values.append(_value(block.memory_value.kernel))

    weights: dict[str, Any] = {}
    # The order in which `_Step.run` takes them. Each of the lists is consumed by position, so this order is the only link
    # between the weights and the computation.
    attention_block(attention)
    for block in model.mixer.blocks:
        conv_block(block)
    for index, block in enumerate(model.decoder.blocks):
        if mixture := model.decoder.mixture_before(index):
            norm(mixture.norm)
            weights |= zip(_MIXTURE, map(ops.convert_to_tensor, mixture.mixture.step_weights()))
        attention_block(block)
    norm(model.decoder.norm)
    weights |= {"vectors": ops.stack(vectors), "matrices": ops.stack(matrices), "logits": _value(model.language_out.kernel)}
    weights["embedding"] = _value(model.language_in.embedding) * model.depth**0.5
    for kind, kernels in taps.items():
        # A convolution with one tap has no memory.
        if kind[0] > 1:
            # The memory is a ring. With the taps twice in succession, the taps for any rotation of the ring are one slice.
            twice = ops.tile(_joined(kernels), [2, 1])
            weights[_name(kind)] = twice[:, None, :, None]
    if attention.attend == "mean":
        weights["source_means"] = ops.stack(source_means)
    elif attention.attend:
        weights["keys_values"] = ops.stack(keys_values)
        weights |= {"memory_keys": ops.stack(memory_keys), "memory_values": ops.stack(memory_values)}
    return weights


def _value(variable: Any) -> Tensor:
    return ops.cast(ops.convert_to_tensor(variable.value), "float32")


def _joined(parts: list) -> Tensor:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)


def _kind(step: ConvStep) -> tuple[int, int]:
    """Returns the taps and the dilation of a convolution. Convolutions of the same kind share one memory."""
    return step.conv.kernel_size, step.conv.dilation


def _name(kind: tuple[int, int]) -> str:
    return f"taps_{kind[0]}_{kind[1]}"


def _kinds(model: MultiModel) -> dict[tuple[int, int], int]:
    """Returns a dict of kind -> number of convolutions of this kind in the mixer and the decoder."""
    convs = [conv for block in (model.mixer.attention, *model.decoder.blocks) for conv in block.convs]
    found: dict[tuple[int, int], int] = {}
    for conv in (*convs, *model.mixer.blocks):
        for step in conv.steps:
            found[_kind(step)] = found.get(_kind(step), 0) + 1
    return found
