import numpy as np
import pytest
from keras import ops

from t2t_mm.layers import shifts


@pytest.mark.parametrize("size, stride", [((3, 3), 1), ((3, 3), 2), ((5, 1), 1), ((1, 1), 1)])
def test_the_convolution_is_that_of_keras(size, stride):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 9, 7, 4)).astype("float32"), rng.normal(size=(*size, 4, 1)).astype("float32")
    expected = ops.depthwise_conv(x, kernel, strides=stride, padding="valid", data_format="channels_last")
    np.testing.assert_allclose(shifts.depthwise(ops.convert_to_tensor(x), kernel, stride), expected, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_full_convolution_is_that_of_keras(stride):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 9, 7, 4)).astype("float32"), rng.normal(size=(3, 3, 4, 5)).astype("float32")
    expected = ops.conv(x, kernel, strides=stride, padding="valid", data_format="channels_last")
    np.testing.assert_allclose(shifts.convolve(ops.convert_to_tensor(x), kernel, stride), expected, atol=1e-4)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1)])
def test_the_maximum_is_that_of_keras(strides):
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 4)).astype("float32")
    expected = ops.max_pool(x, (3, 3), strides=strides, padding="valid", data_format="channels_last")
    np.testing.assert_array_equal(shifts.largest(ops.convert_to_tensor(x), (3, 3), strides), expected)


def test_a_cpu_uses_its_native_kernels():
    assert not shifts.preferred()


def test_a_model_computes_the_same_with_shifts(monkeypatch):
    from t2t_mm.layers.convolution import ConvRes, SeparableConv1D

    image, text = ConvRes(4, separable=True), SeparableConv1D(6, 3, dilation=2, causal=True)
    stem = ConvRes(4, separable=False)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    sequence = np.random.default_rng(1).normal(size=(2, 7, 5)).astype("float32")
    native = image(x, None)[0], stem(x, None)[0], text(sequence)
    monkeypatch.setattr(shifts, "preferred", lambda: True)
    used = []
    for name in ("depthwise", "convolve", "largest"):
        own = getattr(shifts, name)
        monkeypatch.setattr(shifts, name, lambda *given, name=name, own=own: (used.append(name), own(*given))[1])
    for before, after in zip(native, (image(x, None)[0], stem(x, None)[0], text(sequence))):
        np.testing.assert_allclose(before, after, atol=1e-4)
    assert set(used) == {"depthwise", "convolve", "largest"}
