"""Tests properties of the whole model at a tiny size (paper, 2.4)."""

import functools
import math

import keras
import numpy as np
import pytest
from keras import ops

from t2t_mm.incremental import IncrementalDecoder
from t2t_mm.layers.attention import AttentionBlock, SourceLooks
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.modalities.audio import AudioInput
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.modalities.image import ImageInput
from t2t_mm.model import MultiModel, path_below

VOCABULARY, CLASSES, BINS = 300, 12, 10
LENGTH = 10  # of targets; JAX compiles each operation again for each length
COMMAND_AT = ("start", "every", "source", "both")


_BUILT: dict = {}  # settings and precision -> a model and its weights; building one takes longer than most tests


def tiny(norms=False, **settings):
    """A small model, which tests of the same settings share, with the same weights at the start of each.

    Its norms may have scales and shifts of their own; as they start, one could stand for another.
    """
    key = norms, keras.config.dtype_policy().name, repr(sorted(settings.items()))
    if key not in _BUILT:
        model = built(**settings)
        if norms:
            with_random_norms(model)
        _BUILT[key] = model, [ops.convert_to_numpy(variable) for variable in model.variables]
    model, values = _BUILT[key]
    for variable, value in zip(model.variables, values):
        variable.assign(value)
    return model


def built(**settings):
    model = unbuilt(**settings)
    model.build()
    rng = np.random.default_rng(5)
    for weight in model.trainable_weights:  # the gates start at zero: random ones choose experts for a reason
        if weight.path.endswith(("gate", "noise")):
            weight.assign(rng.normal(size=weight.shape).astype("float32"))
    return model


def unbuilt(**settings):
    settings = {
        "depth": 32,
        "encoder_blocks": 2,
        "mixer_blocks": 1,
        "decoder_blocks": 2,
        "frequency_bins": BINS,
        "num_classes": {"imagenet": CLASSES},
        "attention_block": functools.partial(AttentionBlock, heads=4),
        "mixture": functools.partial(MixtureOfExperts, num_experts=5, chosen=2, hidden=16, block_size=4),
        "conv_block": functools.partial(ConvBlock, dropout=0.1),
        "image": functools.partial(ImageInput, filters=(4, 8, 16)),
        "audio": functools.partial(AudioInput, blocks=2, least_width=4, frequencies="channels"),
        "categorical": functools.partial(CategoricalOutput, widths=(24, 32)),
        **settings,
    }
    keras.utils.set_random_seed(1)
    return MultiModel(VOCABULARY, ("To-Class", "To-English", "To-German"), **settings)


def step_by_step(decoder, encoded, padding, targets):
    """The logits [B, T, V] of targets [B, T], one position after the other."""
    batch, length = targets.shape
    state, command = decoder.initial_state(encoded, padding, length), decoder.command("To-English", batch)
    x, found = command, []
    for position in range(length):
        logits, state = decoder.step(x, position, state)
        found.append(np.asarray(logits))
        x = decoder.language_in(targets[:, position], command)
    return np.stack(found, axis=1)


