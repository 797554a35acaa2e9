"""Train a student on the teacher's soft labels; or, as a control, without them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from potstill.core import rng
from potstill.core.artifact import content_digest
from potstill.core.atomic import write_json
from potstill.core.errors import StoreError
from potstill.data.augment import AnyAugment
from potstill.labels.codecs import registry as codecs
from potstill.labels.spec import LabelsSpec
from potstill.models import AnyModel
from potstill.objectives import AnyObjective, ObjectiveSpec
from potstill.schedules.training import TrainSpec
from potstill.stages._base import StageContext, StageSpec, StepJob, StepSpec, registry, steps
from potstill.stages._controls import objectives_of
from potstill.stages._parts import MICRO_BATCH, data_io, label_batches, labelled_rows, set_threads
from potstill.tasks import AnyTask
from potstill.teachers import AnyTeacher
from potstill.teachers import registry as teachers


@registry.register
class DistillStage(StageSpec):
    """Data, labels and perhaps an earlier student -> a trained student."""

    requires: ClassVar[tuple[str, ...]] = ("data", "labels?", "teacher?", "student?")
    provides: ClassVar[str] = "student"
    all_ranks: ClassVar[bool] = True
    reads_long: ClassVar[bool] = True
    kind: Literal["distill"] = "distill"
    task: AnyTask
    """What is learnt."""
    student: AnyModel
    """Built anew unless an earlier step left a student."""
    objectives: tuple[AnyObjective, ...]
    """Terms of the loss."""
    training: TrainSpec
    """Lengths, optimiser, learning rate."""
    augment: tuple[AnyAugment, ...] = ()
    """The same for teacher and student."""
    rows: Literal["all", "labelled"] = "all"
    """Training rows that are visited."""
    num_views: int | None = 1
    """Views that training cycles through; None draws a new one each pass (a training without a store)."""
    live: LabelsSpec | None = None
    """Codec of a teacher whose labels are made live; None reads the store."""
    teacher: AnyTeacher | None = None
    """Loads a teacher that runs live, for its labels or for features."""
    seed: int = 0
    """Of initial weights, order and dropout."""
    augment_seed: int = 0
    """Of every augmentation draw."""

    def inputs_needed(self) -> tuple[str, ...]:
        extra = {"teacher"} if _reads_taps(self.objectives) else set()
        if _reads_teacher(self.objectives):
            extra.add("teacher" if self.live is not None else "labels")
        return ("data", "student", *sorted(extra))

    def run(self, context: StageContext) -> dict[str, Any]:
        import torch

        from potstill.data.dataset import Dataset
        from potstill.models.tools.profile import profile
        from potstill.models.tools.saved import save_model
        from potstill.train import checkpoint
        from potstill.train.loop import Fit, Trainer
        from potstill.train.order import steps_per_pass
        from potstill.train.world import World

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        train = dataset.splits["train"]
        torch.manual_seed(rng.seed_of(self.seed, "init"))
        new = self._student(context, dataset)
        store = self._store(context, dataset)
        steps_per_epoch = steps_per_pass(len(train), self.training.batch_size, World().size)
        trainer = Trainer(
            Fit(
                module=new.module,
                preprocess=new.preprocess,
                task=self.task,
                train=train,
                validation=dataset.splits["validation"],
                classes=dataset.classes,
                rows=labelled_rows(train) if self.rows == "labelled" else None,
                objectives=self.objectives,
                training=self.training,
                augment=self.augment,
                num_steps=self.training.epochs * steps_per_epoch,
                evaluate_every=self.training.evaluate_every * steps_per_epoch,
                seed=self.seed,
                augment_seed=self.augment_seed,
                work=context.work,
                name=context.name,
                fingerprint=context.options.fingerprint(World().size, self.training.precision),
                num_views=self.num_views if store is not None else None,
                store=store,
                teacher=self._live_teacher(context, dataset),
                checkpoint_every_s=context.options.checkpoint_every_s,
                accept_fingerprint=context.options.accept_fingerprint,
                device=context.options.device,
                progress=context.progress,
            )
        )
        facts = trainer.run()
        if trainer.world.rank == 0:
            write_json(context.work / "fit.json", facts)
            save_model(context.work, new.module, self.student, new.io, new.mean, new.std, dataset.classes)
            (context.work / checkpoint.NAME).unlink(missing_ok=True)
            facts |= {
                "profile": profile(new.module, new.io).as_dict(),
                "file_bytes": (context.work / "student.safetensors").stat().st_size,
            }
        return facts

    def _student(self, context: StageContext, dataset: Any) -> Any:
        from potstill.models.tools.build import new_model
        from potstill.models.tools.saved import load_weights

        new = new_model(self.student, data_io(dataset), dataset.mean, dataset.std)
        if "student" in context.inputs:
            load_weights(new.module, context.inputs["student"] / "student.safetensors", "the earlier step's student")
        return new

    def _live_teacher(self, context: StageContext, dataset: Any) -> Any:
        """Return the teacher whose taps are read, None where none is."""
        from potstill.train.features import LiveTeacher

        if self.teacher is None or not _reads_taps(self.objectives):
            return None
        labeller: Any = self.teacher.load(context.inputs["teacher"], data_io(dataset), dataset.mean, dataset.std)
        return LiveTeacher(labeller.module, labeller.preprocess)

    def _store(self, context: StageContext, dataset: Any) -> Any:
        from potstill.labels.live import LiveStore
        from potstill.labels.store import LabelStore

        if not _reads_teacher(self.objectives):
            return None
        if self.live is not None and self.teacher is not None:
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
        # Every byte is verified before the student is published, by whoever runs this stage.
        store = LabelStore.open(context.inputs["labels"], verify=False)
        _check_origin(store, context.inputs, len(dataset.splits["train"]))
        return store


def _reads_teacher(objectives: Sequence[ObjectiveSpec]) -> bool:
    return any(o.needs().teacher != "nothing" for o in objectives)


def _reads_taps(objectives: Sequence[ObjectiveSpec]) -> bool:
    return any(o.needs().taps is not None for o in objectives)


def _check_origin(store: Any, inputs: dict[str, Path], num_rows: int) -> None:
    """The store must have been made from these very pixels; a stale one would train on other rows' labels."""
    made_from = store.manifest["identity"]["data"]
    if made_from != content_digest(inputs["data"]) or store.num_rows != num_rows:
        raise StoreError(
            f"{inputs['labels']}: labels must belong to this data; got labels of data {made_from[:12]} with "
            f"{store.num_rows} rows, and data of {num_rows} rows. Run again without the cache: potstill cache gc --all"
        )


