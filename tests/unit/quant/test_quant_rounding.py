"""Rounding against NumPy: ties, cuts, channels, the gradient; BatchNorm folded in; ranges that hold zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from potstill.quant import rounding


def np_round(x: np.ndarray, scale: np.ndarray, zero: float, low: int, high: int) -> np.ndarray:
    """Return what codes of x stand for; np.rint rounds half to even."""
    return ((np.clip(np.rint(x / scale) + zero, low, high) - zero) * scale).astype(np.float32)


def test_ties_go_to_the_even_code_and_ends_are_cut() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 300.0, -300.0])
    found = rounding.rounded(x, torch.tensor(1.0), torch.tensor(0.0))
    assert found.tolist() == [0.0, 2.0, 2.0, 0.0, -2.0, 127.0, -128.0]


@given(st.floats(-50, 0), st.floats(0, 50), st.integers(0, 2**32 - 1))
def test_values_are_those_of_numpy_and_zero_is_exact(low: float, high: float, seed: int) -> None:
    scale, zero = rounding.range_params(torch.tensor(low), torch.tensor(high))
    assert float(scale) > 0 and float(zero) == round(float(zero)) and -128 <= float(zero) <= 127
    x = np.random.default_rng(seed).uniform(low - 1, high + 1, 200).astype(np.float32)
    expected = np_round(x, scale.numpy(), float(zero), -128, 127)
    assert np.array_equal(rounding.rounded(torch.from_numpy(x), scale, zero).numpy(), expected)
    assert float(rounding.rounded(torch.zeros(1), scale, zero)) == 0.0


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (6, 4), (4, 2, 3)])
def test_weights_have_a_scale_for_each_channel(bits: int, shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    weight[0] = 0  # a channel that is off
    top = {8: 127, 4: 7}[bits]
    scales = rounding.weight_scales(torch.from_numpy(weight), bits, 0)
    for c in range(1, shape[0]):
        assert float(scales[c]) == pytest.approx(np.abs(weight[c]).max() / top)
        codes = np.clip(np.rint(weight[c] / np.float32(scales[c])), -top, top)
        found = rounding.weight_codes(torch.from_numpy(weight), scales, bits, 0)[c].numpy()
        assert np.array_equal(found, codes) and np.abs(codes).max() == top
    again = rounding.rounded_weight(torch.from_numpy(weight), scales, bits, 0)
    codes = rounding.weight_codes(torch.from_numpy(weight), scales, bits, 0)
    assert torch.equal(again, codes.float() * rounding.along(scales, 0, len(shape)))
    assert not again[0].any()


def test_gradient_passes_where_nothing_is_cut() -> None:
    x = torch.tensor([-2.0, -0.6, 0.2, 0.7, 5.0], requires_grad=True)
    upstream = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    scale, zero = rounding.range_params(torch.tensor(-1.0), torch.tensor(1.0))
    rounding.rounded(x, scale, zero).backward(upstream)
    assert x.grad is not None and x.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]


def test_weight_gradient_is_that_of_the_float_weight() -> None:
    """Nothing of a weight is cut, so the gradient of a loss of rounded weights is that at the rounded weights."""
    torch.manual_seed(0)
    weight, x = torch.randn(3, 4, requires_grad=True), torch.randn(7, 4)
    scales = rounding.weight_scales(weight, 8, 0)
    (x @ rounding.rounded_weight(weight, scales, 8, 0).T).square().sum().backward()
    at = rounding.rounded_weight(weight.detach(), scales, 8, 0).requires_grad_()
    (x @ at.T).square().sum().backward()
    assert weight.grad is not None and at.grad is not None and torch.equal(weight.grad, at.grad)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_folded_layer_does_what_layer_and_norm_do(affine: bool, bias: bool) -> None:
    torch.manual_seed(1)
    layer, norm = nn.Conv2d(3, 5, 3, bias=bias), nn.BatchNorm2d(5, affine=affine)
    x = torch.randn(8, 3, 6, 6)
    with torch.no_grad():
        norm(layer(x) * 3 + 1)
        assert norm.running_mean is not None and norm.running_var is not None
        numbers = (norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps)
        weight, shift = rounding.folded(layer.weight, layer.bias, numbers)
        expected = norm.eval()(layer(x))
        assert torch.allclose(nn.functional.conv2d(x, weight, shift), expected, atol=1e-5)


def test_bias_keeps_room_in_32_bits() -> None:
    scales = rounding.weight_scales(torch.tensor([[0.0, 0.0], [1.0, 0.5]]), 8, 0)
    bias, step = torch.tensor([3.0, 3.0]), torch.tensor(0.01)
    raised = rounding.room_for_bias(scales, bias, step)
    assert float(raised[0]) > float(scales[0]) and float(raised[1]) == float(scales[1])
    kept = rounding.rounded_bias(bias, step * raised)
    assert torch.allclose(kept, bias, rtol=1e-4)
    assert float((bias / (step * raised)).max()) < 2**31


def test_ranges_of_a_batch_are_those_of_dynamic_quantize_linear() -> None:
    x = np.array([-1.0, 0.0, 3.0], np.float32)
    scale, zero = rounding.batch_params(torch.from_numpy(x))
    assert float(scale) == pytest.approx(4 / 255) and float(zero) == np.rint(1 / (4 / 255))
