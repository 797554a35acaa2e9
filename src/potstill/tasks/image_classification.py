"""One class for each picture."""

from __future__ import annotations

from typing import ClassVar, Literal

from potstill.core.samples import SampleKind
from potstill.tasks._base import registry
from potstill.tasks._classification import ClassificationSpec


@registry.register
class ImageClassificationSpec(ClassificationSpec):
    """One class for each picture; judged by accuracy."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("image",)
    kind: Literal["image-classification"] = "image-classification"
