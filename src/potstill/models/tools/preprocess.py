"""Pixels in [0, 1] brought to a model: size, then normalisation. Shapes: B rows, C channels, H, W pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from potstill.core.errors import ShapeError
from potstill.models._base import InputSpec, ModelSpec

_STD_FLOOR = 1e-3


def resolve_input(
    spec: InputSpec, data_mean: Sequence[float], data_std: Sequence[float], data_size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[float, ...], tuple[float, ...]]:
    """Return (height and width, mean, std) that a model reads, the data's own where it states none.

    Raises:
        ShapeError: mean or std has another number of channels than the data.
    """
    size = data_size if spec.size is None else (spec.size, spec.size)
    mean = tuple(data_mean) if spec.mean is None else spec.mean
    std = tuple(max(s, _STD_FLOOR) for s in (data_std if spec.std is None else spec.std))
    for name, value in (("mean", mean), ("std", std)):
        if len(value) != len(data_mean):
            raise ShapeError(f"input.{name}: must have one number a channel, {len(data_mean)}; got {list(value)}.")
    return size, mean, std


class Normalise(nn.Module):
    """(pixels - mean) / std, per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] in [0, 1] -> [B, C, H, W]."""
        return (pixels_BCHW - self.mean) / self.std


class Preprocess(nn.Module):
    """Resize (bilinear, antialiased, only if the size differs), then normalise.

    Args:
        size: height and width the model reads.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
    """

    def __init__(self, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.size = size
        self.memory_format = torch.contiguous_format
        self.normalise = Normalise(mean, std)

    def resize(self, pixels_BCHW: Tensor) -> Tensor:
        """Return pixels at the model's size."""
        if tuple(pixels_BCHW.shape[2:]) == self.size:
            return pixels_BCHW
        return F.interpolate(pixels_BCHW, self.size, mode="bilinear", antialias=True, align_corners=False)

    def resize_numpy(self, pixels_BCHW: NDArray[Any]) -> NDArray[Any]:
        """Return pixels at the model's size, as arrays."""
        out: NDArray[Any] = self.resize(torch.from_numpy(pixels_BCHW)).numpy()
        return out

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] in [0, 1] at the data's size -> [B, C, H', W'] as the model reads it."""
        out: Tensor = self.normalise(self.resize(pixels_BCHW))
        return out.contiguous(memory_format=self.memory_format)


def laid_out(spec: ModelSpec, module: nn.Module, preprocess: Preprocess) -> tuple[nn.Module, Preprocess]:
    """Return both in the memory layout that the family runs fastest in."""
    if spec.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        preprocess.memory_format = torch.channels_last
    return module, preprocess
