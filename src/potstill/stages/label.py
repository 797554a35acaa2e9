"""Fill the soft-label store: every training row, every view, once."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from potstill.labels.spec import LabelsSpec
from potstill.stages._base import StageContext, registry
from potstill.stages._parts import label_batches, store_row
from potstill.stages._store import Rows, StoreStage


@registry.register
class LabelStage(StoreStage):
    """Data and teacher -> a label store."""

    provides: ClassVar[str] = "labels"
    kind: Literal["label"] = "label"
    labels: LabelsSpec
    """Codec and views."""

    def run(self, context: StageContext) -> dict[str, Any]:
        return self.fill(context, self.labels.views, self.labels.codec)

    def rows(self, labeller: Any, dataset: Any) -> Rows:
        codec = self.labels.codec
        label = label_batches(labeller, dataset.splits["train"], self.augment, self.augment_seed, codec)
        width, output = store_row(labeller, dataset, codec)
        return Rows(label, (width,), output)
