"""What a schedule is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from potstill.core.spec import Registry, Spec


class ScheduleSpec(Spec, ABC):
    """A value that changes over training; a pure function of progress."""

    kind: str

    @abstractmethod
    def at(self, progress: float) -> float:
        """Return the value after the share `progress` in [0, 1] of all optimiser steps."""


def share(progress: float, begin: float, until: float) -> float:
    """Return how much of the way from `begin` to `until` is done at `progress`, in [0, 1]."""
    if until <= begin:
        return float(progress >= until)
    return min(1.0, max(0.0, (progress - begin) / (until - begin)))


registry: Registry[ScheduleSpec] = Registry("schedules")
