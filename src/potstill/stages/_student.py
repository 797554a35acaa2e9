"""What every training of a student has: its settings, the student, its rows, and what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from potstill.core import rng
from potstill.core.artifact import content_digest
from potstill.core.atomic import write_json
from potstill.core.errors import StoreError
from potstill.data.augment import AnyAugment
from potstill.models import AnyModel, ModelSpec
from potstill.objectives import ObjectiveSpec
from potstill.schedules.training import TrainSpec
from potstill.stages._base import StageContext, StageSpec
from potstill.stages._parts import data_io
from potstill.tasks import AnyTask

FEATURES = "features:"
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
        """Return the training of a module that `new_student` gave, on these objectives; `reads` are the Fit's rows, store,
        teacher and shares."""
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
        save_model(context.work, new.module, new.spec, new.data_io, dataset.classes, new.sizes)
        (context.work / checkpoint.NAME).unlink(missing_ok=True)
        return facts | {
            "profile": profile(new.module, new.io).as_dict(),
            "file_bytes": (context.work / "student.safetensors").stat().st_size,
        }

    def new_student(self, context: StageContext, dataset: Any) -> Any:
        """Return the student with its initial weights, or as an earlier step left it; the same each time."""
        return begun(self.student, self.seed, dataset, context.inputs.get("student"))

    def stored_labels(self, context: StageContext, dataset: Any) -> Any:
        """Return the label store; every byte is verified before the student is published, by whoever runs this stage."""
        return self.rows_of(context, dataset, "labels")

    def rows_of(self, context: StageContext, dataset: Any, name: str) -> Any:
        """Return the store that an input is, made of this very data; its bytes are verified as those of the labels."""
        from potstill.labels.store import LabelStore

        store = LabelStore.open(context.inputs[name], verify=False)
        _check_origin(store, context.inputs, name, len(dataset.splits["train"]))
        return store


def begun(student: ModelSpec, seed: int, dataset: Any, folder: Path | None) -> Any:
    """Return the NewModel that a step begins with: what an earlier one left in `folder`, pruned if it was, or a new one."""
    import torch

    from potstill.models.tools.build import NewModel, new_model
    from potstill.models.tools.saved import load_model

    if folder is not None:
        found = load_model(folder)
        return NewModel(found.module.train(), found.preprocess, found.spec, found.data_io, found.sizes)
    torch.manual_seed(rng.seed_of(seed, "init"))
    return new_model(student, data_io(dataset), dataset.stats)


def _check_origin(store: Any, inputs: dict[str, Path], name: str, num_rows: int) -> None:
    """The store must have been made from these very pixels, of this very place; else it would teach other rows or things."""
    origin = store.manifest["identity"]
    if origin["data"] != content_digest(inputs["data"]) or store.num_rows != num_rows:
        raise StoreError(
            f"{inputs[name]}: {name} must belong to this data; got those of data {origin['data'][:12]} with "
            f"{store.num_rows} rows, and data of {num_rows} rows. Run again without the cache: potstill cache gc --all"
        )
    if origin.get("place") != (name.removeprefix(FEATURES) if name.startswith(FEATURES) else None):
        raise StoreError(
            f"{inputs[name]}: must be {name}; got those of place {origin.get('place')!r}. Run again without the cache: "
            "potstill cache gc --all"
        )
