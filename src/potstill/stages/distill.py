"""Train a student on the teacher's soft labels, on objectives that are stated or chosen; or, as a control, without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from potstill.labels.spec import LabelsSpec
from potstill.labels.suits import codec_faults
from potstill.models import AnyModel, ModelSpec
from potstill.objectives import AnyObjective, BalanceSpec, ObjectiveSpec
from potstill.objectives import registry as objective_kinds
from potstill.schedules.training import TrainSpec
from potstill.stages._base import StageContext, StageSpec, StepJob, StepSpec, registry, steps
from potstill.stages._controls import objectives_of
from potstill.stages._parts import data_io, gate, labelled_rows, set_threads
from potstill.stages._student import FEATURES, StudentStage
from potstill.stages._teaching import labels_of, reads_teacher
from potstill.taps import TapPair, Taps, TapSort
from potstill.teachers import AnyTeacher, TeacherSpec
from potstill.teachers import registry as teachers


class StatedStage(StudentStage):
    """A training on objectives that are stated."""

    objectives: tuple[AnyObjective, ...]
    """Terms of the loss."""
    balance: BalanceSpec | None = None
    """Shares of the gradient that the terms keep; None leaves the weights as they are."""
    rows: Literal["all", "labelled"] = "all"
    """Training rows that are visited."""
    live: LabelsSpec | None = None
    """Codec of a teacher whose labels are made live; None reads the store."""
    teacher: AnyTeacher | None = None
    """Loads a teacher that runs live, for its labels or for features."""
    features: Literal["live", "stored"] = "live"
    """Where objectives on features come by the teacher's; stored needs their taps by name."""

    @model_validator(mode="after")
    def _by_name(self) -> StatedStage:
        if self.features == "stored" and any(isinstance(o.needs().taps, str) for o in self.objectives):
            raise ValueError("stored features are read by name: resolve taps first")
        return self

    def inputs_needed(self) -> tuple[str, ...]:
        extra = {f"{FEATURES}{name}" for name in self._places()}
        if self.features == "live" and _reads_taps(self.objectives):
            extra.add("teacher")
        if reads_teacher(self.objectives):
            extra.add("teacher" if self.live is not None else "labels")
        return ("data", *(name for name in ("student",) if "student?" in self.requires), *sorted(extra))

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset
        from potstill.train.loop import Trainer

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        new = self.new_student(context, dataset)
        rows = labelled_rows(dataset.splits["train"]) if self.rows == "labelled" else None
        reads = {"rows": rows, "store": self._store(context, dataset), "teacher": self._inside(context, dataset)}
        reads["shares"] = None if self.balance is None else self.balance.shares
        facts = Trainer(self.fit(context, dataset, new, self.objectives, **reads)).run()
        return self.leave(context, dataset, new, facts)

    def _places(self) -> set[str]:
        """Return the teacher's places whose features are stored."""
        taps = [o.needs().taps or () for o in self.objectives] if self.features == "stored" else []
        return {pair.teacher for pairs in taps for pair in pairs if isinstance(pair, TapPair)}

    def _inside(self, context: StageContext, dataset: Any) -> Any:
        """Return what objectives on features read the teacher's from, None where there are none."""
        from potstill.train.features import LiveTeacher, StoredTeacher

        if self.features == "stored":
            names = sorted(self._places())
            return StoredTeacher({n: self.rows_of(context, dataset, f"{FEATURES}{n}") for n in names})
        if self.teacher is None or not _reads_taps(self.objectives):
            return None
        labeller: Any = self.teacher.load(context.inputs["teacher"], data_io(dataset), dataset.stats)
        return LiveTeacher(labeller.module, labeller.preprocess)

    def _store(self, context: StageContext, dataset: Any) -> Any:
        return labels_of(self, context, dataset, self.live, self.teacher) if reads_teacher(self.objectives) else None


@registry.register
class DistillStage(StatedStage):
    """Data, labels and perhaps an earlier student -> a trained student."""

    requires: ClassVar[tuple[str, ...]] = ("data", "labels?", "teacher?", "features?", "student?")
    kind: Literal["distill"] = "distill"


