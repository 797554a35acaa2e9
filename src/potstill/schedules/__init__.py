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


def levels_of(scheduled: Scheduled) -> tuple[float, ...] | None:
    """Return every value it takes over training where these are few; None where it moves."""
    return scheduled.levels() if isinstance(scheduled, ScheduleSpec) else (float(scheduled),)


def lowest(scheduled: Scheduled) -> float:
    """Return the least value over training; one that moves is read at both ends and 99 places between."""
    levels = levels_of(scheduled)
    return min(levels if levels is not None else (value_at(scheduled, i / 100) for i in range(101)))


__all__ = ["AnySchedule", "ScheduleSpec", "Scheduled", "levels_of", "lowest", "registry", "value_at"]
