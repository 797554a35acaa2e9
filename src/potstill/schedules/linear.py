"""A value that moves along a line."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from potstill.schedules._base import ScheduleSpec, check_span, registry, share


@registry.register
class LinearSpec(ScheduleSpec):
    """From `start` to `end` at a constant rate."""

    kind: Literal["linear"] = "linear"
    start: float = Field(examples=[4.0])
    """The value until `begin`."""
    end: float = Field(examples=[1.0])
    """The value from `until` on."""
    begin: float = Field(default=0.0, ge=0, lt=1)
    """Share of training at which it starts to move."""
    until: float = Field(default=1.0, gt=0, le=1)
    """Share of training at which it has arrived."""

    @model_validator(mode="after")
    def _moves(self) -> LinearSpec:
        check_span(self.begin, self.until)
        return self

    def at(self, progress: float) -> float:
        done = share(progress, self.begin, self.until)
        return (1 - done) * self.start + done * self.end  # exact at both ends
