"""A temporal convolutional network."""

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
class TcnSpec(ModelSpec):
    """TCN (Bai et al. 2018, arXiv:1803.01271): residual blocks of dilated causal convolutions; BatchNorm, not weight norm."""

    gives: ClassVar[tuple[TaskOutput, ...]] = ("classes", "values")
    kind: Literal["tcn"] = "tcn"
    input: SeriesInput = Field(default_factory=SeriesInput)
    """How series are brought to this model."""
    width: int = Field(default=16, ge=1)
    """Channels of every block."""
    depth: int = Field(default=4, ge=1)
    """Blocks; each doubles the dilation of the one before."""
    kernel: int = Field(default=5, ge=2)
    """Steps that each kernel sees."""
    stem_stride: int = Field(default=1, ge=1)
    """Stride of a first convolution, of `kernel` steps or the stride if that is more; 1 has none."""
    pool: Literal["mean", "last"] = "mean"
    """What the answer is read from: the average over steps, or the last step."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of values dropped after each convolution while training."""

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        from potstill.models._series import CausalBlock, LastStep, MeanOverSteps, conv_bn_1d, head

        if io.steps < self.stem_stride:
            raise ShapeError(
                f"tcn: needs at least stem_stride={self.stem_stride} steps; got {io.steps}. Lower stem_stride."
            )
        layers: list[nn.Module] = []
        channels = io.channels
        if self.stem_stride > 1:
            kernel = max(self.kernel, self.stem_stride) | 1
            layers += [*conv_bn_1d(channels, self.width, kernel, self.stem_stride), nn.ReLU()]
            channels = self.width
        for i in range(self.depth):
            layers.append(CausalBlock(channels, self.width, self.kernel, 2**i, self.dropout))
            channels = self.width
        pool = MeanOverSteps() if self.pool == "mean" else LastStep()
        return nn.Sequential(*layers, pool, *head(channels, io.outputs))

    def for_mcu(self) -> bool:
        return True
