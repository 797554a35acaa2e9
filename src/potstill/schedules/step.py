"""A value that jumps."""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal

from pydantic import Field, model_validator

from potstill.schedules._base import ScheduleSpec, registry


@registry.register
class StepSpec(ScheduleSpec):
    """One value after another, changed at given shares of training."""

    kind: Literal["step"] = "step"
    values: tuple[float, ...] = Field(min_length=1, examples=[(4.0, 2.0, 1.0)])
    """The values in order; one more than there are boundaries."""
    boundaries: tuple[float, ...] = Field(examples=[(0.5, 0.75)])
    """Shares of training in (0, 1), rising, at which the next value begins."""

    @model_validator(mode="after")
    def _fits(self) -> StepSpec:
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"values must be one more than boundaries; got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries"
            )
        if list(self.boundaries) != sorted(set(self.boundaries)) or any(not 0 < b < 1 for b in self.boundaries):
            raise ValueError(f"boundaries must rise and lie in (0, 1); got {list(self.boundaries)}")
        return self

    def at(self, progress: float) -> float:
        return self.values[bisect_right(self.boundaries, progress)]

    def levels(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys(self.values))