def with_random_norms(model):
    rng = np.random.default_rng(6)
    for weight in model.trainable_weights:
        if weight.path.endswith("gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.path.endswith("beta"):
            weight.assign(rng.normal(0, 0.3, weight.shape))


@pytest.fixture
def model():
    return tiny()


def ids(rng, *shape):
    return rng.integers(3, VOCABULARY, size=shape).astype("int32")


def some_input(modality, rng, batch=2):
    """Inputs and padding of one modality; the last example is shorter than the others."""
    if modality == "language":
        padding = np.zeros((batch, 9), bool)
        padding[-1, 6:] = True
        return ids(rng, batch, 9), padding
    if modality == "image":
        return rng.normal(size=(batch, 32, 32, 3)).astype("float32"), None
    padding = np.zeros((batch, 30), bool)
    padding[-1, 21:] = True
    return rng.normal(size=(batch, 30, BINS)).astype("float32"), padding


@pytest.mark.parametrize("modality", ["language", "image", "audio"])
def test_initial_loss_is_that_of_a_guess(model, modality):
    rng = np.random.default_rng(0)
    encoded, padding, grid, _ = model.encode(modality, *some_input(modality, rng))
    targets = ids(rng, 2, LENGTH)
    logits, _ = model.decode_text(encoded, padding, "To-German", targets, np.zeros((2, LENGTH), bool))
    log_p = np.asarray(ops.log_softmax(logits))
    loss = -np.take_along_axis(log_p, targets[..., None], -1).mean()
    assert abs(loss - math.log(VOCABULARY)) < 0.2
    if grid is not None:
        logits, _ = model.decode_classes(encoded, padding, grid, "To-Class", "imagenet", training=True)
        assert abs(-np.asarray(ops.log_softmax(logits)).mean() - math.log(CLASSES)) < 0.2


@pytest.mark.parametrize("part", ["encode", "command", "decode_text", "decode_classes"])
def test_a_model_whose_part_is_called_first_is_built_as_a_whole(part):
    whole = unbuilt()
    whole.build()
    encoded, none, targets = np.zeros((1, 4, 32), "float32"), np.zeros((1, 4), bool), np.ones((1, 3), "int32")
    calls = {
        "encode": lambda model: model.encode("language", np.ones((1, 4), "int32")),
        "command": lambda model: model.command("To-German", 1),
        "decode_text": lambda model: model.decode_text(encoded, none, "To-German", targets, None),
        "decode_classes": lambda model: model.decode_classes(encoded, none, None, "To-Class", "imagenet"),
    }
    model = unbuilt()
    calls[part](model)
    assert [path_below(one) for one in model.variables] == [path_below(one) for one in whole.variables]
    for one, other in zip(model.trainable_weights, whole.trainable_weights):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))
    assert model({"modality": "language", "inputs": targets, "command": "To-Class"}).shape == (1, CLASSES)


def test_what_the_blocks_look_at_is_told_and_changes_nothing(model):
    """The mixer's attention first, then the decoder's; padded positions of the source get nothing."""
    rng = np.random.default_rng(0)
    encoded, padding, _, _ = model.encode("language", *some_input("language", rng))
    targets, none = ids(rng, 2, LENGTH), np.zeros((2, LENGTH), bool)
    looks = SourceLooks()
    logits, _ = model.decode_text(encoded, padding, "To-German", targets, none, looks=looks)
    np.testing.assert_array_equal(logits, model.decode_text(encoded, padding, "To-German", targets, none)[0])
    blocks = [f"block{index}" for index in range(1, len(model.decoder.blocks) + 1)]
    assert [name.split("/", 1)[1] for name in looks.names] == ["mixer/attention", *(f"decoder/{name}" for name in blocks)]
    heads = model.mixer.attention.heads
    for weights in map(np.asarray, looks.weights):
        assert weights.shape == (2, heads, LENGTH, 9)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
        assert not weights[1, ..., 6:].any() and weights[1, ..., :6].all()


@pytest.mark.parametrize("place", COMMAND_AT)
def test_a_later_target_never_changes_an_earlier_logit(place):
    model, rng = tiny(command_at=place), np.random.default_rng(0)
    encoded, padding, _, _ = model.encode("language", *some_input("language", rng), "To-German")
    targets, none = ids(rng, 2, LENGTH), np.zeros((2, LENGTH), bool)
    before, _ = model.decode_text(encoded, padding, "To-German", targets, none)
    targets[:, 5:] = ids(rng, 2, LENGTH - 5)
    after, _ = model.decode_text(encoded, padding, "To-German", targets, none)
    difference = np.abs(np.asarray(before) - np.asarray(after)).max(axis=(0, 2))
    assert difference[:6].max() < 1e-5 and difference[6:].min() > 1e-4


@pytest.mark.parametrize("place", ["start", "both"])
@pytest.mark.parametrize("modality", ["language", "audio"])
def test_result_depends_neither_on_padding_nor_on_neighbours(modality, place):
    model, rng = tiny(command_at=place), np.random.default_rng(0)
    inputs, padding = some_input(modality, rng, batch=3)
    targets, target_padding = ids(rng, 3, LENGTH), np.zeros((3, LENGTH), bool)
    target_padding[-1, 7:] = True
    encoded, source_padding, _, _ = model.encode(modality, inputs, padding, "To-German")
    together, _ = model.decode_text(encoded, source_padding, "To-German", targets, target_padding)
    length = int((~padding[-1]).sum())
    encoded, source_padding, _, _ = model.encode(modality, inputs[-1:, :length], padding[-1:, :length], "To-German")
    alone, _ = model.decode_text(encoded, source_padding, "To-German", targets[-1:, :7], target_padding[-1:, :7])
    np.testing.assert_allclose(np.asarray(together)[-1, :7], np.asarray(alone)[0], atol=1e-5)


