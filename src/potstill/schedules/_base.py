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

    def levels(self) -> tuple[float, ...] | None:
        """Return every value it takes where these are few; None where it moves."""
        return None


def share(progress: float, begin: float, until: float) -> float:
    """Return how much of the way from `begin` to `until` (begin < until) is done at `progress`, in [0, 1]."""
    return min(1.0, max(0.0, (progress - begin) / (until - begin)))


def check_span(begin: float, until: float) -> None:
    """Raise ValueError unless begin < until."""
    if not begin < until:
        raise ValueError(
            f"begin must be below until; got begin={begin:g} and until={until:g}. For a jump use kind: step"
        )


registry: Registry[ScheduleSpec] = Registry("schedules")
