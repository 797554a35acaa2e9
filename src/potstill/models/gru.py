"""A recurrent network over series."""

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
class GruSpec(ModelSpec):
    """GRU (Cho et al. 2014, arXiv:1406.1078) whose last state is the answer, after a convolution that shortens the series."""

    gives: ClassVar[tuple[TaskOutput, ...]] = ("classes", "values")
    kind: Literal["gru"] = "gru"
    input: SeriesInput = Field(default_factory=SeriesInput)
    """How series are brought to this model."""
    hidden: int = Field(default=32, ge=1)
    """Width of the state."""
    layers: int = Field(default=1, ge=1)
    """GRUs on top of one another."""
    bidirectional: bool = False
    """Reads the steps backwards too."""
    stem: int = Field(default=0, ge=0)
    """Channels of a first convolution of `stem_stride` steps, with BatchNorm and ReLU; 0 has none."""
    stem_stride: int = Field(default=4, ge=1)
    """Its length and stride: the GRU then takes this many times fewer steps."""

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        from potstill.models._series import GruReader, head

        layers: list[nn.Module] = []
        channels = io.channels
        if self.stem:
            if io.steps < self.stem_stride:
                raise ShapeError(
                    f"gru: needs at least stem_stride={self.stem_stride} steps; got {io.steps}. Lower stem_stride."
                )
            conv = nn.Conv1d(channels, self.stem, self.stem_stride, self.stem_stride, bias=False)
            layers += [conv, nn.BatchNorm1d(self.stem), nn.ReLU()]
            channels = self.stem
        layers.append(GruReader(channels, self.hidden, self.layers, self.bidirectional))
        return nn.Sequential(*layers, *head(self.hidden * (2 if self.bidirectional else 1), io.outputs))