@pytest.mark.parametrize("modality", ["language", "image", "audio"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mixture": None},
        {"attention_block": functools.partial(AttentionBlock, attend=False)},
        {"attention_block": functools.partial(AttentionBlock, attend="mean")},
        {"attention_block": functools.partial(AttentionBlock, heads=4, source_timing=True, timing_scale=0.2)},
        {"attention_block": functools.partial(AttentionBlock, heads=2, convs=1), "mixer_blocks": 0, "decoder_blocks": 1},
        {"conv_block": functools.partial(ConvBlock, kernel_small=1, kernel_large=4, dilation=1)},
        {"reads": "mean"},
        {"reads": "mean", "attention_block": functools.partial(AttentionBlock, attend="mean")},
        *({"command_at": place} for place in COMMAND_AT[1:]),
    ],
    ids=[
        "all blocks",
        "no mixture",
        "no attention",
        "mean of the source",
        "timing of the source",
        "fewest blocks",
        "other kernels",
        "mean alone",
        "mean of the mean",
        *COMMAND_AT[1:],
    ],  # fmt: skip
)
def test_step_by_step_equals_all_at_once(modality, settings):
    model, rng = tiny(norms=True, **settings), np.random.default_rng(0)
    encoded, padding, _, _ = model.encode(modality, *some_input(modality, rng), "To-English")
    targets = ids(rng, 2, LENGTH)
    full, _ = model.decode_text(encoded, padding, "To-English", targets, np.zeros((2, LENGTH), bool))
    found = step_by_step(IncrementalDecoder(model), encoded, padding, targets)
    np.testing.assert_allclose(found, full, atol=1e-4)


def test_step_by_step_equals_all_at_once_beyond_every_memory():
    """A hundred positions go round every memory of the convolutions more than once."""
    model, rng = tiny(norms=True, conv_block=functools.partial(ConvBlock, dilation=3)), np.random.default_rng(0)
    encoded, padding, _, _ = model.encode("language", *some_input("language", rng))
    targets = ids(rng, 2, 100)
    full, _ = model.decode_text(encoded, padding, "To-English", targets, np.zeros((2, 100), bool))
    found = step_by_step(IncrementalDecoder(model), encoded, padding, targets)
    np.testing.assert_allclose(found[:, -1], np.asarray(full)[:, -1], atol=1e-4)


@pytest.mark.parametrize("place", ["start", "every"])
def test_hypotheses_go_on_from_each_others_past(place):
    """Three hypotheses of two examples change ancestors at random; each one's logits are those of its own past."""
    model, rng, batch, width, length = tiny(command_at=place), np.random.default_rng(0), 2, 3, 8
    encoded, padding, _, _ = model.encode("language", *some_input("language", rng))
    decoder = IncrementalDecoder(model)
    state = decoder.initial_state(encoded, padding, 4, width)
    x = first = ops.repeat(decoder.command("To-English", batch), width, axis=0)
    own = np.broadcast_to(np.arange(width)[None, :, None], (batch, width, length)).astype("int32")
    ancestors, past = own.copy(), np.zeros((batch, width, 0), "int32")
    for position in range(length):
        if position == 4:
            state = decoder.extend(state, length - 4)
        logits, state = decoder.step(x, position, state, ops.convert_to_tensor(ancestors))
        parent = rng.integers(0, width, size=(batch, width))
        pick = lambda of: np.take_along_axis(of, parent[..., None], 1)  # noqa: B023, E731
        token = ids(rng, batch, width)
        expected_past = past
        past = np.concatenate([pick(past), token[..., None]], axis=2)
        ancestors = np.where(np.arange(length) <= position, pick(ancestors), own)
        x = decoder.language_in(token.reshape(-1), first)
        if position != length - 1:
            continue
        for slot in range(width):
            targets = np.concatenate([expected_past[:, slot], np.full((batch, 1), 5, "int32")], axis=1)
            full, _ = model.decode_text(encoded, padding, "To-English", targets, np.zeros(targets.shape, bool))
            found = np.asarray(logits).reshape(batch, width, -1)[:, slot]
            np.testing.assert_allclose(found, np.asarray(full)[:, -1], atol=1e-4)


