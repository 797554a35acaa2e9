"""The operators of an integer model, as PyTorch's own graph can hold them; an exporter says what each is in its format. Loads torch.

Shapes: X any, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from potstill.quant import rounding


@torch.library.custom_op("potstill::quantize", mutates_args=())
def quantize(x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Return [*X] int8 codes: clamp(round(x / scale) + zero); `scale` float32, `zero` int8, scalars."""
    return (torch.round(x / scale) + zero).clamp(rounding.LOW, rounding.HIGH).to(torch.int8)


@quantize.register_fake
def _(x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    return torch.empty_like(x, dtype=torch.int8)


@torch.library.custom_op("potstill::dequantize", mutates_args=())
def dequantize(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Return [*X] float32 of int8 codes."""
    return (codes.to(torch.float32) - zero) * scale


@dequantize.register_fake
def _(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    return torch.empty_like(codes, dtype=torch.float32)


@torch.library.custom_op("potstill::dequantize_channels", mutates_args=())
def dequantize_channels(codes: Tensor, scales_C: Tensor, zeros_C: Tensor, axis: int) -> Tensor:
    """Return float32 of int8 or int32 codes, a scale for each channel along `axis`; `zeros_C` are zeros of the codes' type."""
    return codes.to(torch.float32) * rounding.along(scales_C, axis, codes.ndim)


@dequantize_channels.register_fake
def _(codes: Tensor, scales_C: Tensor, zeros_C: Tensor, axis: int) -> Tensor:
    return torch.empty_like(codes, dtype=torch.float32)


@torch.library.custom_op("potstill::dynamic_matmul", mutates_args=())
def dynamic_matmul(x: Tensor, codes: Tensor, scales_C: Tensor) -> Tensor:
    """Return x @ weight in integers: x [..., I] rounded to uint8 in the range of the whole tensor; codes [I, C] uint8, 128 of zero (x86
    kernels for a signed factor cut sums of two products at 16 bits where the processor has no VNNI); a scale for each column."""
    scale, zero = rounding.batch_params(x)
    kept = torch.round(x / scale + zero).clamp(0, 255) - zero
    return (kept @ (codes.to(torch.float32) - 128)) * (scales_C * scale)


@dynamic_matmul.register_fake
def _(x: Tensor, codes: Tensor, scales_C: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], codes.shape[1]))


@torch.library.custom_op("potstill::unpack4", mutates_args=())
def unpack4(packed: Tensor, shape: list[int]) -> Tensor:
    """Return int8 codes of a shape, of [ceil(N / 2)] uint8: the first half of the codes, each plus 8, in the low halves of the bytes."""
    both = packed.to(torch.int32)
    flat = torch.cat([both & 15, both >> 4])[: math.prod(shape)]
    return (flat - 8).to(torch.int8).reshape(shape)


@unpack4.register_fake
def _(packed: Tensor, shape: list[int]) -> Tensor:
    return packed.new_empty(shape, dtype=torch.int8)


@torch.library.custom_op("potstill::widen", mutates_args=())
def widen(x: Tensor) -> Tensor:
    """Return float32 of float16 or int8; a file keeps the narrow numbers."""
    return x.to(torch.float32)


@widen.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x, dtype=torch.float32)
