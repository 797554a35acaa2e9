"""Begin with the teacher itself as the student, to be cut, quantised or trained further."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from potstill.models import AnyModel, ModelSpec
from potstill.stages._base import StageContext, StageSpec, StepJob, StepSpec, registry, steps
from potstill.stages._parts import data_io
from potstill.teachers import AnyTeacher


@registry.register
class InheritStage(StageSpec):
    """Data and a teacher of the zoo -> that teacher, as a student."""

    requires: ClassVar[tuple[str, ...]] = ("data", "teacher")
    provides: ClassVar[str] = "student"
    kind: Literal["inherit"] = "inherit"
    teacher: AnyTeacher
    """Whose weights are taken."""
    model: AnyModel
    """Its architecture."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset
        from potstill.models.tools.build import new_model
        from potstill.models.tools.profile import profile
        from potstill.models.tools.saved import CARD, WEIGHTS, load_model, save_model

        dataset, folder = Dataset.open(context.inputs["data"]), context.inputs["teacher"]
        kept = (folder / CARD).exists()  # a teacher from elsewhere leaves no model in its folder
        model: Any = load_model(folder) if kept else new_model(self.model, data_io(dataset), dataset.stats)
        save_model(context.work, model.module, model.spec, model.data_io, dataset.classes)
        return {
            "steps": 0, "seconds": 0.0, "profile": profile(model.module, model.io).as_dict(),
            "file_bytes": (context.work / WEIGHTS).stat().st_size,
        }  # fmt: skip


@steps.register
class InheritStep(StepSpec):
    """Begin with the teacher, as it was trained, in the student's place: the first step where the teacher itself is pruned or
    quantised. The recipe's student then says the same family and numbers as `teacher.model`."""

    kind: Literal["inherit"] = "inherit"

    def stage(self, job: StepJob) -> StageSpec:
        return InheritStage(teacher=job.teacher, model=_model(job) or job.student)

    def faults(self, job: StepJob) -> list[tuple[tuple[str | int, ...], str]]:
        out: list[tuple[tuple[str | int, ...], str]] = []
        if any(step.teaches() is None for step in job.before):
            out.append((("kind",), "throws away what the steps before did to the student. Make it the first of the student's steps, "
                        "or leave it out"))  # fmt: skip
        model = _model(job)
        if model is None or getattr(job.teacher, "class_order", None) is not None:
            return [*out, (("kind",), f"takes the weights of a teacher of kind train or zoo, its classes in the data's order; got one of "
                     f"kind {job.teacher.kind!r}. Train a teacher, or leave this step out")]  # fmt: skip
        ours, theirs = (m.model_dump(mode="json", exclude={"weights", "backbone"}) for m in (job.student, model))
        differs = [name for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
        if differs:
            shown = ", ".join(f"{n}: {ours.get(n)} of the student, {theirs.get(n)} of the teacher" for n in differs[:3])
            out.append((("kind",), f"needs student and teacher.model to say the same; got {shown}. Give the student the teacher's "
                        "numbers"))  # fmt: skip
        return out


def _model(job: StepJob) -> ModelSpec | None:
    found = getattr(job.teacher, "model", None)
    return found if isinstance(found, ModelSpec) else None
