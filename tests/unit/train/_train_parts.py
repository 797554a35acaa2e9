"""A training of a few steps on tiny data, and ways to stop it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.labels.codecs.float32 import Float32Spec
from potstill.models import ModelSpec
from potstill.models.tools.build import new_model
from potstill.models.torch_module import TorchModuleSpec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.schedules.training import TrainSpec
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.testing import tiny
from potstill.train.features import LiveTeacher
from potstill.train.loop import Fit, Trainer

STEPS = 20
TRAIN, VALIDATION = tiny.split(90, 8, 8, 1, hidden=40), tiny.split(20, 8, 8, 1, hidden=0)
RESTLESS = TorchModuleSpec(factory="potstill.testing.modules:Restless")
BOTH = (HardLabelSpec(weight=0.5), SoftLabelSpec(temperature=2.0))


def make_fit(folder: Path, model: ModelSpec = RESTLESS, training: dict[str, Any] | None = None, **changes: Any) -> Fit:
    """Return a training of 20 steps, evaluated every fifth."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(1)
    new = new_model(model, tiny.IO, tiny.STATS)
    settings = {"batch_size": 16, "learning_rate": 0.02, "warmup": 0.1, **(training or {})}
    return Fit(**{
        "module": new.module, "preprocess": new.preprocess, "task": ImageClassificationSpec(), "train": TRAIN,
        "validation": VALIDATION, "classes": [str(k) for k in range(10)], "rows": np.arange(90), "objectives": BOTH,
        "training": TrainSpec(**settings), "augment": (), "num_steps": STEPS, "evaluate_every": 5, "seed": 3,
        "augment_seed": 5, "work": folder, "name": "training", "fingerprint": {"threads": 1}, "num_views": 1,
        "store": tiny.MemoryStore(tiny.logits(90, 10, seed=8), Float32Spec()), **changes,
    })  # fmt: skip


def live_teacher(model: ModelSpec, seed: int = 9) -> LiveTeacher:
    """Return a teacher with weights as they are drawn."""
    torch.manual_seed(seed)
    new = new_model(model, tiny.IO, tiny.STATS)
    return LiveTeacher(new.module, new.preprocess)


class Killed(Exception):
    """Stands for a process that is gone: nothing is saved after it."""


def run_until(fit: Fit, stop: int, save_at: int | None = None) -> None:
    """Train until `stop` steps are done and leave the checkpoint of `save_at`, the last step where it is None."""
    trainer = Trainer(fit)
    step = trainer._step

    def stopping(number: int) -> Tensor:
        if number == stop:
            raise Killed
        loss = step(number)
        if number + 1 == (stop if save_at is None else save_at):
            trainer.state.step += 1  # as the loop will
            trainer._save()
            trainer.state.step -= 1
        return loss

    trainer._step = stopping  # type: ignore[method-assign]
    try:
        trainer.run()
    except Killed:
        return
    raise AssertionError("it ran to the end")


def state(fit: Fit) -> dict[str, bytes]:
    """Return the bytes of every weight and statistic."""
    return {k: v.contiguous().numpy().tobytes() for k, v in fit.module.state_dict().items()}
