"""A value that moves along a line."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.schedules._base import ScheduleSpec, registry, share


@registry.register
class LinearSpec(ScheduleSpec):
    """From `start` to `end` at a constant rate."""

    kind: Literal["linear"] = "linear"
    start: float
    """The value until `begin`."""
    end: float
    """The value from `until` on."""
    begin: float = Field(default=0.0, ge=0, lt=1)
    """Share of training at which it starts to move."""
    until: float = Field(default=1.0, gt=0, le=1)
    """Share of training at which it has arrived."""

    def at(self, progress: float) -> float:
        return self.start + (self.end - self.start) * share(progress, self.begin, self.until)
