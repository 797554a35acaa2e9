"""One supervised training of a zoo model, as a teacher's `fit` asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from potstill.core import rng
from potstill.core.atomic import write_json
from potstill.data.augment import AugmentSpec
from potstill.data.dataset import Dataset
from potstill.models import ModelIO, ModelSpec
from potstill.schedules.training import TrainSpec
from potstill.stages._base import StageContext
from potstill.stages._controls import supervised as on_truth
from potstill.stages._parts import data_io, labelled_rows
from potstill.tasks import TaskSpec


def supervised(
    context: StageContext, dataset: Dataset, task: TaskSpec, augment: Sequence[AugmentSpec], augment_seed: int
) -> Callable[[ModelSpec, TrainSpec, Path, int, str], None]:
    """Return the function (model, training, folder, seed, labels) that trains on the truth alone and saves the model."""
    import torch

    from potstill.models.tools.build import new_model
    from potstill.models.tools.saved import save_model
    from potstill.train import checkpoint
    from potstill.train.loop import Fit, Trainer
    from potstill.train.order import steps_per_pass
    from potstill.train.world import World

    def fit(model: ModelSpec, training: TrainSpec, folder: Path, seed: int, labels: str) -> None:
        if (folder / "student.json").exists():  # killed after it was saved
            (folder / checkpoint.NAME).unlink(missing_ok=True)
            return
        io: ModelIO = data_io(dataset)
        train, validation = dataset.splits["train"], dataset.splits["validation"]
        torch.manual_seed(rng.seed_of(seed, "init"))
        new = new_model(model, io, dataset.stats)
        if labels == "all":
            rows = np.flatnonzero(np.asarray(train.labels) >= 0).astype(np.int64)
        else:
            rows = labelled_rows(train)
        steps_per_epoch = steps_per_pass(len(rows), training.batch_size, World().size)
        trainer = Trainer(
            Fit(
                module=new.module,
                preprocess=new.preprocess,
                task=task,
                train=train,
                validation=validation,
                classes=dataset.classes,
                rows=rows,
                objectives=[on_truth(task.output)],
                training=training,
                augment=augment,
                num_steps=training.epochs * steps_per_epoch,
                evaluate_every=training.evaluate_every * steps_per_epoch,
                seed=seed,
                augment_seed=augment_seed,
                work=folder,
                name=f"{context.name} ({model.kind})",
                fingerprint=context.options.fingerprint(World().size, training.precision),
                reveal=labels == "all",
                checkpoint_every_s=context.options.checkpoint_every_s,
                accept_fingerprint=context.options.accept_fingerprint,
                device=context.options.device,
                progress=context.progress,
            )
        )
        facts = trainer.run()
        if trainer.world.rank == 0:
            write_json(folder / "fit.json", facts)
            save_model(folder, new.module, new.spec, io, dataset.classes)
            (folder / checkpoint.NAME).unlink(missing_ok=True)

    return fit