@registry.register
class AssistStage(StatedStage):
    """Data, labels and a teacher -> an assistant: a model trained like a student, which teaches in the teacher's place."""

    requires: ClassVar[tuple[str, ...]] = ("data", "labels?", "teacher?")
    provides: ClassVar[str] = "teacher"
    kind: Literal["assist"] = "assist"

    def uses(self) -> Iterator[str]:
        yield "potstill.teachers.gate"

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset
        from potstill.train.world import World

        facts = super().run(context)
        if World().rank != 0:
            return facts
        dataset = Dataset.open(context.inputs["data"])
        labeller = _loaded(self.student, self.training).load(context.work, data_io(dataset), dataset.stats)
        return {**facts, "model": self.student.kind, "gate": gate(dataset, labeller, self.seed, foreign=False)}


def _loaded(model: ModelSpec, training: TrainSpec) -> TeacherSpec:
    """Return the teacher that loads what a training left, whatever it was trained on."""
    found = teachers["train"](kind="train", model=model, training=training)  # type: ignore[call-arg]
    return found


@registry.register
class AutoDistillStage(StudentStage):
    """Data, labels, what is known of the teacher and perhaps an earlier student -> the student of the best candidate loss."""

    requires: ClassVar[tuple[str, ...]] = ("data", "labels", "teacher", "student?")
    kind: Literal["auto-distill"] = "auto-distill"
    same_family: bool | None = None
    """Teacher and student are models of one kind; None where the teacher's is not known."""

    def uses(self) -> Iterator[str]:
        # Imported by name: a change of the rules must make no student stale whose objectives were stated.
        yield "potstill.stages._auto"

    def run(self, context: StageContext) -> dict[str, Any]:
        set_threads(context.options.threads)
        facts: dict[str, Any] = import_module("potstill.stages._auto").distil(self, context)
        return facts


def _reads_taps(objectives: Sequence[ObjectiveSpec]) -> bool:
    return any(o.needs().taps is not None for o in objectives)