@steps.register
class DistillStep(StepSpec):
    """Train the student on these objectives."""

    kind: Literal["distill"] = "distill"
    objectives: tuple[AnyObjective, ...] = Field(min_length=1)
    """Terms of the training loss, each with its weight."""
    training: TrainSpec = Field(default_factory=TrainSpec)
    """Lengths, optimiser, learning rate; the same for every control."""

    def stage(self, job: StepJob) -> StageSpec:
        control = None if job.control is None else objectives_of(job.control)
        objectives = self.objectives if control is None else control
        reads_teacher, reads_taps = _reads_teacher(objectives), _reads_taps(objectives)
        live = job.labels if reads_teacher and job.labels.mode == "live" else None
        return DistillStage(
            task=job.task,
            student=job.student,
            objectives=objectives,
            training=self.training,
            augment=job.augment,
            rows="all" if reads_teacher or reads_taps else "labelled",
            num_views=job.labels.views if reads_teacher else None,
            live=live,
            teacher=job.teacher if live is not None or reads_taps else None,
            seed=job.seed,
            augment_seed=job.augment_seed,
        )

    def faults(self, job: StepJob) -> list[tuple[tuple[str | int, ...], str]]:
        out: list[tuple[tuple[str | int, ...], str]] = []
        codec = job.labels.codec
        for i, objective in enumerate(self.objectives):
            needs = objective.needs()
            if needs.taps is not None and not job.teacher.tappable:
                allowed = ", ".join(kind for kind, spec in teachers.items() if spec.tappable)
                out.append((("objectives", i, "kind"), f"{objective.kind!r} reads features inside the teacher, and a teacher "
                            f"of kind {job.teacher.kind!r} gives its outputs alone. Use an objective on these, or a teacher "
                            f"that is a torch module here: {allowed}"))  # fmt: skip
            if needs.teacher == "nothing":
                continue
            if objective.dense and not codec.dense:
                allowed = ", ".join(kind for kind, spec in codecs.items() if spec.dense)
                out.append((("objectives", i, "kind"), f"{objective.kind!r} cannot read labels kept as {codec.kind!r}. "
                            f"Set labels.codec to one of: {allowed}"))  # fmt: skip
            if needs.temperatures is None and not codec.serves(0.123456, needs.standardized):
                out.append((("objectives", i), f"its temperature changes over training, which labels kept as "
                            f"{codec.kind!r} cannot serve. Use a constant temperature or another codec"))  # fmt: skip
            for temperature in needs.temperatures or ():
                if not codec.serves(temperature, needs.standardized):
                    out.append((("objectives", i, "temperature"), f"T={temperature} must be declared in "
                                f"labels.codec.temperatures of {codec.kind!r}. Add it there"))  # fmt: skip
        return out
