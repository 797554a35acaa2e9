"""Depthwise-separable convolutions over time: the student of series for microcontrollers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.core.outputs import TaskOutput
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs import SeriesInput

if TYPE_CHECKING:
    from torch import nn


@registry.register
class DsCnn1dSpec(ModelSpec):
    """DS-CNN (Zhang et al. 2017, arXiv:1711.07128) with 1-D kernels: one convolution, then depthwise-separable blocks, ReLU."""

    gives: ClassVar[tuple[TaskOutput, ...]] = ("classes", "values")
    kind: Literal["ds-cnn-1d"] = "ds-cnn-1d"
    input: SeriesInput = Field(default_factory=SeriesInput)
    """How series are brought to this model."""
    width: int = Field(default=16, ge=1)
    """Channels after the first convolution; doubled with each halving of the length if `widen`."""
    depth: int = Field(default=4, ge=1)
    """Depthwise-separable blocks."""
    kernel: int = Field(default=9, ge=1)
    """Steps that each kernel but the pointwise ones sees; odd."""
    stem_stride: int = Field(default=1, ge=1)
    """Stride of the first convolution."""
    downsample: int = Field(default=2, ge=0)
    """How many of the blocks halve the length: the first ones, every second block."""
    widen: bool = True
    """Double the channels where the length is halved."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the averaged channels dropped while training."""

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        from potstill.models._series import MeanOverSteps, conv_bn_1d, depthwise_separable_1d, head

        least = self.stem_stride * 2 ** min(self.downsample, (self.depth + 1) // 2)
        if io.steps < least or self.kernel % 2 == 0:
            raise ShapeError(
                f"ds-cnn-1d: needs an odd kernel and at least {least} steps for {least}-fold downsampling; got kernel "
                f"{self.kernel} and {io.steps} steps. Lower downsample or stem_stride."
            )
        layers: list[nn.Module] = [*conv_bn_1d(io.channels, self.width, self.kernel, self.stem_stride), nn.ReLU()]
        channels, left = self.width, self.downsample
        for i in range(self.depth):
            halve = i % 2 == 0 and left > 0
            left -= halve
            outputs = channels * 2 if halve and self.widen else channels
            layers.append(depthwise_separable_1d(channels, outputs, self.kernel, 2 if halve else 1))
            channels = outputs
        drop = [nn.Dropout(self.dropout)] if self.dropout else []
        return nn.Sequential(*layers, MeanOverSteps(), *drop, *head(channels, io.outputs))

    def for_mcu(self) -> bool:
        return True
