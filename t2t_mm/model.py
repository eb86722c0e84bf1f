"""The MultiModel: modality nets, encoder, I/O mixer and decoder (paper, 2.4)."""

import functools

import keras
from keras import ops

from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.checks import at_least
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.history import History, scatter
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.layers.normalization import LayerNorm
from t2t_mm.layers.positions import Positions
from t2t_mm.modalities.audio import AudioInput
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.modalities.image import ImageInput
from t2t_mm.modalities.language import LanguageInput, LanguageOutput


class Mixture(keras.layers.Layer):
    """A mixture-of-experts in the middle of encoder or decoder, as a residual over the layer-normalised stream."""

    def __init__(self, mixture, **kwargs):
        super().__init__(**kwargs)
        self.norm = LayerNorm(name="norm")
        self.mixture = mixture(name="mixture")

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.mixture.build(input_shape)

    def call(self, x, padding, training=False):  # [B, L, D], [B, L] -> [B, L, D], balance
        positions = Positions.of(padding, x)
        y, balance = self.flat(positions.flatten(x), positions, training)
        return positions.unflatten(y), balance

    def flat(self, x, positions: Positions, training=False):  # [N, D] -> [N, D], balance
        y, balance = self.mixture.flat(self.norm.flat(x), positions, training)
        return x + y, balance

    def step(self, x):  # [rows, D] -> [rows, D]
        return x + self.mixture.step(self.norm.step(x))