def test_the_command_token_matters(model):
    rng = np.random.default_rng(0)
    encoded, padding, _, _ = model.encode("language", *some_input("language", rng))
    targets, none = ids(rng, 2, LENGTH), np.zeros((2, LENGTH), bool)
    german, english = (
        np.asarray(model.decode_text(encoded, padding, command, targets, none)[0]) for command in ("To-German", "To-English")
    )
    assert np.abs(german - english).max() > 1e-4
    with pytest.raises(ValueError, match="To-Klingon"):
        model.command("To-Klingon", 1)


@pytest.mark.parametrize("place", COMMAND_AT)
@pytest.mark.parametrize("modality", ["language", "image", "audio", ("image", "language")])
def test_the_encoder_knows_the_command_only_where_it_is_told(modality, place):
    """An id for each row gives the same as its name, and the padding of the sequence stays as it is."""
    model, rng = tiny(command_at=place), np.random.default_rng(0)
    single = isinstance(modality, str)
    inputs, padding = some_input(modality, rng) if single else zip(*(some_input(name, rng) for name in modality))
    inputs, padding = (inputs, padding) if single else (tuple(inputs), tuple(padding))
    encode = lambda command: model.encode(modality, inputs, padding, command)  # noqa: E731
    (german, mask, grid, _), (english, *_) = encode("To-German"), encode("To-English")
    told = np.abs(np.asarray(german) - np.asarray(english))[~np.asarray(mask)].max(axis=-1)
    assert told.min() > 1e-3 if place in ("source", "both") else told.max() == 0
    ids = np.array([model.command_id(name) for name in ("To-English", "To-German")], "int32")
    mixed, mixed_mask, mixed_grid, _ = encode(ids)
    np.testing.assert_allclose(np.asarray(mixed), np.stack([np.asarray(english)[0], np.asarray(german)[1]]), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(mixed_mask), np.asarray(mask))
    assert mixed_grid == grid


def test_a_command_at_every_position_outlives_the_first():
    """Without attention and after the memory of all convolutions, only "every" and "both" still know the command."""
    conv = functools.partial(ConvBlock, kernel_small=1, kernel_large=2, dilation=1)
    block = functools.partial(AttentionBlock, attend=False, convs=1)
    for place in COMMAND_AT:
        model = tiny(command_at=place, conv_block=conv, attention_block=block, mixer_blocks=0, decoder_blocks=1, mixture=None)
        rng = np.random.default_rng(0)
        encoded, padding, _, _ = model.encode("language", *some_input("language", rng), "To-German")
        targets, none = ids(rng, 2, 12), np.zeros((2, 12), bool)
        german, english = (
            np.asarray(model.decode_text(encoded, padding, command, targets, none)[0])
            for command in ("To-German", "To-English")
        )
        difference = np.abs(german - english).max(axis=(0, 2))
        assert difference[0] > 1e-4 and (difference[-1] > 1e-4) == (place in ("every", "both")), place


def test_where_the_command_stands_is_checked():
    with pytest.raises(ValueError, match="command_at is 'evry' .did you mean every.*'start', 'every', 'source', 'both'"):
        tiny(command_at="evry")
    model, rng = tiny(command_at="source"), np.random.default_rng(0)
    with pytest.raises(ValueError, match="command_at='source' needs the command; pass .* to `encode`.*command='To-Class'"):
        model.encode("language", *some_input("language", rng))
    with pytest.raises(ValueError, match="To-Klingon"):
        model.encode("language", *some_input("language", rng), "To-Klingon")
    model = tiny(command_at="every")
    assert model.encode("language", *some_input("language", rng))[0].shape == (2, 9, 32)


