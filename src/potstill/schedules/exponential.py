"""A value that changes by a constant factor."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from potstill.schedules._base import ScheduleSpec, check_span, registry, share


@registry.register
class ExponentialSpec(ScheduleSpec):
    """From `start` to `end` by the same factor each step."""

    kind: Literal["exponential"] = "exponential"
    start: float = Field(gt=0, examples=[4.0])
    """The value until `begin`, > 0."""
    end: float = Field(gt=0, examples=[1.0])
    """The value from `until` on, > 0."""
    begin: float = Field(default=0.0, ge=0, lt=1)
    """Share of training at which it starts to move."""
    until: float = Field(default=1.0, gt=0, le=1)
    """Share of training at which it has arrived."""

    @model_validator(mode="after")
    def _moves(self) -> ExponentialSpec:
        check_span(self.begin, self.until)
        return self

    def at(self, progress: float) -> float:
        done = share(progress, self.begin, self.until)
        return float(self.start ** (1 - done) * self.end**done)
