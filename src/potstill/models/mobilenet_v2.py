"""Inverted residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO

if TYPE_CHECKING:
    from torch import nn

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""(expansion, channels, blocks, stride): the paper's table 2 with the strides used for small pictures."""


@registry.register
class MobileNetV2Spec(ModelSpec):
    """MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) with strides for small pictures, ReLU6."""

    channels_last: ClassVar[bool] = True
    kind: Literal["mobilenet-v2"] = "mobilenet-v2"
    width: float = Field(default=0.5, gt=0, le=2, examples=[0.25])
    """Multiplier of every channel count, rounded to a multiple of 8 (at least 8)."""
    depth: float = Field(default=1.0, gt=0, le=2, examples=[0.5])
    """Multiplier of every block count, rounded up."""

    def build(self, io: ModelIO) -> nn.Module:
        import math

        from torch import nn

        from potstill.models._blocks import GlobalMean, Residual, conv_bn

        if min(io.height, io.width) < 8:
            raise ShapeError(f"mobilenet-v2: needs at least 8×8 pixels; got {io.height}×{io.width}.")
        channels = self._round(32)
        layers: list[nn.Module] = [*conv_bn(io.channels, channels, 3), nn.ReLU6()]
        for expansion, base, blocks, stride in _STAGES:
            outputs = self._round(base)
            for i in range(math.ceil(blocks * self.depth)):
                step = stride if i == 0 else 1
                hidden = channels * expansion
                body: list[nn.Module] = [*conv_bn(channels, hidden, 1), nn.ReLU6()] if expansion != 1 else []
                body += [*conv_bn(hidden, hidden, 3, step, groups=hidden), nn.ReLU6(), *conv_bn(hidden, outputs, 1)]
                block: nn.Module = nn.Sequential(*body)
                layers.append(Residual(block) if step == 1 and channels == outputs else block)
                channels = outputs
        last = self._round(1280) if self.width > 1 else 1280 if self.width == 1 else self._round(640)
        layers += [*conv_bn(channels, last, 1), nn.ReLU6(), GlobalMean(), nn.Linear(last, io.num_classes)]
        return nn.Sequential(*layers)

    def _round(self, channels: int) -> int:
        return max(8, int(channels * self.width + 4) // 8 * 8)

    def for_mcu(self) -> bool:
        return True
