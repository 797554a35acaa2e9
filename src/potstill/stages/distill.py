"""Train a student on the teacher's soft labels, on objectives that are stated or chosen; or, as a control, without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from potstill.core import rng
from potstill.core.artifact import content_digest
from potstill.core.atomic import write_json
from potstill.core.errors import StoreError
from potstill.data.augment import AnyAugment
from potstill.labels.spec import LabelsSpec
from potstill.labels.suits import codec_faults
from potstill.models import AnyModel
from potstill.objectives import AnyObjective, ObjectiveSpec
from potstill.objectives import registry as objective_kinds
from potstill.schedules.training import TrainSpec
from potstill.stages._base import StageContext, StageSpec, StepJob, StepSpec, registry, steps
from potstill.stages._controls import objectives_of
from potstill.stages._parts import MICRO_BATCH, data_io, label_batches, labelled_rows, set_threads
from potstill.taps import TapPair, Taps, TapSort
from potstill.tasks import AnyTask
from potstill.teachers import AnyTeacher
from potstill.teachers import registry as teachers

_FEATURES = "features:"
"""Before the name of a place, an input of the stage."""


class StudentStage(StageSpec):
    """What every training of a student has."""

    provides: ClassVar[str] = "student"
    all_ranks: ClassVar[bool] = True
    reads_long: ClassVar[bool] = True
    task: AnyTask
    """What is learnt."""
    student: AnyModel
    """Built anew unless an earlier step left a student."""
    training: TrainSpec
    """Lengths, optimiser, learning rate."""
    augment: tuple[AnyAugment, ...] = ()
    """The same for teacher and student."""
    num_views: int | None = 1
    """Views that training cycles through; None draws a new one each pass (a training without a store)."""
    seed: int = 0
    """Of initial weights, order and dropout."""
    augment_seed: int = 0
    """Of every augmentation draw."""

    def num_steps(self, dataset: Any) -> int:
        """Return the optimiser steps of the whole training: as many for every arm, whatever rows it visits."""
        return self.training.epochs * self._steps_per_epoch(dataset)

    def _steps_per_epoch(self, dataset: Any) -> int:
        from potstill.train.order import steps_per_pass
        from potstill.train.world import World

        return steps_per_pass(len(dataset.splits["train"]), self.training.batch_size, World().size)

    def fit(
        self, context: StageContext, dataset: Any, new: Any, objectives: Sequence[ObjectiveSpec], **reads: Any
    ) -> Any:
        """Return the training of a module that `new_student` gave, on these objectives; `reads` are the Fit's rows, store
        and teacher."""
        from potstill.train.loop import Fit
        from potstill.train.world import World

        return Fit(
            module=new.module,
            preprocess=new.preprocess,
            task=self.task,
            train=dataset.splits["train"],
            validation=dataset.splits["validation"],
            classes=dataset.classes,
            objectives=objectives,
            training=self.training,
            augment=self.augment,
            num_steps=self.num_steps(dataset),
            evaluate_every=self.training.evaluate_every * self._steps_per_epoch(dataset),
            seed=self.seed,
            augment_seed=self.augment_seed,
            work=context.work,
            name=context.name,
            fingerprint=context.options.fingerprint(World().size, self.training.precision),
            num_views=self.num_views,
            checkpoint_every_s=context.options.checkpoint_every_s,
            accept_fingerprint=context.options.accept_fingerprint,
            device=context.options.device,
            progress=context.progress,
            **reads,
        )

    def leave(self, context: StageContext, dataset: Any, new: Any, facts: dict[str, Any]) -> dict[str, Any]:
        """Write what a training left, on rank 0, and return its facts with the student's size."""
        from potstill.models.tools.profile import profile
        from potstill.models.tools.saved import save_model
        from potstill.train import checkpoint
        from potstill.train.world import World

        if World().rank != 0:
            return facts
        write_json(context.work / "fit.json", facts)
        save_model(context.work, new.module, self.student, new.io, new.mean, new.std, dataset.classes)
        (context.work / checkpoint.NAME).unlink(missing_ok=True)
        return facts | {
            "profile": profile(new.module, new.io).as_dict(),
            "file_bytes": (context.work / "student.safetensors").stat().st_size,
        }

    def new_student(self, context: StageContext, dataset: Any) -> Any:
        """Return the student with its initial weights, or those of an earlier step; the same each time."""
        import torch

        from potstill.models.tools.build import new_model
        from potstill.models.tools.saved import load_weights

        torch.manual_seed(rng.seed_of(self.seed, "init"))
        new = new_model(self.student, data_io(dataset), dataset.mean, dataset.std)
        if "student" in context.inputs:
            load_weights(new.module, context.inputs["student"] / "student.safetensors", "the earlier step's student")
        return new

    def stored_labels(self, context: StageContext, dataset: Any) -> Any:
        """Return the label store; every byte is verified before the student is published, by whoever runs this stage."""
        return self._rows_of(context, dataset, "labels")

    def _rows_of(self, context: StageContext, dataset: Any, name: str) -> Any:
        from potstill.labels.store import LabelStore

        store = LabelStore.open(context.inputs[name], verify=False)
        _check_origin(store, context.inputs, name, len(dataset.splits["train"]))
        return store


