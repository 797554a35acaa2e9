"""Decode the data once into memory-mapped arrays, with digests, splits and checks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from potstill.data import AnyData
from potstill.stages._base import StageContext, StageSpec, registry


@registry.register
class PrepareStage(StageSpec):
    """Data source -> `{train,validation,test}.safetensors` and `data.json`."""

    requires: ClassVar[tuple[str, ...]] = ()
    provides: ClassVar[str] = "data"
    kind: Literal["prepare"] = "prepare"
    data: AnyData
    """The source and how it is split."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset, prepare

        prepare(self.data, context.work, context.progress)
        dataset = Dataset.open(context.work)
        return {
            "source": self.data.kind,
            "rows": {name: len(split) for name, split in dataset.splits.items()},
            "labelled": sum(int(dataset.splits[n].labelled.sum()) for n in ("train", "validation")),
            "sample": dataset.kind,
            "shape": list(dataset.shape),
            "rate_hz": dataset.rate_hz,
            "target_shape": dataset.target_shape,
            "classes": dataset.classes,
            "digest": dataset.digest,
        }
