"""What stages that fill a store share: the teacher runs once over every training row and view. Shapes: M rows of a micro-batch."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from potstill.core.outputs import StoreOutput
from potstill.data.augment import AnyAugment
from potstill.labels.codecs import CodecSpec
from potstill.stages._base import StageContext, StageSpec
from potstill.stages._parts import MICRO_BATCH, data_io, set_threads, store_identity
from potstill.teachers import AnyTeacher

if TYPE_CHECKING:
    from potstill.labels.writer import Label


@dataclass(frozen=True)
class Rows:
    """What a store is filled with."""

    label: Label
    """(rows [M], view) -> [M, *shape] float32, a pure function."""
    shape: tuple[int, ...]
    """Of one row."""
    output: StoreOutput
    """What the rows are."""


class StoreStage(StageSpec):
    """Data and teacher -> a store."""

    requires: ClassVar[tuple[str, ...]] = ("data", "teacher")
    reads_long: ClassVar[bool] = True
    teacher: AnyTeacher
    """Loads what the teach stage left."""
    augment: tuple[AnyAugment, ...] = ()
    """The same for teacher and student."""
    augment_seed: int = 0
    """Of every augmentation draw."""

    @abstractmethod
    def rows(self, labeller: Any, dataset: Any) -> Rows:
        """Return how rows are made and what they are."""

    def fill(self, context: StageContext, views: int, codec: CodecSpec, **identity: str) -> dict[str, Any]:
        """Write the store into `context.work` and return what the report says of it; `identity` stands beside that of the
        data, the teacher and the augmentation."""
        from potstill.data.dataset import Dataset
        from potstill.labels.store import LabelStore
        from potstill.labels.writer import write_store

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        labeller = self.teacher.load(context.inputs["teacher"], data_io(dataset), dataset.stats)
        rows = self.rows(labeller, dataset)
        write_store(
            context.work,
            rows.label,
            num_rows=len(dataset.splits["train"]),
            shape=rows.shape,
            views=views,
            codec=codec,
            output=rows.output,
            identity=store_identity(context.inputs, self.augment, self.augment_seed) | identity,
            fingerprint=context.options.fingerprint(),
            micro_batch=MICRO_BATCH,
            accept_fingerprint=context.options.accept_fingerprint,
            progress=context.progress,
        )
        return LabelStore.open(context.work).facts()
