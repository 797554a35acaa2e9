"""Rounding to codes and back, in float32. Loads torch. Shapes: X any, C channels.

Ties go to the even code, as IEEE 754 and ONNX have it. Reference: Jacob et al. 2018, arXiv:1712.05877.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LOW, HIGH = -128, 127
"""Codes of values; codes of weights are symmetric."""
LEAST = 1e-8
"""Smallest scale: of a tensor that is zero everywhere."""


class Round(torch.autograd.Function):
    """x -> (clamp(round(x / scale) + zero, low, high) - zero) * scale; the gradient passes where nothing is clamped (straight-through
    estimator, Bengio et al. 2013, arXiv:1308.3432)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor | int, low: int, high: int) -> Tensor:
        """Return [*X] float32; `scale` and `zero` broadcast to it and get no gradient."""
        codes = torch.round(x / scale) + zero
        kept = codes.clamp(low, high)
        ctx.save_for_backward(codes == kept)
        return (kept - zero) * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Return the gradient where nothing was clamped, 0 elsewhere."""
        return grads[0] * ctx.saved_tensors[0], None, None, None, None


def rounded(x: Tensor, scale: Tensor, zero: Tensor | int, low: int = LOW, high: int = HIGH) -> Tensor:
    """Return `Round` of x."""
    out: Tensor = Round.apply(x, scale, zero, low, high)  # type: ignore[no-untyped-call]
    return out


def range_params(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return (scale, zero point) of codes that span [low, high], widened to hold 0, which is then a code exactly.

    Args:
        low: smallest value, a scalar.
        high: largest value.

    Returns:
        Scalars, float32: scale > 0, and zero point, a whole number in [-128, 127].
    """
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = ((high - low) / (HIGH - LOW)).clamp(min=LEAST)
    return scale, torch.round(LOW - low / scale).clamp(LOW, HIGH)


def top_of(bits: int) -> int:
    """Return the largest code of symmetric weights: 127 of 8 bits, 7 of 4."""
    return int(2 ** (bits - 1) - 1)


def along(scales_C: Tensor, axis: int | None, ndim: int) -> Tensor:
    """Return scales in a shape that broadcasts to a tensor of `ndim` dimensions."""
    return scales_C if axis is None else scales_C.view([-1 if d == axis else 1 for d in range(ndim)])


def weight_scales(weight: Tensor, bits: int, axis: int | None) -> Tensor:
    """Return [C] scales (a scalar without an axis): the largest magnitude of each channel is the last code."""
    magnitude = weight.detach().abs()
    largest = magnitude.amax() if axis is None else magnitude.transpose(0, axis).flatten(1).amax(dim=1)
    return (largest / top_of(bits)).clamp(min=LEAST)


def room_for_bias(scales_C: Tensor, bias_C: Tensor, input_scale: Tensor) -> Tensor:
    """Return scales raised where the bias, in steps of input_scale * scale, would pass 32 bits: of channels with next to no weights."""
    return torch.maximum(scales_C, bias_C.detach().abs() / (input_scale * 2.0**30))


def weight_codes(weight: Tensor, scales_C: Tensor, bits: int, axis: int | None) -> Tensor:
    """Return int8 codes of the weight's shape."""
    top = top_of(bits)
    return torch.round(weight / along(scales_C, axis, weight.ndim)).clamp(-top, top).to(torch.int8)


def rounded_weight(weight: Tensor, scales_C: Tensor, bits: int, axis: int | None) -> Tensor:
    """Return the weight as its codes say it, float32, with the straight-through gradient."""
    top = top_of(bits)
    return rounded(weight, along(scales_C, axis, weight.ndim), 0, -top, top)


def rounded_bias(bias_C: Tensor, steps_C: Tensor) -> Tensor:
    """Return the bias in whole steps (input scale * weight scale), as 32-bit integers hold it."""
    return rounded(bias_C, steps_C, 0, -(2**31), 2**31 - 128)


def folded(
    weight: Tensor, bias: Tensor | None, norm: tuple[Tensor | None, Tensor | None, Tensor, Tensor, float]
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a layer that does what it and the BatchNorm after it do, with frozen statistics.

    Args:
        weight: outputs first.
        bias: of the layer.
        norm: scale, shift, running mean, running variance, epsilon.
    """
    gamma, beta, mean, variance, eps = norm
    factor = torch.rsqrt(variance + eps)
    factor = factor if gamma is None else factor * gamma
    shift = -mean * factor if bias is None else (bias - mean) * factor
    return weight * along(factor, 0, weight.ndim), shift if beta is None else shift + beta


def batch_params(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return (scale, zero point in [0, 255]) of the batch at hand, as ONNX's DynamicQuantizeLinear has it."""
    low, high = x.amin().clamp(max=0.0), x.amax().clamp(min=0.0)
    scale = ((high - low) / 255).clamp(min=LEAST)
    return scale, torch.round((-low / scale).clamp(0, 255))