def test_a_model_that_reads_the_mean_does_not_see_the_order_of_its_source():
    rng, answers = np.random.default_rng(0), {}
    targets, none = ids(rng, 2, LENGTH), np.zeros((2, LENGTH), bool)
    for reads in ("positions", "mean"):
        model = tiny(reads=reads, attention_block=functools.partial(AttentionBlock, heads=4, source_timing=True))
        encoded, padding, _, _ = model.encode("image", *some_input("image", np.random.default_rng(1)), "To-German")
        turned = ops.flip(encoded, axis=1)
        one, other = (np.asarray(model.decode_text(x, padding, "To-German", targets, none)[0]) for x in (encoded, turned))
        answers[reads] = np.abs(one - other).max()
        other = np.asarray(model.decode_text(encoded * 2.0, padding, "To-German", targets, none)[0])
        assert np.abs(one - other).max() > 1e-4  # but it sees the source
    assert answers["mean"] < 1e-5 and answers["positions"] > 1e-4
    with pytest.raises(ValueError, match="reads is 'means' .did you mean mean"):
        tiny(reads="means")


def test_in_training_some_texts_are_generated_from_the_mean():
    settings = {"mixture": None, "conv_block": functools.partial(ConvBlock, dropout=0.0)}
    settings["attention_block"] = functools.partial(AttentionBlock, heads=4, dropout=0.0)
    models = [tiny(**settings, **own) for own in ({}, {"reads": "mean"}, {"mean_share": 0.5})]
    for model in models[1:]:
        for variable, value in zip(model.trainable_variables, models[0].trainable_variables, strict=True):
            variable.assign(value)
    rng, count = np.random.default_rng(0), 24
    encoded, padding, _, _ = models[0].encode("language", *some_input("language", rng, batch=count))
    given = encoded, padding, "To-German", ids(rng, count, LENGTH), np.zeros((count, LENGTH), bool)
    positions, mean = (np.asarray(model.decode_text(*given)[0]) for model in models[:2])
    found = np.asarray(models[2].decode_text(*given, training=True)[0])
    of_mean, of_positions = (np.abs(found - other).max(axis=(1, 2)) < 1e-5 for other in (mean, positions))
    assert (of_mean ^ of_positions).all() and 4 <= of_mean.sum() <= 20
    np.testing.assert_allclose(models[2].decode_text(*given)[0], positions, atol=1e-5)


def test_where_the_command_stands_changes_no_weight():
    shapes = [[(w.path.split("/", 1)[1], tuple(w.shape)) for w in tiny(command_at=place).weights] for place in COMMAND_AT]
    assert all(one == shapes[0] for one in shapes)


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_inputs_that_differ_below_zero_only_are_told_apart(model, modality):
    rng = np.random.default_rng(0)
    inputs, padding = some_input(modality, rng)
    low = -np.abs(inputs)
    one, other = (np.asarray(model.encode(modality, x, padding)[0]) for x in (low, 2 * low + 0.3 * low**2))
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("size", [32, 47])
def test_image_positions_are_its_grid(model, size):
    encoded, padding, grid, _ = model.encode("image", np.ones((1, size, size, 3), "float32"), None)
    assert encoded.shape[1] == grid[0] * grid[1] == padding.shape[1]
    logits, _ = model.decode_classes(encoded, padding, grid, "To-Class", "imagenet")
    assert logits.shape == (1, CLASSES)


def test_literal_spectrogram_keeps_every_frequency():
    model = tiny(audio=functools.partial(AudioInput, blocks=3, frequencies="positions"))
    encoded, padding, grid, _ = model.encode("audio", np.ones((1, 16, BINS), "float32"), np.zeros((1, 16), bool))
    assert grid == (2, BINS) and encoded.shape[1] == padding.shape[1] == 2 * BINS


def test_saved_and_loaded_answers_the_same(model, tmp_path):
    """On both backends; tests/test_keras.py has the rest of what Keras users expect."""
    rng = np.random.default_rng(0)
    inputs, padding = some_input("language", rng)
    batch = {"modality": "language", "inputs": inputs, "padding": padding, "command": "To-German"}
    batch["targets"] = ids(rng, 2, LENGTH)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(np.asarray(model(batch)), np.asarray(loaded(batch)))


def test_ablations_are_pure_removals():
    full = {w.path.split("/", 1)[-1]: tuple(w.shape) for w in tiny().trainable_weights}
    for part, settings in (
        ("middle", {"mixture": None}),
        ("attention", {"attention_block": functools.partial(AttentionBlock, heads=4, attend=False)}),
        ("attention weights", {"attention_block": functools.partial(AttentionBlock, heads=4, attend="mean")}),
    ):
        ablated = {w.path.split("/", 1)[-1]: tuple(w.shape) for w in tiny(**settings).trainable_weights}
        assert ablated.items() < full.items(), part


