"""A value that eases out of its start and into its end."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from potstill.schedules._base import ScheduleSpec, check_span, registry, share


@registry.register
class CosineSpec(ScheduleSpec):
    """From `start` to `end` along half a cosine."""

    kind: Literal["cosine"] = "cosine"
    start: float = Field(examples=[4.0])
    """The value until `begin`."""
    end: float = Field(examples=[1.0])
    """The value from `until` on."""
    begin: float = Field(default=0.0, ge=0, lt=1)
    """Share of training at which it starts to move."""
    until: float = Field(default=1.0, gt=0, le=1)
    """Share of training at which it has arrived."""

    @model_validator(mode="after")
    def _moves(self) -> CosineSpec:
        check_span(self.begin, self.until)
        return self

    def at(self, progress: float) -> float:
        done = share(progress, self.begin, self.until)
        left = 0.5 * (1 + math.cos(math.pi * done))
        return left * self.start + (1 - left) * self.end  # exact at both ends
