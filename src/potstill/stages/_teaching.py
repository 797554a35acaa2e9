"""Where a training of the student reads its teacher's outputs: the label store, or a teacher that runs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from potstill.labels.spec import LabelsSpec
from potstill.objectives import ObjectiveSpec
from potstill.stages._base import StageContext
from potstill.stages._parts import MICRO_BATCH, data_io, label_batches, store_row
from potstill.stages._student import StudentStage
from potstill.teachers import TeacherSpec


def reads_teacher(objectives: Sequence[ObjectiveSpec]) -> bool:
    """Return whether one of them reads the teacher's outputs."""
    return any(o.needs().teacher != "nothing" for o in objectives)


def labels_of(
    stage: StudentStage, context: StageContext, dataset: Any, live: LabelsSpec | None, teacher: TeacherSpec | None
) -> Any:
    """Return the store that a training reads: what was stored, or what a teacher says live."""
    if live is None or teacher is None:
        return stage.stored_labels(context, dataset)
    labeller = teacher.load(context.inputs["teacher"], data_io(dataset), dataset.stats)
    return said_live(stage, dataset, live, labeller)


def said_live(stage: StudentStage, dataset: Any, live: LabelsSpec, labeller: Any) -> Any:
    """Return a store that a labeller fills as it is read."""
    from potstill.labels.live import LiveStore

    width, output = store_row(labeller, dataset, live.codec)
    return LiveStore(
        label_batches(labeller, dataset.splits["train"], stage.augment, stage.augment_seed, live.codec),
        num_rows=len(dataset.splits["train"]),
        width=width,
        views=live.views,
        codec=live.codec,
        output=output,
        micro_batch=MICRO_BATCH,
    )
