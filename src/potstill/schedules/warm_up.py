"""A value that grows from nothing, then stays."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.schedules._base import ScheduleSpec, registry, share


@registry.register
class WarmUpSpec(ScheduleSpec):
    """From 0 to `value` along a line over the first share of training, then constant."""

    kind: Literal["warm-up"] = "warm-up"
    value: float = Field(examples=[1.0])
    """The value once warm."""
    over: float = Field(default=0.1, gt=0, le=1)
    """Share of training that the rise takes."""

    def at(self, progress: float) -> float:
        return self.value * share(progress, 0.0, self.over)
