"""Progress of training -> value, for any weight, temperature or learning rate. One kind a file; no tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.schedules._base import ScheduleSpec, registry

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnySchedule: TypeAlias = ScheduleSpec
else:
    AnySchedule = registry.union()

Scheduled = float | AnySchedule
"""A number, or a schedule: what every weight and temperature in a recipe may be."""


def value_at(scheduled: Scheduled, progress: float) -> float:
    """Return the value at `progress`, the share of optimiser steps already taken, in [0, 1]."""
    return scheduled.at(progress) if isinstance(scheduled, ScheduleSpec) else float(scheduled)


__all__ = ["AnySchedule", "ScheduleSpec", "Scheduled", "registry", "value_at"]
