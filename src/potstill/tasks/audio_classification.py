"""One class for each recording."""

from __future__ import annotations

from typing import ClassVar, Literal

from potstill.core.samples import SampleKind
from potstill.tasks._base import registry
from potstill.tasks._classification import ClassificationSpec


@registry.register
class AudioClassificationSpec(ClassificationSpec):
    """One class for each recording; judged by accuracy."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("audio",)
    kind: Literal["audio-classification"] = "audio-classification"