class Encoder(keras.layers.Layer):
    """Six ConvBlocks with a mixture in their middle; it sees the inputs only (paper, 2.4)."""

    def __init__(self, blocks: int, conv_block, mixture, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [conv_block(causal=False, name=f"block{index}") for index in range(1, blocks + 1)]
        self.mixture = Mixture(mixture, name="middle") if mixture else None
        self.norm = LayerNorm(name="norm")

    def build(self, input_shape):
        for block in self.blocks:
            block.build(input_shape)
        if self.mixture:
            self.mixture.build(input_shape)
        self.norm.build(input_shape)

    def call(self, x, padding, training=False):  # [B, S, D], [B, S] -> [B, S, D], balance or None
        balance, positions = None, Positions.of(padding, x)
        x = positions.flatten(x)
        for index, block in enumerate(self.blocks):
            if self.mixture and index == len(self.blocks) // 2:
                x, balance = self.mixture.flat(x, positions, training)
            x = block.flat(x, positions, training)
        return positions.unflatten(self.norm.flat(x)), balance


class Mixer(keras.layers.Layer):
    """An attention block and two ConvBlocks, mixing encoded inputs with previous outputs (paper, 2.4)."""

    def __init__(self, blocks: int, conv_block, attention_block, **kwargs):
        super().__init__(**kwargs)
        self.attention = attention_block(name="attention")
        self.blocks = [conv_block(causal=True, name=f"block{index}") for index in range(1, blocks + 1)]

    def build(self, input_shape):
        for layer in (self.attention, *self.blocks):
            layer.build(input_shape)

    def call(self, encoded, source_padding, x, padding, causal=True, training=False):
        """[B, S, D], [B, S], [B, T, D], [B, T] -> [B, T, D]."""
        source, positions = Positions.of(source_padding, encoded), Positions.of(padding, x)
        x = self.attention.flat(source.flatten(encoded), source, positions.flatten(x), positions, causal, training)
        for block in self.blocks:
            x = block.flat(x, positions, training)
        return positions.unflatten(x)

    def initial_state(self, encoded, source_padding, positions, width: int = 1) -> dict:
        rows, depth = ops.shape(encoded)[0] * width, encoded.shape[-1]
        return {
            "attention": self.attention.initial_state(encoded, source_padding, positions, width),
            "blocks": [block.initial_state(rows, depth, encoded.dtype) for block in self.blocks],
        }

    def extend(self, state: dict, positions: int) -> dict:
        return dict(state, attention=self.attention.extend(state["attention"], positions))

    def step(self, x, state: dict, history: History):  # [B·K, D], state -> [B·K, D], state
        x, attention = self.attention.step(x, state["attention"], history)
        blocks = []
        for block, block_state in zip(self.blocks, state["blocks"]):
            x, block_state = block.step(x, block_state, history)
            blocks.append(block_state)
        return x, {"attention": attention, "blocks": blocks}


class Decoder(keras.layers.Layer):
    """Four blocks of convolution and attention with a mixture in their middle (paper, 2.4).

    A block is the attention block of 2.2, whose target path is two ConvBlocks already: "4 blocks of convolutions and
    attention". A last layer norm bounds the sum of all residuals before the output nets.
    """

    def __init__(self, blocks: int, attention_block, mixture, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [attention_block(name=f"block{index}") for index in range(1, blocks + 1)]
        self.mixture = Mixture(mixture, name="middle") if mixture else None
        self.norm = LayerNorm(name="norm")

    def build(self, input_shape):
        for block in self.blocks:
            block.build(input_shape)
        if self.mixture:
            self.mixture.build(input_shape)
        self.norm.build(input_shape)

    def call(self, encoded, source_padding, x, padding, causal=True, training=False):
        """[B, S, D], [B, S], [B, T, D], [B, T] -> [B, T, D], balance or None."""
        balance, source, positions = None, Positions.of(source_padding, encoded), Positions.of(padding, x)
        encoded, x = source.flatten(encoded), positions.flatten(x)
        for index, block in enumerate(self.blocks):
            if self.mixture and index == len(self.blocks) // 2:
                x, balance = self.mixture.flat(x, positions, training)
            x = block.flat(encoded, source, x, positions, causal, training)
        return positions.unflatten(self.norm.flat(x)), balance

    def initial_state(self, encoded, source_padding, positions, width: int = 1) -> list:
        return [block.initial_state(encoded, source_padding, positions, width) for block in self.blocks]

    def extend(self, state: list, positions: int) -> list:
        return [block.extend(block_state, positions) for block, block_state in zip(self.blocks, state)]

    def step(self, x, state: list, history: History):  # [B·K, D], state -> [B·K, D], state
        states = []
        for index, (block, block_state) in enumerate(zip(self.blocks, state)):
            if self.mixture and index == len(self.blocks) // 2:
                x = self.mixture.step(x)
            x, block_state = block.step(x, block_state, history)
            states.append(block_state)
        return self.norm.step(x), states


class MultiModel(keras.Model):
    """One model for problems of different modalities (paper, 2).

    Args:
      vocabulary_size: V of the one subword vocabulary.
      commands: names of the command tokens, one learned embedding each.
      inputs: modalities that occur as inputs, of "language", "image", "audio".
      num_classes: label set -> number of classes, one for each categorical problem; empty without any.
      frequency_bins: frequencies of the audio input (1 for a waveform).
      depth: D, the paper's 1,024.
      encoder_blocks, mixer_blocks, decoder_blocks: the paper's 6, 2 and 4.
      conv_block, attention_block, mixture, image, audio, categorical: constructors of the parts, configured
        each by its own bindings.
      mixtures: False leaves both mixtures out, their settings being checked all the same (Table 4; without attention:
        `AttentionBlock.attend`).
      classes_from: which part's output a class is read from. "decoder" sends the encoded input and the command through
        mixer and decoder first, which is how we read the paper. "encoder" is what the 2017 release does: nothing is
        generated, so that the categorical net follows the encoder directly. It is half the work, and a small model
        begins to learn pictures several hundred updates earlier, because attention's averages bury what
        distinguishes them (docs/learning.md). The command and Table 4's ablation of attention then have no effect on
        classification.
    """

    def __init__(
        self,
        vocabulary_size: int,
        commands: tuple[str, ...],
        inputs: tuple[str, ...] = ("language", "image", "audio"),
        num_classes: dict[str, int] | None = None,
        frequency_bins: int = 80,
        depth: int = 1024,
        encoder_blocks: int = 6,
        mixer_blocks: int = 2,
        decoder_blocks: int = 4,
        conv_block=ConvBlock,
        attention_block=AttentionBlock,
        mixture=MixtureOfExperts,
        mixtures: bool = True,
        classes_from: str = "decoder",
        image=ImageInput,
        audio=AudioInput,
        categorical=CategoricalOutput,
        **kwargs,
    ):
        super().__init__(**kwargs)
        at_least(2, depth, "depth")
        if classes_from not in ("decoder", "encoder"):
            raise ValueError(f'MultiModel: classes_from is {classes_from!r}; it must be "decoder" or "encoder".')
        self.classes_from = classes_from
        attention_block = functools.partial(attention_block, conv_block=conv_block)  # one ConvBlock for the whole body
        self.vocabulary_size, self.depth = at_least(2, vocabulary_size, "vocabulary_size"), depth
        self.commands, self.frequency_bins = tuple(commands), frequency_bins
        self.language_in = LanguageInput(depth, vocabulary_size, name="language_in")
        self.language_out = LanguageOutput(vocabulary_size, name="language_out")
        # Every net is constructed, which checks its settings; only those in use are kept, and only they get weights.
        nets = image(depth, name="image_in"), audio(depth, name="audio_in")
        self.image_in, self.audio_in = (
            net if modality in inputs else None for net, modality in zip(nets, ("image", "audio"))
        )
        categorical_out = categorical(num_classes or {}, name="categorical_out")
        self.categorical_out = categorical_out if num_classes else None
        self.command_in = LanguageInput(depth, len(self.commands), name="command_in")
        if not mixtures:
            mixture(name="left_out")
            mixture = None
        self.encoder = Encoder(encoder_blocks, conv_block, mixture, name="encoder")
        self.mixer = Mixer(mixer_blocks, conv_block, attention_block, name="mixer")
        self.decoder = Decoder(decoder_blocks, attention_block, mixture, name="decoder")

    def build(self, input_shape=None):
        """Makes every weight, without running the model."""
        body = (None, None, self.depth)
        self.language_in.build()
        self.command_in.build()
        for layer in (self.language_out, self.encoder, self.mixer, self.decoder):
            layer.build(body)
        if self.image_in:
            self.image_in.build((None, None, None, 3))
        if self.audio_in:
            self.audio_in.build((None, None, self.frequency_bins))
        if self.categorical_out:
            self.categorical_out.build(body)
        self.built = True

    def parts(self) -> dict[str, keras.layers.Layer]:
        """The parts in the order data passes them."""
        names = (
            "language_in", "image_in", "audio_in", "command_in", "encoder", "mixer", "decoder",
            "language_out", "categorical_out",
        )  # fmt: skip
        return {name: part for name in names if (part := getattr(self, name)) is not None}

    def command_id(self, name: str) -> int:
        if name not in self.commands:
            raise ValueError(f"Unknown command token {name!r}; this model knows {', '.join(self.commands)}.")
        return self.commands.index(name)

    def command(self, command, batch):  # -> [B, D]
        """The embedding of a command token, given by name or (so that one graph serves them all) by id, repeated."""
        index = self.command_id(command) if isinstance(command, str) else command
        return self.command_in(ops.broadcast_to(ops.cast(index, "int32"), [batch]))

    def encode(self, modality: str, inputs, padding, training=False):
        """An input of one modality through its net and the encoder.

        Args:
          modality: "language" (inputs [B, S] ids, padding [B, S]), "image" ([B, H, W, 3] standardised pixels,
            padding None) or "audio" ([B, time, frequency], padding [B, time]).

        Returns: encoded [B, S, D], padding [B, S], grid (H', W') or None, balance.
        """
        grid = None
        if modality == "language":
            x = self.language_in(inputs)
        elif modality == "image":
            x, padding, grid = self.image_in(inputs)
        elif modality == "audio":
            x, padding, grid = self.audio_in(inputs, padding)
        else:
            raise ValueError(f'Unknown input modality {modality!r}; choose "language", "image" or "audio".')
        encoded, balance = self.encoder(x, padding, training=training)
        return encoded, padding, grid, balance

    def decode_text(self, encoded, source_padding, command, targets, target_padding, training=False):
        """Teacher-forced logits of every target token, the targets shifted right behind the command token.

        targets [B, T] ids, target_padding [B, T] -> logits [B, T, V], balance.
        """
        first = self.command(command, ops.shape(encoded)[0])[:, None]
        x = ops.concatenate([ops.cast(first, encoded.dtype), self.language_in(targets[:, :-1])], axis=1)
        source, target = Positions.of(source_padding, encoded), Positions.of(target_padding, x)
        both = {"source_padding": source, "padding": target, "training": training}
        x = self.mixer(encoded, x=x, **both)
        x, balance = self.decoder(encoded, x=x, **both)
        return self.language_out(x), balance

    def decode_classes(self, encoded, padding, grid, command, labels: str, training=False):
        """Logits over a label set, [B, classes], and the decoder's balance, None where it has no part in them.

        With `classes_from="decoder"` the mixer's target stream is the encoded input itself together with the command:
        the exit flow needs the input's two dimensions back, and Table 4's ablation without attention concerns
        classification too. It is not autoregressive, so its self-attention is not masked.
        """
        if self.classes_from == "encoder":
            return self.categorical_out(encoded, padding, grid=grid, labels=labels, training=training), None
        x = encoded + self.command(command, ops.shape(encoded)[0])[:, None]
        positions = Positions.of(padding, x)
        both = {"source_padding": positions, "padding": positions, "causal": False, "training": training}
        x = self.mixer(encoded, x=x, **both)
        x, balance = self.decoder(encoded, x=x, **both)
        return self.categorical_out(x, padding, grid=grid, labels=labels, training=training), balance

    def initial_state(self, encoded, source_padding, positions, width: int = 1) -> dict:
        """State of step-by-step decoding with room for `positions`; the source's keys and values are computed here.

        Args:
          encoded: [B, S, D]. source_padding: [B, S]. width: K, how many hypotheses of each example advance together.
        """
        return {
            "mixer": self.mixer.initial_state(encoded, source_padding, positions, width),
            "decoder": self.decoder.initial_state(encoded, source_padding, positions, width),
        }

    def extend(self, state: dict, positions: int) -> dict:
        """The state with room for so many positions more."""
        return {
            "mixer": self.mixer.extend(state["mixer"], positions),
            "decoder": self.decoder.extend(state["decoder"], positions),
        }

    def step(self, x, position, state: dict, ancestors=None, write=scatter):
        """One output position: x [B·K, D], the command's or the previous token's embedding -> logits [B·K, V], state.

        ancestors: [B, K, L], whose past each hypothesis goes on from (see History); None for one hypothesis. write: how
        the state's memory is written.
        """
        history = History(position, ancestors, write)
        x, mixer = self.mixer.step(x, state["mixer"], history)
        x, decoder = self.decoder.step(x, state["decoder"], history)
        return self.language_out(x), {"mixer": mixer, "decoder": decoder}
