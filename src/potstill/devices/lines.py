"""A line of a verdict: a figure with its interval and where it comes from, against a limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from pydantic import Field

from potstill.core.errors import DeviceError, nearest
from potstill.core.spec import Spec

Verdict = Literal["fits", "does not fit", "unknown"]
Word = Literal["measured", "emulated", "modelled", "unknown"]


class Limits(Spec):
    """What a model may take on a device, as far as its graph says it; what is left out is not judged, save that it must fit the device's own
    memory."""

    latency_ms: float | None = Field(default=None, gt=0)
    """Milliseconds of one sample."""
    peak_memory_bytes: float | None = Field(default=None, gt=0)
    """RAM that the model and its runtime take."""
    flash_bytes: float | None = Field(default=None, gt=0)
    """Weights and code on a microcontroller, weights elsewhere."""
    energy_mj: float | None = Field(default=None, gt=0)
    """Millijoules of one sample."""


class Budget(Limits):
    """What a model may take on a device, and what it may lose there."""

    accuracy_drop: float | None = Field(default=None, gt=0)
    """Points of the headline that the exported file may lose against the teacher on the test split."""


LIMITS = tuple(Budget.model_fields)
"""Names of a verdict's lines."""


def budget_of(limits: Mapping[str, float | None]) -> Budget:
    """Return a budget. Raises DeviceError where a name is not a field of Budget, or a number not above 0."""
    for name, value in limits.items():
        if name not in LIMITS:
            raise DeviceError(f"budget.{name}: is not a limit. {nearest(name, LIMITS)}Allowed: {', '.join(LIMITS)}.")
        if value is not None and not 0 < value < float("inf"):
            raise DeviceError(f"budget.{name}: must be above 0 and finite; got {value}.")
    return Budget(**limits)


@dataclass(frozen=True)
class Line:
    """One line of a verdict."""

    name: str
    """A field of Budget."""
    verdict: Verdict | None
    """None where there is no limit."""
    word: Word
    """Where the figure comes from."""
    value: float | None
    low: float | None
    high: float | None
    """The interval; high is missing where only a least is known, low where only a most is."""
    limit: float | None
    reason: str
    """What the figure rests on, or why there is none."""

    @property
    def margin(self) -> float | None:
        """Share of the limit that is left at the interval's upper end; negative where it is over."""
        worst = self.high if self.high is not None else self.low
        return None if worst is None or self.limit is None else 1 - worst / self.limit

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "margin": self.margin}


def line_of(found: Mapping[str, Any]) -> Line:
    """Return the line that `as_dict` gave."""
    return Line(**{f.name: found[f.name] for f in fields(Line)})


def binding(lines: Iterable[Line]) -> Line | None:
    """Return the line with the smallest margin, None where no margin is known."""
    known = [line for line in lines if line.margin is not None]
    return min(known, key=lambda line: line.margin or 0.0, default=None)


def interval(
    name: str, low: float | None, high: float | None, limit: float | None, reason: str, *,
    word: Word = "modelled", value: float | None = None,
) -> Line:  # fmt: skip
    """Return the line of a figure between two ends; it fits where the upper one is within the limit, does not where the lower one is over
    it. Without a value, that is the geometric middle of both."""
    if value is None and low is not None and high is not None:
        value = (low * high) ** 0.5
    return Line(name, said(low, high, limit), word, value, low, high, limit, reason)


def unknown(name: str, limit: float | None, reason: str, most: float | None = None) -> Line:
    """Return the line of what is not known, or of which only an upper bound is."""
    return Line(name, said(None, most, limit), "unknown", None, None, most, limit, reason)


def said(low: float | None, high: float | None, limit: float | None) -> Verdict | None:
    """Return the verdict on an interval; None without a limit."""
    if limit is None:
        return None
    if high is not None and high <= limit:
        return "fits"
    return "does not fit" if low is not None and low > limit else "unknown"