Objectives = Annotated[
    Annotated[tuple[AnyObjective, ...], Field(min_length=1), Tag("list")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(lambda value: "auto" if isinstance(value, str) else "list"),
]
"""Terms of a loss, or the word that leaves them to rules and a race."""


@steps.register
class DistillStep(StepSpec):
    """Train the student on these objectives."""

    kind: Literal["distill"] = "distill"
    assistant: AnyModel | None = None
    """A model that this step trains in the student's place, and that teaches the steps after it in the teacher's place, its
    features included: a teacher assistant (Mirzadeh et al. 2020, arXiv:1902.03393). It is trained once, with the recipe's
    first seed, and its labels are kept once for all seeds. The student's steps and its controls do not count it."""
    objectives: Objectives = Field(examples=[[{"kind": "soft-label"}]])
    """Terms of the training loss, each with its weight; or auto: up to three candidates race over the first part of the
    training, and the student is kept only where it is then judged better than the hard-label control."""
    balance: BalanceSpec | None = None
    """Shares of the gradient that the terms keep; nothing leaves the weights as they are."""
    training: TrainSpec = Field(default_factory=TrainSpec)
    """Lengths, optimiser, learning rate; the same for every control."""

    def terms(self) -> tuple[ObjectiveSpec, ...]:
        return () if isinstance(self.objectives, str) else self.objectives

    def reads_teacher(self) -> bool:
        return self.chooses() or reads_teacher(self.terms())

    def chooses(self) -> bool:
        return isinstance(self.objectives, str)

    def named(self, name: Callable[[int, Taps, TapSort], tuple[TapPair, ...]]) -> StepSpec:
        needs = [o.needs() for o in self.terms()]
        named = [
            o if n.taps is None else o.model_copy(update={"taps": name(i, n.taps, n.tap_sort)})
            for i, (o, n) in enumerate(zip(self.terms(), needs, strict=True))
        ]
        return self.model_copy(update={"objectives": tuple(named)}) if named else self

    def teaches(self) -> TeacherSpec | None:
        return None if self.assistant is None else _loaded(self.assistant, self.training)

    def stage(self, job: StepJob) -> StageSpec:
        common: dict[str, Any] = {
            "task": job.task, "student": self.assistant or job.student, "training": self.training, "augment": job.augment,
            "seed": job.seed, "augment_seed": job.augment_seed,
        }  # fmt: skip
        if job.control is None and self.chooses():
            model = getattr(job.teacher, "model", None)
            same = None if model is None else bool(model.kind == job.student.kind)
            return AutoDistillStage(**common, num_views=job.labels.views, same_family=same)
        objectives = self.terms() if job.control is None else objectives_of(job.control, job.task.output)
        reads_labels, reads_taps = reads_teacher(objectives), _reads_taps(objectives)
        stored = reads_taps and job.features.mode == "stored"
        live = job.labels if reads_labels and job.labels.mode == "live" else None
        return (DistillStage if self.assistant is None else AssistStage)(
            **common,
            objectives=objectives,
            balance=self.balance if job.control is None else None,
            rows="all" if reads_labels or reads_taps else "labelled",
            num_views=job.labels.views if reads_labels or stored else None,
            live=live,
            teacher=job.teacher if live is not None or (reads_taps and not stored) else None,
            features="stored" if stored else "live",
        )

    def faults(self, job: StepJob) -> list[tuple[tuple[str | int, ...], str]]:
        if self.chooses() and self.assistant is not None:
            return [
                (("objectives",), "auto chooses for a student, by its control; an assistant has none. State objectives")
            ]
        if self.chooses():
            balanced = [(("balance",), "needs objectives that are stated; got auto")] if self.balance else []
            return [*((("objectives",), text) for text in _auto_faults(job)), *balanced]
        out: list[tuple[tuple[str | int, ...], str]] = []
        if self.balance is not None:
            out += [(("balance", "shares"), text) for text in self.balance.faults(self.terms())]
        for i, objective in enumerate(self.terms()):
            if job.task.output not in objective.teaches:
                fits = ", ".join(kind for kind, spec in objective_kinds.items() if job.task.output in spec.teaches)
                out.append((("objectives", i, "kind"), f"{objective.kind!r} teaches {' or '.join(objective.teaches)}, and a task "
                            f"of kind {job.task.kind!r} asks for {job.task.output}. Use one of: {fits}"))  # fmt: skip
                continue
            if objective.needs().taps is not None and not job.teacher.tappable:
                allowed = ", ".join(kind for kind, spec in teachers.items() if spec.tappable)
                out.append((("objectives", i, "kind"), f"{objective.kind!r} reads features inside the teacher, and a teacher "
                            f"of kind {job.teacher.kind!r} gives its outputs alone. Use an objective on these, or a teacher "
                            f"that is a torch module here: {allowed}"))  # fmt: skip
            out += [(("objectives", i, *path), text) for path, text in codec_faults(objective, job.labels.codec)]
        return out


def _auto_faults(job: StepJob) -> list[str]:
    found = []
    if job.task.output != "classes":
        found.append(f"auto chooses among losses on classes, and a task of kind {job.task.kind!r} asks for {job.task.output}. "
                     "State objectives")  # fmt: skip
    if "hard-label" not in job.controls:
        found.append("auto keeps the student only where it beats the control hard-label, which is not trained. Add "
                     "hard-label to controls")  # fmt: skip
    if job.labels.mode == "live":
        found.append(
            "auto races candidates on one label store, and the teacher would run for each. Set labels.mode: stored"
        )
    if job.labels.codec.tokens:
        found.append(
            f"auto reads logits, which labels kept as {job.labels.codec.kind!r} are not. Use another labels.codec"
        )
    elif not job.labels.codec.serves(1.0, False):
        found.append(f"auto reads labels at T=1, which those kept as {job.labels.codec.kind!r} do not serve. Add 1.0 to "
                     "labels.codec.temperatures")  # fmt: skip
    return found
