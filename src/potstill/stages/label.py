"""Fill the soft-label store: every training row, every view, once."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from potstill.data.augment import AnyAugment
from potstill.labels.spec import LabelsSpec
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import MICRO_BATCH, data_io, label_batches, set_threads, store_identity
from potstill.teachers import AnyTeacher


@registry.register
class LabelStage(StageSpec):
    """Data and teacher -> a label store."""

    requires: ClassVar[tuple[str, ...]] = ("data", "teacher")
    provides: ClassVar[str] = "labels"
    reads_long: ClassVar[bool] = True
    kind: Literal["label"] = "label"
    teacher: AnyTeacher
    """Loads what the teach stage left."""
    labels: LabelsSpec
    """Codec and views."""
    augment: tuple[AnyAugment, ...] = ()
    """The same for teacher and student."""
    augment_seed: int = 0
    """Of every augmentation draw."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset
        from potstill.labels.store import LabelStore
        from potstill.labels.writer import write_store

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        labeller = self.teacher.load(context.inputs["teacher"], data_io(dataset), dataset.mean, dataset.std)
        train = dataset.splits["train"]
        write_store(
            context.work,
            label_batches(labeller, train, self.augment, self.augment_seed),
            num_rows=len(train),
            shape=(len(dataset.classes),),
            views=self.labels.views,
            codec=self.labels.codec,
            output=labeller.output,
            identity=store_identity(context.inputs, self.augment, self.augment_seed),
            fingerprint=context.options.fingerprint(),
            micro_batch=MICRO_BATCH,
            accept_fingerprint=context.options.accept_fingerprint,
            progress=context.progress,
        )
        return LabelStore.open(context.work).facts()
