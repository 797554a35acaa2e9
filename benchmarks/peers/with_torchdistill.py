"""torchdistill: a DistillationBox. Its current version keeps no teacher outputs (earlier ones wrote a file a row): the
teacher runs with every batch.

Needs: pip install torchdistill safetensors (it needs torchvision, and so the torch that fits it).
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import torch
from _job import Clock, Job
from torch.utils.data import RandomSampler
from torchdistill.core.distillation import DistillationBox
from torchdistill.losses.mid_level import KDLoss


def main(folder: Path) -> None:
    """Distil."""
    job, clock = Job(folder), Clock()
    teacher, student = job.teacher(), job.student()
    loss = KDLoss(".", "output", ".", "output", temperature=job.temperature, alpha=0.0, beta=1.0)
    config = {
        "num_epochs": job.epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": {"batch_size": job.batch_size},
        },
        "teacher": {"requires_grad": False, "forward_proc": "forward_batch_only"},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {
            "key": "AdamW",
            "kwargs": {
                "lr": job.job["learning_rate"], "betas": (0.9, 0.999), "fused": True,
                "weight_decay": job.job["weight_decay"],
            },
        },
        "scheduler": {"key": "LambdaLR", "kwargs": {"lr_lambda": job.factor}, "scheduling_step": 1},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}},
        },
    }  # fmt: skip
    box = DistillationBox(
        teacher, student, {"train": job.pictures("train")}, config, torch.device("cpu"), None, False, 1
    )
    for epoch in range(job.epochs):
        box.pre_epoch_process(epoch=epoch)
        for pixels, labels, supplement in box.train_data_loader:
            box.pre_forward_process()
            total = box.forward_process(pixels, labels, supplement)
            box.post_forward_process(loss=total)
        box.post_epoch_process()
    clock.stop()
    clock.report(job.accuracy(student), version=importlib.metadata.version("torchdistill"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
