"""The MultiModel: modality nets, encoder, I/O mixer and decoder (paper, 2.4)."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from t2t_mm.layers.attention import AttentionBlock, SourceLooks
from t2t_mm.layers.checks import at_least, check_features, check_ids, check_padding, one_of
from t2t_mm.layers.constructors import Constructor, Part, constructor
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.layers.normalization import LayerNorm
from t2t_mm.layers.policy import made_with
from t2t_mm.layers.positions import Positions
from t2t_mm.layers.source_mean import SourceMean
from t2t_mm.layers.tensors import Shape, Tensor
from t2t_mm.modalities.audio import AudioInput
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.modalities.image import ImageInput
from t2t_mm.modalities.joining import joined
from t2t_mm.modalities.known import KNOWN
from t2t_mm.modalities.language import LanguageInput, LanguageOutput
from t2t_mm.modalities.modality import Modality
from t2t_mm.modalities.net import InputNet, as_sequence
from t2t_mm.spelling import near


@keras.saving.register_keras_serializable(package="t2t_mm")
class Mixture(keras.layers.Layer):
    """The mixture-of-experts in the middle of the encoder or the decoder.

    It takes the layer-normalised stream as its input, and its output is added to the stream as a residual.
    """

    def __init__(self, mixture: Part, **kwargs: Any):
        super().__init__(**kwargs)
        # The paper shows no norm around the mixture. Like the attentions, it is a residual branch with a norm at its
        # beginning, so that the ablation without mixtures (Table 4) removes this branch and nothing else.
        self.norm = LayerNorm(name="norm")
        self.mixture = constructor(mixture)(name="mixture")
        # The settings are those of the finished layer, because a class or a partial cannot be saved (see `constructors`).
        self._mixture = Constructor.of(self.mixture)

    def get_config(self) -> dict:
        return super().get_config() | {"mixture": self._mixture.saved}

    def build(self, input_shape: Shape) -> None:
        self.norm.build(input_shape)
        self.mixture.build(input_shape)

    def call(
        self, x: Tensor, padding: Tensor, training: bool = False
    ) -> tuple[Tensor, dict]:  # [B, L, D], [B, L] -> [B, L, D], balance
        # A layer can be called alone or within the model. Only in the second case are the positions shared with other layers.
        positions = Positions.of(padding, x, depth=self.norm.gamma.shape[0])
        y, balance = self.flat(positions.flatten(x), positions, training)
        return positions.unflatten(y), balance

    def flat(self, x: Tensor, positions: Positions, training: bool = False) -> tuple[Tensor, dict]:  # [N, D] -> [N, D], balance
        y, balance = self.mixture.flat(self.norm.flat(x), positions, training)
        return x + y, balance


@keras.saving.register_keras_serializable(package="t2t_mm")
class Encoder(keras.layers.Layer):
    """Six ConvBlocks with a mixture-of-experts in their middle; they see only the inputs (paper, 2.4).

    Args:
      blocks: number of ConvBlocks; the paper's 6.
      conv_block, mixture: constructors of the parts. A `mixture` of None leaves the mixture out.
    """

    def __init__(self, blocks: int, conv_block: Part, mixture: Part, **kwargs: Any):
        super().__init__(**kwargs)
        conv_block = constructor(conv_block)
        at_least(1, blocks, "blocks")
        # SAME padding, because the inputs are known completely before decoding begins (paper, 2.1).
        self.blocks = [conv_block(causal=False, name=f"block{index}") for index in range(1, blocks + 1)]
        # All blocks are made alike, so the first one describes them. The encoder itself determines `causal`.
        self._conv_block = Constructor.of(self.blocks[0], "causal")
        self.mixture = Mixture(mixture, name="middle") if mixture else None
        # Not in the paper. The blocks add to the stream, whose scale is unbounded; this norm fixes the scale of what the
        # source attentions and the class head read.
        self.norm = LayerNorm(name="norm")

    def get_config(self) -> dict:
        return super().get_config() | {
            "blocks": len(self.blocks),
            "conv_block": self._conv_block.saved,
            "mixture": self.mixture.get_config()["mixture"] if self.mixture else None,
        }

    def build(self, input_shape: Shape) -> None:
        for block in self.blocks:
            block.build(input_shape)
        if self.mixture:
            self.mixture.build(input_shape)
        self.norm.build(input_shape)

    def call(
        self, x: Tensor, padding: Tensor, training: bool = False
    ) -> tuple[Tensor, dict | None]:  # [B, S, D], [B, S] -> [B, S, D], balance or None
        balance, positions = None, Positions.of(padding, x, depth=self.norm.gamma.shape[0])
        x = positions.flatten(x)
        for index, block in enumerate(self.blocks):
            # "In the middle" (paper, 2.4): with six blocks, three come before the mixture and three after it.
            if self.mixture and index == len(self.blocks) // 2:
                x, balance = self.mixture.flat(x, positions, training)
            x = block.flat(x, positions, training)
        # The balancing losses are not added with Keras's `add_loss`: their vectors must first be averaged over the replicas.
        return positions.unflatten(self.norm.flat(x)), balance


@keras.saving.register_keras_serializable(package="t2t_mm")
class Mixer(keras.layers.Layer):
    """An attention block and two ConvBlocks, which mix the encoded inputs with the previous outputs (paper, 2.4).

    Args:
      blocks: number of ConvBlocks after the attention block; the paper's 2.
      conv_block, attention_block: constructors of the parts.
    """

    def __init__(self, blocks: int, conv_block: Part, attention_block: Part, **kwargs: Any):
        super().__init__(**kwargs)
        at_least(0, blocks, "blocks")
        self.attention = constructor(attention_block)(name="attention")
        self._attention_block = Constructor.of(self.attention)
        conv_block = constructor(conv_block)
        # Causal even for classes, whose self-attention is not masked: in mixer and decoder, all convolutions are padded on the
        # left only (paper, 2.1), and both kinds of targets share these weights.
        self.blocks = [conv_block(causal=True, name=f"block{index}") for index in range(1, blocks + 1)]
        # Without a block there is no layer that could describe the constructor, and `get_config` does not need it.
        self._conv_block = Constructor.of(self.blocks[0], "causal") if self.blocks else None

    def get_config(self) -> dict:
        return super().get_config() | {
            "blocks": len(self.blocks),
            "conv_block": self._conv_block.saved if self._conv_block else None,
            "attention_block": self._attention_block.saved,
        }

    def build(self, input_shape: Shape) -> None:
        self.depth = input_shape[-1]
        for layer in (self.attention, *self.blocks):
            layer.build(input_shape)

    def call(
        self,
        encoded: Tensor,
        source_padding: Tensor,
        x: Tensor,
        padding: Tensor,
        causal: bool = True,
        training: bool = False,
        looks: SourceLooks | None = None,
    ) -> Tensor:
        """Returns the mixed stream: [B, S, D], [B, S], [B, T, D], [B, T] -> [B, T, D]."""
        # The source and the target have their own positions, because their lengths differ.
        source = Positions.of(source_padding, encoded, ("encoded", "source_padding"), self.depth)
        positions = Positions.of(padding, x, depth=self.depth)
        x = self.attention.flat(source.flatten(encoded), source, positions.flatten(x), positions, causal, training, looks)
        for block in self.blocks:
            x = block.flat(x, positions, training)
        return positions.unflatten(x)


@keras.saving.register_keras_serializable(package="t2t_mm")
class Decoder(keras.layers.Layer):
    """Four blocks of convolution and attention with a mixture in their middle (paper, 2.4).

    Each block is the attention block of section 2.2. Its target path already begins with two ConvBlocks, which makes it
    one of the paper's "4 blocks of convolutions and attention". The layer norm at the end bounds the sum of all residuals
    before the output nets.

    Args:
      blocks: number of attention blocks; the paper's 4.
      attention_block, mixture: constructors of the parts. A `mixture` of None leaves the mixture out.
    """

    def __init__(self, blocks: int, attention_block: Part, mixture: Part, **kwargs: Any):
        super().__init__(**kwargs)
        attention_block = constructor(attention_block)
        at_least(1, blocks, "blocks")
        self.blocks = [attention_block(name=f"block{index}") for index in range(1, blocks + 1)]
        self._attention_block = Constructor.of(self.blocks[0])
        self.mixture = Mixture(mixture, name="middle") if mixture else None
        # It keeps the logits of an untrained model small, whatever the number of blocks, so that the first loss is that of a
        # guess.
        self.norm = LayerNorm(name="norm")

    def get_config(self) -> dict:
        return super().get_config() | {
            "blocks": len(self.blocks),
            "attention_block": self._attention_block.saved,
            "mixture": self.mixture.get_config()["mixture"] if self.mixture else None,
        }

    def build(self, input_shape: Shape) -> None:
        for block in self.blocks:
            block.build(input_shape)
        if self.mixture:
            self.mixture.build(input_shape)
        self.norm.build(input_shape)

    def call(
        self,
        encoded: Tensor,
        source_padding: Tensor,
        x: Tensor,
        padding: Tensor,
        causal: bool = True,
        training: bool = False,
        looks: SourceLooks | None = None,
    ) -> tuple[Tensor, dict | None]:
        """Returns the decoded stream and the balance: [B, S, D], [B, S], [B, T, D], [B, T] -> [B, T, D], balance or None."""
        depth = self.norm.gamma.shape[0]
        source = Positions.of(source_padding, encoded, ("encoded", "source_padding"), depth)
        balance, positions = None, Positions.of(padding, x, depth=depth)
        encoded, x = source.flatten(encoded), positions.flatten(x)
        for index, block in enumerate(self.blocks):
            if mixture := self.mixture_before(index):
                x, balance = mixture.flat(x, positions, training)
            x = block.flat(encoded, source, x, positions, causal, training, looks)
        return positions.unflatten(self.norm.flat(x)), balance

    def mixture_before(self, index: int) -> Mixture | None:
        """Returns the mixture if it comes before the block with this index, which is the middle one; otherwise None."""
        # Step-by-step decoding (`incremental`) asks the same question, so that the two orders cannot differ.
        return self.mixture if index == len(self.blocks) // 2 else None


_AXES = {"language": "[B, S]", "image": "[B, H, W, 3]", "audio": "[B, time, frequency]"}


def _declared(inputs: Sequence[str | Modality | dict], frequency_bins: int) -> dict[str, Modality]:
    """Returns the modalities by name. A dict is the saved form of a custom modality in the configuration of a model."""
    found = {}
    for one in inputs:
        if isinstance(one, str):
            one = KNOWN[one_of(list(KNOWN), one, "inputs")]
        elif isinstance(one, dict):
            one = Modality.loaded(one)
        # The number of frequencies is a setting of the run, and therefore left open in the declaration.
        if one is KNOWN["audio"]:
            one = dataclasses.replace(one, shape=(None, frequency_bins))
        # A net is an attribute of the model with the name of its modality, so a second one would silently replace the first.
        # The nets are compared, not the declarations, because the one of audio has just been copied.
        if one.name in found or one.name in KNOWN and one.net is not KNOWN[one.name].net:
            raise ValueError(f"inputs has two modalities that are called {one.name!r}.")
        found[one.name] = one
    return found


# The keys of a dict passed to the model: the arguments of its `call` except `training`.
_CALL_KEYS = {"modality", "inputs", "padding", "command", "targets", "target_padding", "labels"}


@keras.saving.register_keras_serializable(package="t2t_mm")
class MultiModel(keras.Model):
    """One model for problems of different modalities (paper, 2).

    Args:
      vocabulary_size: V, the size of the subword vocabulary that all problems share.
      commands: the names of the command tokens. Each has a learned embedding.
      inputs: the input modalities: "language", "image", "audio" or a custom `Modality`, which contains the constructor of
        its net. (A problem may combine several of them, see `encode`.)
      num_classes: label set -> number of classes, for each problem whose targets are classes.
      frequency_bins: the number of frequencies of the audio input; 1 for a waveform.
      depth: D, even; the paper's 1,024.
      encoder_blocks, mixer_blocks, decoder_blocks: the numbers of blocks; the paper's 6, 2 and 4.
      conv_block, attention_block, mixture, image, audio, categorical: constructors of the parts, so that each part is
        configured by itself: classes, partials, classes with Gin's bindings, or dicts as `get_config` returns them. The whole
        body has the ConvBlocks of `conv_block`, which replaces a `conv_block` that is set in `attention_block`.
      mixtures: whether the encoder and the decoder have a mixture-of-experts. If False, the settings of the mixture are
        still checked. (Table 4 removes the mixtures; `AttentionBlock.attend` removes the attention.)
      classes_from: the part whose output the class is read from. "decoder" first sends the encoded input and the command
        through mixer and decoder, which is our reading of the paper. "encoder" lets the categorical net follow the encoder
        directly, because nothing is generated, as in the 2017 release. This is half the work, and a small model begins to
        learn images several hundred updates earlier, because the averages of the attention bury what distinguishes them
        (docs/learning.md). The ablation of attention in Table 4 then has no effect on classification, and neither has the
        command, unless it reaches the encoder (see `command_at`).
      command_at: where the embedding of the command enters the model. It changes no weights, only what is added:
        "start": it is the first input of the decoder, before the previous targets (paper, 2.4).
        "every": it is also added to each previous target, so that no position depends on attention to know the command.
        "source": as "start", and it is added to each position of the unified representation before the encoder, so that the
        encoder knows what the input is for. This corresponds to the token of the target language at the beginning of the
        source in Johnson et al. 2017 (arXiv 1611.04558), which made translation between unseen pairs of languages possible.
        It is added and not put before the source, so that images keep their rows and columns.
        "both": "every" and "source".
        Classes that are decoded through the decoder have the command at every position in any case (see `decode_classes`).
      reads: what mixer and decoder read of the encoded input to generate text: all its "positions", as in the paper, or only
        their "mean". If the model was trained with `mean_share` and a contrast
        (`training.settings.Objective.contrast_weight`), images and speech are then answered better with commands with which
        they were never trained; sentences are answered worse, because the mean says less of them. It changes no weights.
      mean_share: the fraction of the examples of a training batch whose texts or trees are generated from the mean (see
        `SourceMean`), at least 0 and less than 1.

    Raises:
      ValueError: an argument of the model or of one of its parts is out of range; the message names it.
    """

    def __init__(
        self,
        vocabulary_size: int,
        commands: tuple[str, ...],
        inputs: Sequence[str | Modality | dict] = ("language", "image", "audio"),
        num_classes: dict[str, int] | None = None,
        frequency_bins: int = 80,
        depth: int = 1024,
        encoder_blocks: int = 6,
        mixer_blocks: int = 2,
        decoder_blocks: int = 4,
        conv_block: Part = ConvBlock,
        attention_block: Part = AttentionBlock,
        mixture: Part = MixtureOfExperts,
        mixtures: bool = True,
        classes_from: str = "decoder",
        command_at: str = "start",
        reads: str = "positions",
        mean_share: float = 0.0,
        image: Part = ImageInput,
        audio: Part = AudioInput,
        categorical: Part = CategoricalOutput,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size, self.depth = at_least(2, vocabulary_size, "vocabulary_size"), at_least(2, depth, "depth")
        if depth % 2:
            raise ValueError(f"depth is {depth}; it must be even, because the timing signal has pairs of channels.")
        # A string is a sequence, too: its letters would become commands.
        if isinstance(commands, str):
            raise ValueError(f"commands is {commands!r}; it must be a sequence of names, such as ({commands!r},).")
        self.commands = tuple(commands)
        at_least(1, len(self.commands), "the number of commands")
        # Only the first of two equal names would ever be found.
        if twice := [name for name in self.commands if self.commands.count(name) > 1]:
            raise ValueError(f"commands contains {twice[0]!r} more than once; give each command once.")
        self._declared = _declared(inputs, frequency_bins)
        self.input_modalities = tuple(self._declared)
        for name, blocks in (("encoder_blocks", encoder_blocks), ("decoder_blocks", decoder_blocks)):
            at_least(1, blocks, name)
        at_least(0, mixer_blocks, "mixer_blocks")
        self.classes_from = one_of(("decoder", "encoder"), classes_from, "classes_from")
        self.command_at = one_of(("start", "every", "source", "both"), command_at, "command_at")
        self.reads = one_of(("positions", "mean"), reads, "reads")
        self.frequency_bins, self.mixtures = at_least(1, frequency_bins, "frequency_bins"), mixtures
        conv_block, attention_block, mixture = constructor(conv_block), constructor(attention_block), constructor(mixture)
        attention_block = functools.partial(attention_block, conv_block=conv_block)  # one ConvBlock for the whole body
        # Keras does not pass the policy of a model on to its sublayers; they would get the global one.
        with made_with(self.dtype_policy):
            # All nets are constructed, so that their settings are checked; only those in use are kept and get weights.
            self.language_in = LanguageInput(depth, vocabulary_size, name="language_in")
            self.language_out = LanguageOutput(vocabulary_size, name="language_out")
            image_in = constructor(image)(depth=depth, name="image_in")
            audio_in = constructor(audio)(depth=depth, name="audio_in")
            self.image_in = image_in if "image" in self._declared else None
            self.audio_in = audio_in if "audio" in self._declared else None
            own = [one for name, one in self._declared.items() if name not in KNOWN]
            for one in own:
                setattr(self, f"{one.name}_in", constructor(one.net)(depth=depth, name=f"{one.name}_in"))
            categorical_out = constructor(categorical)(num_classes=num_classes or {}, name="categorical_out")
            self.categorical_out = categorical_out if num_classes else None
            # A command takes the place of the first token, so its embedding has the same scale as that of a token.
            self.command_in = LanguageInput(depth, len(self.commands), name="command_in")
            left_out = mixture(name="left_out") if mixture and not mixtures else None
            mixture_in_use = mixture if mixtures else None
            self.encoder = Encoder(encoder_blocks, conv_block, mixture_in_use, name="encoder")
            self.source_mean = SourceMean(mean_share, reads == "mean", name="source_mean")
            self.mixer = Mixer(mixer_blocks, conv_block, attention_block, name="mixer")
            self.decoder = Decoder(decoder_blocks, attention_block, mixture_in_use, name="decoder")
        # Recorded here, because `get_config` must describe the nets that were left out, too.
        self._image = Constructor.of(image_in, "depth")
        self._audio = Constructor.of(audio_in, "depth")
        self._own = {one.name: one.saved(Constructor.of(self._net(one.name), "depth").saved) for one in own}
        self._categorical = Constructor.of(categorical_out, "num_classes")
        mixture_layer = self.encoder.mixture.mixture if self.encoder.mixture else left_out
        self._mixture = Constructor.of(mixture_layer) if mixture_layer else None
        self._conv_block = Constructor.of(self.encoder.blocks[0], "causal")
        self._attention_block = Constructor.of(self.mixer.attention, "conv_block")

    def build(self, input_shape: Shape | None = None) -> None:
        """Creates all weights without running the model."""
        body = (None, None, self.depth)
        with made_with(self.dtype_policy):
            self.language_in.build()
            self.command_in.build()
            for layer in (self.language_out, self.encoder, self.mixer, self.decoder):
                layer.build(body)
            # In an order that does not depend on that of `inputs`, because weights draw their initial values in the order of
            # creation.
            for name in sorted(self._declared, key=[*KNOWN, *self._own].index):
                if name != "language":  # already built, because the targets need it
                    self._net(name).build((None, *self._declared[name].shape))
            if self.categorical_out:
                self.categorical_out.build(body)
        # All weights exist, so that the first call does not build the model again.
        self.built = True

    def _build_if_new(self) -> None:
        # Only Keras's `__call__` builds a model by itself. Without this, a part that is called first would build itself alone,
        # under a path without the name of the model, and every later call of the model would fail.
        if not self.built:
            self.build()

    def get_config(self) -> dict:
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "commands": list(self.commands),
            "inputs": [self._own.get(name, name) for name in self.input_modalities],
            "num_classes": dict(self.categorical_out.num_classes) if self.categorical_out else None,
            "frequency_bins": self.frequency_bins,
            "depth": self.depth,
            "encoder_blocks": len(self.encoder.blocks),
            "mixer_blocks": len(self.mixer.blocks),
            "decoder_blocks": len(self.decoder.blocks),
            "conv_block": self._conv_block.saved,
            "attention_block": self._attention_block.saved,
            "mixture": self._mixture.saved if self._mixture else None,
            "mixtures": self.mixtures,
            "classes_from": self.classes_from,
            "command_at": self.command_at,
            "reads": self.reads,
            "mean_share": self.source_mean.rate,
            "image": self._image.saved,
            "audio": self._audio.saved,
            "categorical": self._categorical.saved,
        }

    def get_build_config(self) -> dict:
        return {"input_shape": None}  # the shapes of all weights follow from the configuration

    def build_from_config(self, config: dict) -> None:
        self.build()

    def __call__(self, inputs: Any, *args: Any, **settings: Any) -> Tensor:
        """Calls the model with the arguments of `call`, or with a dict: `model({"modality": "language", "inputs": ids, ...})`.

        Raises:
          ValueError: the dict lacks "inputs", or has a key that is not an argument of `call`.
        """
        # Keras rejects a nested argument that contains tensors and strings, so the dict is unpacked before Keras sees it.
        if isinstance(inputs, dict):
            unknown = sorted(inputs.keys() - _CALL_KEYS)
            if unknown or "inputs" not in inputs:
                what = f"the key {unknown[0]!r}{near(unknown[0], sorted(_CALL_KEYS))}" if unknown else "no key 'inputs'"
                raise ValueError(f"The dict of inputs has {what}; its keys are among {', '.join(sorted(_CALL_KEYS))}.")
            # Named arguments of the call take precedence over those in the dict.
            settings = {name: value for name, value in inputs.items() if name != "inputs"} | settings
            inputs = inputs["inputs"]
        return super().__call__(inputs, *args, **settings)

    def call(
        self,
        inputs: Tensor | Sequence[Tensor],
        modality: str | Sequence[str],
        command: str | int | Tensor,
        padding: Tensor = None,
        targets: Tensor = None,
        target_padding: Tensor = None,
        labels: str | None = None,
        training: bool = False,
    ) -> Tensor:
        """Returns the logits of a batch, with teacher forcing if the target is text.

        Args:
          inputs, modality, padding: as in `encode`. Default: no position is padded.
          command: the name or id of the command token.
          targets: [B, T] ids of text; None for a class.
          target_padding: [B, T] boolean. Default: no target is padded.
          labels: the name of the label set, for a class. Default: the only label set of the model.

        Returns:
          [B, T, V], or [B, classes] without targets; float32. The balancing losses of the mixtures are not included; they
          are a part of `t2t_mm.losses.problem_loss`, which training minimises.

        Raises:
          ValueError: an unknown modality, command or label set, or both targets and labels.
        """
        encoded, padding, grid, _ = self.encode(modality, inputs, padding, command, training=training)
        # What is generated follows from the call and not from the model: one model does both (paper, 2.4).
        if targets is None:
            return self.decode_classes(encoded, padding, grid, command, labels, training=training)[0]
        if labels is not None:
            raise ValueError(f"There are both targets and labels {labels!r}: text and a class are two different calls.")
        return self.decode_text(encoded, padding, command, targets, target_padding, training=training)[0]

    def _label_set(self, labels: str | None) -> str:
        known = list(self.categorical_out.num_classes) if self.categorical_out else []
        if labels is None and len(known) == 1:
            return known[0]
        if labels is None or labels not in known:
            have = f"this model has {', '.join(known)}" if known else "this model has none, and needs targets"
            raise ValueError(f"labels is {labels!r}{near(labels, known)}; it must be one of the model's label sets ({have}).")
        return labels

    def parts(self) -> dict[str, keras.layers.Layer]:
        """Returns the parts in the order in which data passes through them."""
        names = [
            "language_in", "image_in", "audio_in", *(f"{name}_in" for name in self._own), "command_in", "encoder", "mixer",
            "decoder", "language_out", "categorical_out",
        ]  # fmt: skip
        return {name: part for name in names if (part := getattr(self, name)) is not None}

    @property
    def command_at_every(self) -> bool:
        """Whether the command is added to each previous target, see `command_at`."""
        return self.command_at in ("every", "both")

    @property
    def command_at_source(self) -> bool:
        """Whether the command is added to the input of the encoder, see `command_at`."""
        return self.command_at in ("source", "both")

    def command_id(self, name: str) -> int:
        """Returns the id of a command token.

        Raises:
          ValueError: the model does not have this command.
        """
        if name not in self.commands:
            raise ValueError(
                f"Unknown command token {name!r}{near(name, self.commands)}; this model knows {', '.join(self.commands)}."
            )
        return self.commands.index(name)

    def command(self, command: str | int | Tensor, batch: Tensor) -> Tensor:  # -> [B, D]
        """Returns the embedding of a command token, repeated for each example of a batch.

        Args:
          command: the name of the token, or its id, so that one graph can be used for all tokens; or an id for each example,
            [B].
          batch: B, the number of examples.
        """
        self._build_if_new()
        index = self.command_id(command) if isinstance(command, str) else command
        # A scalar is repeated for all examples. An export that answers mixed commands passes an id for each example, which
        # this leaves as it is.
        return self.command_in(ops.broadcast_to(ops.cast(index, "int32"), [batch]))

    def encode(
        self,
        modality: str | Sequence[str],
        inputs: Tensor | Sequence[Tensor],
        padding: Tensor | Sequence[Tensor] = None,
        command: str | int | Tensor | None = None,
        training: bool = False,
    ) -> tuple[Tensor, Tensor, tuple | None, dict | None]:
        """Passes one or several inputs through the nets of their modalities and the encoder.

        Several inputs are joined to one sequence before the encoder (`t2t_mm/modalities/joining.py`).

        Args:
          modality: "language" (inputs [B, S] ids, padding [B, S]), "image" (inputs [B, H, W, 3] standardised pixels,
            padding None), "audio" (inputs [B, time, frequency], padding [B, time]), or the name of a declared modality. For
            several inputs: a sequence of these names, with `inputs` and `padding` in the same order.
          padding: boolean, True where a position is padded. Default: no position is padded. A modality that is not padded,
            such as "image", takes only None.
          command: the name or id of the command token, or an id for each example [B]; the one from which the answers are going
            to be decoded. Only a model whose `command_at` is "source" or "both" needs it, and the others do not read it.

        Returns:
          The encoded input [B, S, D], its padding [B, S], its grid (H', W') or None, and the balance vectors.

        Raises:
          ValueError: the model does not have this input modality, the inputs or their padding have the wrong shape or type,
            there is a padding for a modality that is not padded, the number of inputs or paddings is not that of the
            modalities, or the command is unknown or missing.
        """
        self._build_if_new()
        # Before anything is computed, because the nets of the modalities do not need it.
        if self.command_at_source and command is None:
            raise ValueError(
                f"The encoder of a model with command_at={self.command_at!r} needs the command; pass the name or id of the "
                f"command token to `encode`, for instance command={self.commands[0]!r}."
            )
        if isinstance(modality, str):
            x, padding, grid = self._represent(modality, inputs, padding, training)
        else:
            # A joined sequence has no two dimensions, even if one of its parts is an image.
            grid = None
            padding = [None] * len(modality) if padding is None else padding
            for what, given in (("inputs", inputs), ("padding", padding)):
                if not isinstance(given, list | tuple) or len(given) != len(modality):
                    found = f"a sequence of {len(given)}" if isinstance(given, list | tuple) else "one tensor"
                    raise ValueError(f"{what} is {found}; it must have one entry for each of {', '.join(modality)}.")
            # Each part passes through the net of its modality before they are joined, so the nets do not know of each other.
            parts = [self._represent(*part, training) for part in zip(modality, inputs, padding)]
            x, padding = joined([part for part, *_ in parts], [part_padding for _, part_padding, _ in parts])
        if self.command_at_source:
            # After all inputs have been joined, so that each position gets it once. Padding stays as it is.
            spoken = self.command(command, ops.shape(x)[0])[:, None]  # [B, 1, D]
            x += ops.cast(spoken, x.dtype) * ops.cast(ops.logical_not(padding), x.dtype)[..., None]
        encoded, balance = self.encoder(x, padding, training=training)
        return encoded, padding, grid, balance

    def _net(self, modality: str) -> InputNet:
        return getattr(self, f"{modality}_in")

    def _represent(self, modality: str, inputs: Tensor, padding: Tensor, training: bool) -> tuple[Tensor, Tensor, tuple | None]:
        """Returns an input in the unified representation [B, S, D], its padding [B, S], and its grid or None."""
        # The language net always exists, because it also embeds targets.
        known = {"language": KNOWN["language"]} | self._declared
        one_of([*sorted(known, key=[*KNOWN, *self._own].index)], modality, "modality")
        declared = known[modality]
        check_features(inputs, "inputs", _AXES.get(modality, declared.axes))
        # Images have no mask, because all images of a batch have the same size.
        if declared.padded:
            if padding is None:
                # From here on, a mask always exists.
                padding = ops.zeros(ops.shape(inputs)[:2], "bool")
            check_padding(padding, "padding", inputs, axes=2)
        elif padding is not None:
            raise ValueError(
                f"There is a padding for the modality {modality!r}, which has none, because all its examples in a batch have "
                "the same size; pass None."
            )
        return as_sequence(self._net(modality), inputs, padding, training)

    def decode_text(
        self,
        encoded: Tensor,
        source_padding: Tensor,
        command: str | int | Tensor,
        targets: Tensor,
        target_padding: Tensor,
        training: bool = False,
        looks: SourceLooks | None = None,
    ) -> tuple[Tensor, dict | None]:
        """Returns the teacher-forced logits of all target tokens [B, T, V], and the balance vectors.

        The decoder's input is the command token followed by all targets but the last: the targets shifted right by one. If
        `command_at` is "every" or "both", the embedding of the command is added to each of these targets.

        Args:
          targets: [B, T] ids.
          target_padding: [B, T] boolean, or None if no target is padded.
          looks: collects the weights [B, G, T, S] of each source attention, first the mixer's and then the decoder's.

        Raises:
          ValueError: a tensor has the wrong shape or type, or the command is unknown.
        """
        self._build_if_new()
        check_features(encoded, "encoded", "[B, S, D]", self.depth)
        check_features(targets, "targets", "[B, T]")
        check_ids(targets, "targets")
        # Decoding always starts from a command token, which tells apart problems with the same output modality (paper, 2.4).
        first = self.command(command, ops.shape(encoded)[0])[:, None]  # [B, 1, D]
        # The net that embeds targets is the one for input texts: all text problems share one vocabulary (paper, 2.5).
        previous = self.language_in(targets[:, :-1])
        if self.command_at_every:
            # The first position already is the command.
            previous += ops.cast(first, previous.dtype)
        x = ops.concatenate([ops.cast(first, encoded.dtype), previous], axis=1)
        source = Positions.of(source_padding, encoded, ("encoded", "source_padding"))
        encoded = self.source_mean(encoded, source.padding, training=training)
        # Position t reads target t − 1 and predicts target t. The padding is that of the predicted targets, so that exactly
        # the positions whose loss counts are kept.
        target = Positions.of(target_padding, x, ("targets", "target_padding"))
        both = {"source_padding": source, "padding": target, "training": training, "looks": looks}
        x = self.mixer(encoded, x=x, **both)
        x, balance = self.decoder(encoded, x=x, **both)
        # Logits and not probabilities: a loss is more exact with the logarithm of the softmax.
        return self.language_out(x), balance

    def decode_classes(
        self,
        encoded: Tensor,
        padding: Tensor,
        grid: tuple | None,
        command: str | int | Tensor,
        labels: str | None,
        training: bool = False,
    ) -> tuple[Tensor, dict | None]:
        """Returns the logits over a label set [B, classes], and the decoder's balance vectors (None without the decoder).

        With `classes_from="decoder"`, the target of the mixer is the encoded input itself plus the embedding of the command.
        The paper does not specify this target, but the exit flow needs the two dimensions of the input, and the ablation
        without attention in Table 4 concerns classification, too. Because this target is not autoregressive, its
        self-attention is not masked.

        Raises:
          ValueError: a tensor has the wrong shape, or the command or label set is unknown.
        """
        self._build_if_new()
        check_features(encoded, "encoded", "[B, S, D]", self.depth)
        labels = self._label_set(labels)
        assert self.categorical_out is not None  # every model with label sets has one
        # As in the 2017 release. With it, a small model learns the mini ImageNet in 400 updates; through mixer and decoder, it
        # has learnt nothing after 200 (docs/learning.md, "Images").
        if self.classes_from == "encoder":
            return self.categorical_out(encoded, padding, grid=grid, labels=labels, training=training), None
        # The command is added to every position instead of being put before the first one: the exit flow needs exactly the
        # rows and columns of the input.
        x = encoded + self.command(command, ops.shape(encoded)[0])[:, None]
        positions = Positions.of(padding, x)
        # Source and target are the same sequence here, and share its masks and timing signal.
        both = {"source_padding": positions, "padding": positions, "causal": False, "training": training}
        x = self.mixer(encoded, x=x, **both)
        x, balance = self.decoder(encoded, x=x, **both)
        return self.categorical_out(x, padding, grid=grid, labels=labels, training=training), balance


def path_below(variable: keras.Variable) -> str:
    """Returns the path of a weight without the name of its model, such as "encoder/block1/step1/conv/pointwise"."""
    # Keras gives each model a different name, so that only the rest can be compared between models and checkpoints.
    return variable.path.split("/", 1)[1]
