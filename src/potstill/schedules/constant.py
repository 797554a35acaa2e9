"""A value that stays."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.schedules._base import ScheduleSpec, registry


@registry.register
class ConstantSpec(ScheduleSpec):
    """The same value throughout; what a bare number in a recipe means."""

    kind: Literal["constant"] = "constant"
    value: float = Field(examples=[2.0])
    """The value."""

    def at(self, progress: float) -> float:
        return self.value

    def levels(self) -> tuple[float, ...]:
        return (self.value,)