@registry.register
class DistillStage(StudentStage):
    """Data, labels and perhaps an earlier student -> a trained student."""

    requires: ClassVar[tuple[str, ...]] = ("data", "labels?", "teacher?", "features?", "student?")
    kind: Literal["distill"] = "distill"
    objectives: tuple[AnyObjective, ...]
    """Terms of the loss."""
    rows: Literal["all", "labelled"] = "all"
    """Training rows that are visited."""
    live: LabelsSpec | None = None
    """Codec of a teacher whose labels are made live; None reads the store."""
    teacher: AnyTeacher | None = None
    """Loads a teacher that runs live, for its labels or for features."""
    features: Literal["live", "stored"] = "live"
    """Where objectives on features come by the teacher's; stored needs their taps by name."""

    @model_validator(mode="after")
    def _by_name(self) -> DistillStage:
        if self.features == "stored" and any(isinstance(o.needs().taps, str) for o in self.objectives):
            raise ValueError("stored features are read by name: resolve taps first")
        return self

    def inputs_needed(self) -> tuple[str, ...]:
        extra = {f"{_FEATURES}{name}" for name in self._places()}
        if self.features == "live" and _reads_taps(self.objectives):
            extra.add("teacher")
        if _reads_teacher(self.objectives):
            extra.add("teacher" if self.live is not None else "labels")
        return ("data", "student", *sorted(extra))

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset
        from potstill.train.loop import Trainer

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        new = self.new_student(context, dataset)
        rows = labelled_rows(dataset.splits["train"]) if self.rows == "labelled" else None
        reads = {"rows": rows, "store": self._store(context, dataset), "teacher": self._inside(context, dataset)}
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
            return StoredTeacher({n: self._rows_of(context, dataset, f"{_FEATURES}{n}") for n in names})
        if self.teacher is None or not _reads_taps(self.objectives):
            return None
        labeller: Any = self.teacher.load(context.inputs["teacher"], data_io(dataset), dataset.mean, dataset.std)
        return LiveTeacher(labeller.module, labeller.preprocess)

    def _store(self, context: StageContext, dataset: Any) -> Any:
        from potstill.labels.live import LiveStore

        if not _reads_teacher(self.objectives):
            return None
        if self.live is None or self.teacher is None:
            return self.stored_labels(context, dataset)
        labeller = self.teacher.load(context.inputs["teacher"], data_io(dataset), dataset.mean, dataset.std)
        return LiveStore(
            label_batches(labeller, dataset.splits["train"], self.augment, self.augment_seed),
            num_rows=len(dataset.splits["train"]),
            num_classes=len(dataset.classes),
            views=self.live.views,
            codec=self.live.codec,
            output=labeller.output,
            micro_batch=MICRO_BATCH,
        )


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