def test_classes_read_from_the_encoder_need_no_decoder():
    model, rng = tiny(classes_from="encoder"), np.random.default_rng(3)
    inputs, padding = some_input("image", rng)
    encoded, padding, grid, _ = model.encode("image", inputs, padding)
    logits, balance = model.decode_classes(encoded, padding, grid, "To-Class", "imagenet")
    direct = model.categorical_out(encoded, padding, grid=grid, labels="imagenet")
    assert balance is None
    np.testing.assert_array_equal(logits, direct)
    with pytest.raises(ValueError, match="classes_from is 'mixer'; it must be"):
        tiny(classes_from="mixer")


PAIRS = [("image", "language"), ("language", "audio"), ("language", "language"), ("audio", "image", "language")]


def several(names, rng, batch=2):
    """Inputs and paddings of several modalities."""
    return tuple(zip(*(some_input(name, rng, batch) for name in names)))


@pytest.mark.parametrize("names", PAIRS, ids="+".join)
def test_several_inputs_depend_neither_on_padding_nor_on_neighbours(model, names):
    rng = np.random.default_rng(0)
    inputs, paddings = several(names, rng, batch=3)
    targets = ids(rng, 3, LENGTH)
    both, padding, grid, _ = model.encode(names, inputs, paddings)
    logits, _ = model.decode_text(both, padding, "To-German", targets, None)
    scores, _ = model.decode_classes(both, padding, grid, "To-Class", "imagenet")
    assert grid is None and not np.asarray(padding)[0].any()
    lengths = [None if p is None else int((~p[-1]).sum()) for p in paddings]
    alone = [x[-1:] if n is None else x[-1:, :n] for x, n in zip(inputs, lengths)]
    one, own, grid, _ = model.encode(names, alone)
    np.testing.assert_allclose(
        np.asarray(model.decode_text(one, own, "To-German", targets[-1:], None)[0]), np.asarray(logits)[-1:], atol=2e-4
    )
    np.testing.assert_allclose(
        np.asarray(model.decode_classes(one, own, grid, "To-Class", "imagenet")[0]), np.asarray(scores)[-1:], atol=2e-4
    )


@pytest.mark.parametrize("names", PAIRS[:3], ids="+".join)
def test_every_input_of_several_and_their_order_count(model, names):
    rng = np.random.default_rng(0)
    inputs, paddings = several(names, rng)
    call = functools.partial(model, command="To-German", targets=ids(rng, 2, LENGTH))

    def answer(names, inputs, paddings):
        return np.asarray(call({"modality": names, "inputs": inputs, "padding": paddings}))

    found = answer(names, inputs, paddings)
    for place, name in enumerate(names):
        other = [*inputs]
        other[place] = some_input(name, np.random.default_rng(9))[0]
        assert np.abs(answer(names, other, paddings) - found).max() > 1e-3, name
    assert np.abs(answer(names[::-1], inputs[::-1], paddings[::-1]) - found).max() > 1e-3


def test_step_by_step_equals_all_at_once_after_several_inputs(model):
    rng = np.random.default_rng(0)
    names = ("image", "language")
    encoded, padding, _, _ = model.encode(names, *several(names, rng))
    targets = ids(rng, 2, LENGTH)
    expected = np.asarray(model.decode_text(encoded, padding, "To-English", targets, None)[0])
    found = step_by_step(IncrementalDecoder(model), encoded, padding, targets)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    "names,inputs,message",
    [
        (("image", "language"), 1, "inputs is one tensor; it must have one entry for each of image, language"),
        (("image", "language"), 3, "inputs is a sequence of 3"),
        (("image", "smell"), 2, "'smell'"),
        (("language", "image"), 2, r"inputs has shape .*\[B, S\]"),
    ],
)
def test_inputs_that_do_not_fit_their_modalities_are_refused(model, names, inputs, message):
    rng = np.random.default_rng(0)
    given = [some_input(name, rng)[0] for name in ("image", "language", "language")][:inputs]
    with pytest.raises(ValueError, match=message):
        model.encode(names, given if inputs > 1 else given[0])
