"""One class for each window of a series."""

from __future__ import annotations

from typing import ClassVar, Literal

from potstill.core.samples import SampleKind
from potstill.tasks._base import registry
from potstill.tasks._classification import ClassificationSpec


@registry.register
class TimeseriesClassificationSpec(ClassificationSpec):
    """One class for each window of a series; judged by accuracy, weighted where rows have weights."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("series",)
    kind: Literal["timeseries-classification"] = "timeseries-classification"