def _reads_teacher(objectives: Sequence[ObjectiveSpec]) -> bool:
    return any(o.needs().teacher != "nothing" for o in objectives)


def _reads_taps(objectives: Sequence[ObjectiveSpec]) -> bool:
    return any(o.needs().taps is not None for o in objectives)


def _check_origin(store: Any, inputs: dict[str, Path], name: str, num_rows: int) -> None:
    """The store must have been made from these very pixels, of this very place; else it would teach other rows or things."""
    origin = store.manifest["identity"]
    if origin["data"] != content_digest(inputs["data"]) or store.num_rows != num_rows:
        raise StoreError(
            f"{inputs[name]}: {name} must belong to this data; got those of data {origin['data'][:12]} with "
            f"{store.num_rows} rows, and data of {num_rows} rows. Run again without the cache: potstill cache gc --all"
        )
    if origin.get("place") != (name.removeprefix(_FEATURES) if name.startswith(_FEATURES) else None):
        raise StoreError(
            f"{inputs[name]}: must be {name}; got those of place {origin.get('place')!r}. Run again without the cache: "
            "potstill cache gc --all"
        )


Objectives = Annotated[
    Annotated[tuple[AnyObjective, ...], Field(min_length=1), Tag("list")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(lambda value: "auto" if isinstance(value, str) else "list"),
]
"""Terms of a loss, or the word that leaves them to rules and a race."""


@steps.register
class DistillStep(StepSpec):
    """Train the student on these objectives."""

    kind: Literal["distill"] = "distill"
    objectives: Objectives = Field(examples=[[{"kind": "soft-label"}]])
    """Terms of the training loss, each with its weight; or auto: up to three candidates race over the first part of the
    training, and the student is kept only where it then beats the hard-label control on the validation rows."""
    training: TrainSpec = Field(default_factory=TrainSpec)
    """Lengths, optimiser, learning rate; the same for every control."""

    def terms(self) -> tuple[ObjectiveSpec, ...]:
        return () if isinstance(self.objectives, str) else self.objectives

    def reads_teacher(self) -> bool:
        return self.chooses() or _reads_teacher(self.terms())

    def chooses(self) -> bool:
        return isinstance(self.objectives, str)

    def named(self, name: Callable[[int, Taps, TapSort], tuple[TapPair, ...]]) -> StepSpec:
        needs = [o.needs() for o in self.terms()]
        named = [
            o if n.taps is None else o.model_copy(update={"taps": name(i, n.taps, n.tap_sort)})
            for i, (o, n) in enumerate(zip(self.terms(), needs, strict=True))
        ]
        return self.model_copy(update={"objectives": tuple(named)}) if named else self

    def stage(self, job: StepJob) -> StageSpec:
        common: dict[str, Any] = {
            "task": job.task, "student": job.student, "training": self.training, "augment": job.augment,
            "seed": job.seed, "augment_seed": job.augment_seed,
        }  # fmt: skip
        if job.control is None and self.chooses():
            model = getattr(job.teacher, "model", None)
            same = None if model is None else bool(model.kind == job.student.kind)
            return AutoDistillStage(**common, num_views=job.labels.views, same_family=same)
        objectives = self.terms() if job.control is None else objectives_of(job.control)
        reads_teacher, reads_taps = _reads_teacher(objectives), _reads_taps(objectives)
        stored = reads_taps and job.features.mode == "stored"
        live = job.labels if reads_teacher and job.labels.mode == "live" else None
        return DistillStage(
            **common,
            objectives=objectives,
            rows="all" if reads_teacher or reads_taps else "labelled",
            num_views=job.labels.views if reads_teacher or stored else None,
            live=live,
            teacher=job.teacher if live is not None or (reads_taps and not stored) else None,
            features="stored" if stored else "live",
        )

    def faults(self, job: StepJob) -> list[tuple[tuple[str | int, ...], str]]:
        if self.chooses():
            return [(("objectives",), text) for text in _auto_faults(job)]
        out: list[tuple[tuple[str | int, ...], str]] = []
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
