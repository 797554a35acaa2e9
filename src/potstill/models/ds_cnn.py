"""Depthwise-separable convolutions: the student for microcontrollers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO

if TYPE_CHECKING:
    from torch import nn


@registry.register
class DsCnnSpec(ModelSpec):
    """DS-CNN (Zhang et al. 2017, arXiv:1711.07128): one convolution, then depthwise-separable blocks, ReLU."""

    channels_last: ClassVar[bool] = True
    kind: Literal["ds-cnn"] = "ds-cnn"
    width: int = Field(default=16, ge=1)
    """Channels after the first convolution; doubled with each halving of the picture if `widen`."""
    depth: int = Field(default=4, ge=1)
    """Depthwise-separable blocks."""
    stem_stride: Literal[1, 2] = 1
    """Stride of the first convolution."""
    downsample: int = Field(default=2, ge=0)
    """How many of the blocks halve the picture: the first ones, every second block."""
    widen: bool = True
    """Double the channels where the picture is halved."""

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        from potstill.models._blocks import GlobalMean, conv_bn, depthwise_separable

        least = self.stem_stride * 2 ** min(self.downsample, (self.depth + 1) // 2)
        if min(io.height, io.width) < least:
            raise ShapeError(f"ds-cnn: {least}-fold downsampling needs at least {least}×{least} pixels; got "
                             f"{io.height}×{io.width}. Lower downsample or stem_stride.")  # fmt: skip
        layers: list[nn.Module] = [*conv_bn(io.channels, self.width, 3, self.stem_stride), nn.ReLU()]
        channels, left = self.width, self.downsample
        for i in range(self.depth):
            halve = i % 2 == 0 and left > 0
            left -= halve
            outputs = channels * 2 if halve and self.widen else channels
            layers.append(depthwise_separable(channels, outputs, 2 if halve else 1))
            channels = outputs
        return nn.Sequential(*layers, GlobalMean(), nn.Linear(channels, io.num_classes))

    def for_mcu(self) -> bool:
        return True
