"""What quantisation asks of a recipe, beside the scheme. Loads no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.core.spec import Spec


class CalibrationSpec(Spec):
    """How the ranges of values are found: on training rows as the data gives them, drawn by the run's seed."""

    method: Literal["min-max", "percentile", "mse"] = "min-max"
    """min-max: least and largest value; percentile: as much of the values as `percentile` says, the rest cut off evenly at both
    ends; mse: the range with the least mean squared error of rounding and cutting, among 1 to 100 % of the full one."""
    rows: int = Field(default=512, ge=1)
    """Training rows that are looked at; all of them where there are fewer."""
    percentile: float = Field(default=99.99, gt=50, le=100)
    """Share of the values, in percent, that `percentile` keeps."""


class SensitivitySpec(Spec):
    """Leave in float the layers that cost the headline most, until it is near enough to that of the float model."""

    max_drop: float = Field(ge=0, le=100, examples=[0.5])
    """Points of the headline, on validation rows, that quantising may cost."""
