"""Make the teacher ready and put it through the gate, before anything is labelled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any, ClassVar, Literal

from potstill.data.augment import AnyAugment
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import data_io, gate, set_threads, taught_rows
from potstill.tasks import AnyTask
from potstill.teachers import AnyTeacher, Labeller, TeacherContext, TeacherSpec


@registry.register
class TeachStage(StageSpec):
    """Data -> a teacher that was trained or checked, and that knows the task."""

    requires: ClassVar[tuple[str, ...]] = ("data",)
    provides: ClassVar[str] = "teacher"
    all_ranks: ClassVar[bool] = True
    reads_long: ClassVar[bool] = True
    kind: Literal["teach"] = "teach"
    task: AnyTask
    """What the teacher must know."""
    teacher: AnyTeacher
    """Where soft labels come from."""
    augment: tuple[AnyAugment, ...] = ()
    """Augmentation while a teacher is trained here."""
    seed: int = 0
    """Of the teacher's training."""

    def uses(self) -> Iterator[str]:
        yield "potstill.teachers.gate"
        if self.teacher.fits():
            yield "potstill.stages._fit"

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        fit = None
        if self.teacher.fits():
            # Imported by name: a trainer's change must not make a foreign teacher stale.
            module = import_module("potstill.stages._fit")
            fit = module.supervised(context, dataset, self.task, self.augment, self.seed)
        teacher_context = TeacherContext(
            work=context.work, io=data_io(dataset), stats=dataset.stats, seed=self.seed,
            fit=fit or _no_fit, rows=taught_rows(dataset, context.progress, context.name, self.augment, self.seed),
        )  # fmt: skip
        facts = self.teacher.prepare(teacher_context)
        if int(os.environ.get("RANK", "0")) != 0:  # in a torchrun group, rank 0 reports
            return {}
        labeller = self.teacher.load(context.work, data_io(dataset), dataset.stats)
        return {
            "kind": self.teacher.kind,
            "output": labeller.output,
            "saw_hidden_labels": self.teacher.saw_hidden_labels() if _hides_labels(dataset) else False,
            "gate": gate(dataset, labeller, self.seed, self.teacher.foreign()),
            "profile": _profile(self.teacher, labeller, dataset),
            **facts,
        }


def _no_fit(*_: object) -> None:
    raise TypeError("this teacher said that it does not train")


def _hides_labels(dataset: Any) -> bool:
    train = dataset.splits["train"]
    return bool(((train.labels[:] >= 0) & (train.labelled[:] == 0)).any())


def _profile(teacher: TeacherSpec, labeller: Labeller, dataset: Any) -> dict[str, Any] | None:
    """Return params, MACs and peak activations where the teacher is a torch module here; None for a black box."""
    from potstill.models.tools.profile import profile_labeller

    return profile_labeller(labeller, data_io(dataset))
