"""The MultiModel's formulas in plain NumPy, one example at a time and without padding (paper, 2).

This follows the formulas rather than the layers, so that a swapped norm, a missing ReLU or a lost mask in the package causes
a different number. The weights come from a model, by their paths; `Reference(model)` reads them again at every call.
"""

import math

import numpy as np

EPSILON = 1e-6


def relu(x):
    return np.maximum(x, 0.0)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def timing(length, depth):
    """`timing(t, [2i, 2i+1]) = [sin(t·Δ(2i)), cos(t·Δ(2i))]` with `Δ(2i) = 1e4^(−2i/depth)`."""
    signal = np.zeros((length, depth))
    for t in range(length):
        for i in range(0, depth, 2):
            angle = t * 1e4 ** (-i / depth)
            signal[t, i], signal[t, i + 1] = math.sin(angle), math.cos(angle)
    return signal


def pool(x, strides):
    """The maximum of the 3×3 window centred on every input position (i·s, j·s)."""
    rows, columns = -(-x.shape[0] // strides[0]), -(-x.shape[1] // strides[1])
    out = np.empty((rows, columns, x.shape[2]))
    for i in range(rows):
        for j in range(columns):
            r, c = i * strides[0], j * strides[1]
            out[i, j] = x[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].max(axis=(0, 1))
    return out


class Reference:
    """A model's functions of one example each.

    Args:
      model: A MultiModel whose parts have the settings below.
      heads, chosen, source_timing, first_relu, frequencies: The settings of its attention, mixture and input nets.
      noise: None in evaluation; in training, part ("encoder" or "decoder") -> [N, E] standard normal numbers of the
        tokens' gates.
    """

    def __init__(self, model, heads=4, chosen=2, source_timing=False, first_relu=False, frequencies="channels", noise=None):
        self.model, self.heads, self.chosen, self.noise = model, heads, chosen, noise
        self.source_timing, self.first_relu, self.frequencies = source_timing, first_relu, frequencies
        self.balance: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.weights = {w.path.split("/", 1)[1]: np.asarray(w, np.float64) for w in model.weights if "seed" not in w.path}

    def w(self, path):
        return self.weights[path]

    def has(self, path):
        return path in self.weights

    # 2.1

    def norm(self, path, x):
        mean = x.mean(axis=-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + EPSILON) * self.w(f"{path}/gamma") + self.w(f"{path}/beta")

    def sep_conv(self, path, x, dilation, causal):
        taps, pointwise = self.w(f"{path}/depthwise"), self.w(f"{path}/pointwise")
        k, length = len(taps), len(x)
        left = (k - 1) * dilation if causal else (k - 1) * dilation // 2
        padded = np.pad(x, [[left, (k - 1) * dilation - left], [0, 0]])
        out = sum(taps[j] * padded[j * dilation : j * dilation + length] for j in range(k))
        return out @ pointwise

    def conv_step(self, path, x, dilation, causal):
        return self.norm(f"{path}/norm", self.sep_conv(f"{path}/conv", relu(x), dilation, causal))

    def conv_block(self, path, x, causal):
        h1 = self.conv_step(f"{path}/step1", x, 1, causal)
        h2 = x + self.conv_step(f"{path}/step2", h1, 1, causal)
        h3 = self.conv_step(f"{path}/step3", h2, 1, causal)
        return x + self.conv_step(f"{path}/step4", h3, 8, causal)

    def conv_step_2d(self, path, x, strides=(1, 1), first=False):
        if not first or self.first_relu:
            x = relu(x)
        if self.has(f"{path}/kernel"):
            kernel = self.w(f"{path}/kernel")
        else:
            pointwise = self.w(f"{path}/pointwise")
            taps = self.w(f"{path}/depthwise")[..., 0] if self.has(f"{path}/depthwise") else np.ones((1, 1, x.shape[2]))
            kernel = taps[..., None] * pointwise
        size, side = kernel.shape[0], kernel.shape[0] // 2
        padded = np.pad(x, [[side, side], [side, side], [0, 0]])
        out = sum(padded[a : a + x.shape[0], b : b + x.shape[1]] @ kernel[a, b] for a in range(size) for b in range(size))
        return self.norm(f"{path}/norm", out[:: strides[0], :: strides[1]])

    def conv_res(self, path, x, strides, first=False):
        c2 = self.conv_step_2d(f"{path}/step2", self.conv_step_2d(f"{path}/step1", x, first=first))
        return pool(c2, strides) + self.conv_step_2d(f"{path}/shortcut", x, strides, first=first)

    # 2.2

    def attend(self, queries, keys, values, causal=False):
        depth = queries.shape[1] // self.heads
        out = np.zeros((len(queries), keys.shape[1]))
        for head in range(self.heads):
            part = slice(head * depth, (head + 1) * depth)
            logits = queries[:, part] @ keys[:, part].T / math.sqrt(depth)
            if causal:
                logits = np.where(np.arange(len(keys))[None] > np.arange(len(queries))[:, None], -np.inf, logits)
            out[:, part] = softmax(logits) @ values[:, part]
        return out

    def attention_block(self, path, source, target, causal):
        x = target + timing(len(target), target.shape[1])
        x = self.conv_block(f"{path}/conv1", x, True)
        x = self.conv_block(f"{path}/conv2", x, True)
        project = lambda name, y: y @ self.w(f"{path}/{name}/kernel")  # noqa: E731
        if not self.has(f"{path}/self_query/kernel"):
            return x
        h = self.norm(f"{path}/self_norm", x)
        mixed = self.attend(project("self_query", h), project("self_key", h), project("self_value", h), causal)
        x = x + project("self_output", mixed)
        h = self.norm(f"{path}/source_norm", x)
        keyed = source + timing(len(source), source.shape[1]) if self.source_timing else source
        mixed = self.attend(project("source_query", h), project("memory_key", keyed), project("memory_value", source))
        return x + project("source_output", mixed)

    # 2.3

    def mixture(self, part, x):
        path = f"{part}/middle"
        tokens, weights = self.norm(f"{path}/norm", x), lambda name: self.w(f"{path}/mixture/{name}")
        clean = tokens @ weights("gate")
        spread = np.log1p(np.exp(tokens @ weights("noise")))
        noisy = clean if self.noise is None else clean + self.noise[part] * spread
        k, experts = self.chosen, clean.shape[1]
        y, importance, load = np.zeros_like(x), np.zeros(experts), np.zeros(experts)
        for n, token in enumerate(tokens):
            order = np.argsort(-noisy[n], kind="stable")
            for gate, e in zip(softmax(noisy[n][order[:k]]), order[:k]):
                y[n] += gate * (relu(token @ weights("expert_in")[e]) @ weights("expert_out")[e])
                importance[e] += gate
            for e in range(experts):  # the probability that e is chosen if its noise alone is drawn again
                threshold = np.sort(np.delete(noisy[n], e))[-k]
                load[e] += 0.5 * (1 + math.erf((clean[n, e] - threshold) / spread[n, e] / math.sqrt(2)))
        self.balance[part] = importance, load
        return x + y

    # 2.4

    def encoder(self, x):
        blocks = len(self.model.encoder.blocks)
        for index in range(blocks):
            if index == blocks // 2 and self.has("encoder/middle/norm/gamma"):
                x = self.mixture("encoder", x)
            x = self.conv_block(f"encoder/block{index + 1}", x, False)
        return self.norm("encoder/norm", x)

    def mixer_and_decoder(self, encoded, x, causal):
        x = self.attention_block("mixer/attention", encoded, x, causal)
        for index in range(len(self.model.mixer.blocks)):
            x = self.conv_block(f"mixer/block{index + 1}", x, True)
        blocks = len(self.model.decoder.blocks)
        for index in range(blocks):
            if index == blocks // 2 and self.has("decoder/middle/norm/gamma"):
                x = self.mixture("decoder", x)
            x = self.attention_block(f"decoder/block{index + 1}", encoded, x, causal)
        return self.norm("decoder/norm", x)

    def embedding(self, name, ids):
        table = self.w(f"{name}/embedding")
        return table[np.asarray(ids)] * math.sqrt(table.shape[1])

    def text(self, encoded, command, targets):
        """Logits [T, V] of the target tokens, each given those before it and the command."""
        first, previous = self.embedding("command_in", [command]), self.embedding("language_in", targets[:-1])
        if self.model.command_at in ("every", "both"):
            previous = previous + first
        x = np.concatenate([first, previous])
        return self.mixer_and_decoder(encoded, x, True) @ self.w("language_out/kernel")

    def classes(self, encoded, grid, command, labels):
        if self.model.classes_from == "encoder":
            return self.exit_flow(encoded, grid, labels)
        x = encoded + self.embedding("command_in", [command])
        return self.exit_flow(self.mixer_and_decoder(encoded, x, False), grid, labels)

    # 2.5

    def image(self, pixels):
        """[H, W, 3] -> sequence [L, D], (rows, columns)."""
        x = self.conv_step_2d("image_in/h1", pixels.astype(np.float64), (2, 2), first=True)
        x = self.conv_step_2d("image_in/h2", x)
        for index in range(len(self.model.image_in.blocks)):
            x = self.conv_res(f"image_in/r{index + 1}", x, (2, 2))
        return x.reshape(-1, x.shape[2]), x.shape[:2]

    def audio(self, spectrogram):
        """[time, frequency] -> sequence [L, D], (rows, columns)."""
        x = spectrogram.astype(np.float64)[..., None]
        for index in range(len(self.model.audio_in.blocks)):
            x = self.conv_res(f"audio_in/l{index + 1}", x, (2, 1), first=index == 0)
        if self.frequencies == "channels":
            x = x.reshape(len(x), 1, -1)
        x = x @ self.w("audio_in/to_depth/kernel")
        return x.reshape(-1, x.shape[2]), x.shape[:2]

    def exit_flow(self, x, grid, labels):
        rows, columns = (len(x), 1) if grid is None else grid
        x, path = x.reshape(rows, columns, -1), "categorical_out"
        h2 = self.conv_step_2d(f"{path}/h2", self.conv_step_2d(f"{path}/h1", x))
        h3 = self.conv_step_2d(f"{path}/skip", x, (2, 2)) + pool(h2, (2, 2))
        h5 = self.conv_step_2d(f"{path}/h5", self.conv_step_2d(f"{path}/h4", h3))
        h6 = relu(h5).mean(axis=(0, 1))
        if self.has(f"{path}/batch_norm/moving_mean"):
            h6 = (h6 - self.w(f"{path}/batch_norm/moving_mean")) / np.sqrt(self.w(f"{path}/batch_norm/moving_variance") + 1e-3)
        return h6 @ self.w(f"{path}/{labels}/kernel") + self.w(f"{path}/{labels}/bias")
