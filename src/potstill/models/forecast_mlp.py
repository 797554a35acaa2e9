"""A perceptron from the past to the future of each variable."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.outputs import TaskOutput
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs import SeriesInput

if TYPE_CHECKING:
    from torch import nn


@registry.register
class ForecastMlpSpec(ModelSpec):
    """One hidden layer for all variables alike, on windows normalised by their own mean and standard deviation (RevIN, Kim et
    al. 2022, without trained scales)."""

    gives: ClassVar[tuple[TaskOutput, ...]] = ("values",)
    kind: Literal["forecast-mlp"] = "forecast-mlp"
    input: SeriesInput = Field(default_factory=SeriesInput)
    """How series are brought to this model; it normalises each window once more, and scales its forecast back."""
    hidden: int = Field(default=64, ge=1)
    """Width of the hidden layer."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the hidden values dropped while training."""

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        from potstill.models._series import Forecaster

        horizon = Forecaster.horizon(io, "forecast-mlp")
        layers = [
            nn.Linear(io.steps, self.hidden),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, horizon),
        ]
        return Forecaster(nn.Sequential(*layers), "window")
