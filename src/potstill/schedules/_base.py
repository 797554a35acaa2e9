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


registry: Registry[ScheduleSpec] = Registry("schedules")
