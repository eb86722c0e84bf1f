"""Compares the modality nets with the formulas of the paper; their ConvSteps are tested separately."""

import numpy as np
import pytest
from keras import ops

from t2t_mm.layers.convolution import ConvStep2D
from t2t_mm.modalities.audio import AudioInput
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.modalities.image import ImageInput


def as_numpy(x):
    return np.asarray(x, np.float64)


def randomise(layer):
    rng = np.random.default_rng(3)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape).astype("float32"))


def pool(x):
    """3×3 maximum around every second row and column."""
    rows, columns = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
    windows = [
        [x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2].max(axis=(1, 2)) for j in range(columns)]
        for i in range(rows)
    ]
    return np.stack([np.stack(row, axis=1) for row in windows], axis=1)


def exit_flow():
    net = CategoricalOutput({"small": 3, "large": 7}, widths=(6, 8), batch_norm=False)
    net.build((None, None, 4))
    randomise(net)
    return net


def test_exit_flow():
    """skip + pool(ConvStep²), two wider ConvSteps, ReLU, mean over the image, one pointwise map for each label set."""
    net = exit_flow()
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype("float32")
    h3 = as_numpy(net.skip(x)) + pool(as_numpy(net.h2(net.h1(x))))
    h6 = np.maximum(as_numpy(net.h5(net.h4(h3.astype("float32")))), 0).mean(axis=(1, 2))
    padding = np.zeros((2, 30), bool)
    for labels, classes in (("small", 3), ("large", 7)):
        head = net.heads[labels]
        expected = h6 @ as_numpy(head.kernel) + as_numpy(head.bias)
        found = net(x.reshape(2, 30, 4), padding, grid=(5, 6), labels=labels)
        assert found.shape == (2, classes)
        np.testing.assert_allclose(as_numpy(found), expected, atol=2e-3)


def test_exit_flow_of_a_sequence_ignores_its_padding():
    net = exit_flow()
    x = np.random.default_rng(0).normal(size=(1, 9, 4)).astype("float32")
    padded = np.concatenate([x, np.full((1, 4, 4), 9, "float32")], axis=1)
    mask = np.arange(13)[None] >= 9
    alone, longer = net(x, np.zeros((1, 9), bool), labels="small"), net(padded, mask, labels="small")
    np.testing.assert_allclose(as_numpy(alone), as_numpy(longer), atol=1e-4)


def test_batch_norm_is_the_batchs_in_training_and_the_moving_one_in_use():
    net = CategoricalOutput({"labels": 3}, widths=(6, 8))
    net.build((None, None, 4))
    head, norm = net.heads["labels"], net.batch_norm
    head.kernel.assign(np.eye(8, 3, dtype="float32"))
    x = np.random.default_rng(0).normal(size=(16, 9, 4)).astype("float32")

    def call(x, training):
        return as_numpy(net(x, np.zeros(x.shape[:2], bool), grid=(3, 3), labels="labels", training=training))

    standard = call(x, True)
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=0.1)
    # From 0 and 1 the moving ones went a step towards the batch's. Arrived there, they give what training gave.
    step = 1 - norm.momentum
    assert 0 < step < 0.1
    mean, variance = (as_numpy(norm.moving_mean) / step, (as_numpy(norm.moving_variance) - 1) / step + 1)
    assert (variance > 0).all()
    norm.moving_mean.assign(mean)
    norm.moving_variance.assign(variance)
    np.testing.assert_allclose(call(x, False), standard, atol=1e-2)
    np.testing.assert_allclose(call(x[:1], False), call(x, False)[:1], atol=1e-5)  # no neighbour matters in use


def test_full_convolution_by_loops():
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype("float32")
    step = ConvStep2D(6, 3, strides=(2, 2), separable=False)
    step.build(x.shape)
    randomise(step)
    h, kernel = np.maximum(x, 0), as_numpy(step.kernel)
    y = np.zeros((2, 3, 2, 6))
    for i in range(3):
        for j in range(2):
            for a in range(3):
                for b in range(3):
                    r, c = 2 * i + a - 1, 2 * j + b - 1
                    if 0 <= r < 5 and 0 <= c < 4:
                        y[:, i, j] += h[:, r, c] @ kernel[a, b]
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
    expected = y * as_numpy(step.norm.gamma) + as_numpy(step.norm.beta)
    np.testing.assert_allclose(as_numpy(step(x)), expected, atol=1e-3)
    with pytest.raises(ValueError, match=r"strides \(2, 1\) differ"):
        ConvStep2D(6, 3, strides=(2, 1), separable=False)


@pytest.mark.parametrize("full_stem", [False, True])
def test_entry_flow_has_a_position_for_every_sixteen_pixels(full_stem):
    net = ImageInput(8, filters=(4, 4, 4, 4), full_stem=full_stem)
    net.build((None, None, None, 3))
    sequence, padding, grid = net(np.zeros((2, 48, 40, 3), "float32"))
    assert tuple(map(int, grid)) == (3, 3) and sequence.shape == (2, 9, 8) and not as_numpy(padding).any()


@pytest.mark.parametrize("blocks", [2, 5])
def test_a_waveform_is_halved_by_every_block(blocks):
    net = AudioInput(8, blocks=blocks, least_width=4)
    net.build((None, None, 1))
    wave = np.random.default_rng(0).normal(size=(2, 100, 1)).astype("float32")
    lengths = np.array([100, 37])
    sequence, padding, _ = net(wave, np.arange(100)[None] >= lengths[:, None])
    assert sequence.shape[1] == -(-100 // 2**blocks)
    assert (~np.asarray(padding)).sum(axis=1).tolist() == [-(-length // 2**blocks) for length in lengths]
    alone, _, _ = net(wave[1:, :37], np.zeros((1, 37), bool))
    np.testing.assert_allclose(as_numpy(sequence)[1:, : alone.shape[1]], as_numpy(alone), atol=1e-4)


def test_a_spectrogram_keeps_every_frequency_apart():
    net = AudioInput(8, blocks=1, least_width=4)
    net.build((None, None, 5))
    x = np.zeros((1, 6, 5), "float32")
    sequence, _, grid = net(x, np.zeros((1, 6), bool))
    assert tuple(map(int, grid)) == (3, 5) and ops.shape(sequence)[1] == 15
