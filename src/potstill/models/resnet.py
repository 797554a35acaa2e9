"""CIFAR-style residual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO

if TYPE_CHECKING:
    from torch import nn


@registry.register
class ResNetSpec(ModelSpec):
    """ResNet for small pictures (He et al. 2015, arXiv:1512.03385, section 4.2): three stages, ReLU."""

    channels_last: ClassVar[bool] = True
    kind: Literal["resnet"] = "resnet"
    depth: Literal[8, 14, 20, 26, 32, 44, 56, 110] = Field(default=20, examples=[8])
    """Layers: 6 n + 2 for n blocks a stage."""
    width: int = Field(default=16, ge=1, examples=[6])
    """Channels of the first stage; the others have twice and four times as many."""
    shortcut: Literal["projection", "pad"] = "projection"
    """Where the shape changes: a 1×1 convolution, or zero channels (option A, as in published CIFAR weights)."""

    def build(self, io: ModelIO) -> nn.Module:
        from potstill.models._blocks import ResNet

        if min(io.height, io.width) < 4:
            raise ShapeError(f"resnet: needs at least 4×4 pixels; got {io.height}×{io.width}.")
        return ResNet(io.channels, io.num_classes, (self.depth - 2) // 6, self.width, self.shortcut)

    def for_mcu(self) -> bool:
        return True
