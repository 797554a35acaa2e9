"""The fixed-point numbers of an operator, as TensorFlow Lite makes them from scales."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LIMIT = 1 << 30
"""Below it an accumulator is doubled without overflow."""
_LOW, _HIGH = -128, 127


def multiplier(real: float) -> tuple[int, int]:
    """Return (Q0.31 multiplier in [0, 2^31), right shift) of a factor >= 0; the shift is negative of factors of 1 and more."""
    if real == 0:
        return 0, 0
    fraction, exponent = math.frexp(real)
    mult = math.floor(fraction * (1 << 31) + 0.5)
    if mult == 1 << 31:
        mult, exponent = mult // 2, exponent + 1
    return (0, 0) if exponent < -31 else (mult, -exponent)


def multipliers(x_scale: float, w_scales: NDArray[np.float32], y_scale: float) -> list[tuple[int, int]]:
    """Return `multiplier` of each output of a weighted operator."""
    return [multiplier(x_scale * float(s) / y_scale) for s in w_scales]


def bounds(activation: int, scale: np.float32, zero: int) -> tuple[int, int] | None:
    """Return the (lowest, highest) code under a fused activation; None of one that is not known."""
    limits = {0: (None, None), 1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}.get(activation)
    if limits is None:
        return None

    def code(value: float) -> int:
        steps = math.floor(float(np.float32(abs(value)) / np.float32(scale)) + 0.5)
        return zero + (steps if value >= 0 else -steps)

    low, high = limits
    return max(_LOW, _LOW if low is None else code(low)), min(_HIGH, _HIGH if high is None else code(high))


def window(same: bool, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return (output size, padding before) along one side of an image."""
    reach = (kernel - 1) * dilation + 1
    if not same:
        return (size - reach) // stride + 1, 0
    out = -(-size // stride)
    return out, max(0, (out - 1) * stride + reach - size) // 2


def mean_multiplier(mult: int, right: int, count: int) -> tuple[int, int]:
    """Return a multiplier that holds 1 / count as well."""
    shift = min(count.bit_length() - 1, 32, 31 - right)
    return (mult << shift) // count, right + shift


def scaled(value: int, mult: int, right: int) -> int:
    """Return value * mult / 2^(31 + right) as the kernels round it: once by the high product, once by the shift."""
    value = value << max(0, -right)
    high = (value * mult + (1 << 30)) >> 31
    shift = max(0, right)
    mask = (1 << shift) - 1
    return (high >> shift) + int((high & mask) > (mask >> 1) + int(high < 0))
