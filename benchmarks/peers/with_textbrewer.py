"""TextBrewer: BasicDistiller. Without augmentation it keeps batches and teacher logits in memory (is_caching_logits); with
augmentation that would freeze the pictures too, so the teacher runs with every batch.

Needs: pip install torch==2.13.0 textbrewer tensorboard
"""

from __future__ import annotations

import importlib.metadata
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from _job import Clock, Job
from textbrewer import BasicDistiller, DistillationConfig, TrainingConfig


def main(folder: Path) -> None:
    """Distil."""
    job, clock = Job(folder), Clock()
    student = job.student()
    optimizer = job.optimizer(student)
    with tempfile.TemporaryDirectory() as out:
        distiller = BasicDistiller(
            TrainingConfig(device="cpu", output_dir=out, ckpt_frequency=1, ckpt_epoch_frequency=job.epochs),
            DistillationConfig(
                temperature=job.temperature, kd_loss_type="ce", kd_loss_weight=job.temperature**2, hard_label_weight=0,
                is_caching_logits=not job.augment,
            ),
            job.teacher(), student, logits, logits,
        )  # fmt: skip
        with distiller:
            distiller.train(
                optimizer, job.loader(), num_epochs=job.epochs, callback=None, batch_postprocessor=lambda batch: batch[:1],
                scheduler_class=torch.optim.lr_scheduler.LambdaLR, scheduler_args={"lr_lambda": job.factor},
            )  # fmt: skip
    clock.stop()
    clock.report(job.accuracy(student), version=importlib.metadata.version("textbrewer"))


def logits(_batch: Any, outputs: torch.Tensor) -> dict[str, tuple[torch.Tensor, ...]]:
    """Say which of a model's outputs are logits."""
    return {"logits": (outputs,)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
