"""One linear map from the past to the future of each variable."""

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
class ForecastLinearSpec(ModelSpec):
    """NLinear (Zeng et al. 2023, arXiv:2205.13504): last value off, one linear map for all variables, last value on; or DLinear."""

    gives: ClassVar[tuple[TaskOutput, ...]] = ("values",)
    kind: Literal["forecast-linear"] = "forecast-linear"
    input: SeriesInput = Field(default_factory=SeriesInput)
    """How series are brought to this model."""
    parts: Literal["whole", "trend-and-rest"] = "whole"
    """One map of the window from which its last value was taken (NLinear), or one of its moving average and one of the rest
    (DLinear)."""
    average: int = Field(default=25, ge=1)
    """Steps of that moving average, odd; unused by the whole."""

    def build(self, io: ModelIO) -> nn.Module:
        from potstill.models._series import Forecaster, TrendAndRest, flat_linear

        horizon = Forecaster.horizon(io, "forecast-linear")
        if self.parts == "whole":
            return Forecaster(flat_linear(io.steps, horizon), "last")
        return Forecaster(TrendAndRest(io.steps, horizon, self.average), "nothing")

    def for_mcu(self) -> bool:
        return self.parts == "whole"
