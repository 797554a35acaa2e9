"""NVIDIA ModelOpt: teacher and student in one meta-model, the user's own loop. It keeps no teacher outputs: the teacher
runs with every batch.

Needs: pip install torch==2.13.0 nvidia-modelopt requests huggingface_hub (it imports the last two without asking for them).
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import modelopt.torch.distill as mtd
import torch
from _job import Clock, Job


class Whole(torch.nn.Module):
    """A student that is not a bare Sequential, which would run the teacher and the losses as further layers: ModelOpt
    makes both of them the student's children."""

    def __init__(self, layers: torch.nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, K]."""
        out: torch.Tensor = self.layers(pixels)
        return out


def main(folder: Path) -> None:
    """Distil."""
    job, clock = Job(folder), Clock()
    config = {
        "teacher_model": job.teacher,
        "criterion": mtd.LogitsDistillationLoss(job.temperature, "batchmean"),
    }
    model = mtd.convert(Whole(job.student()), mode=[("kd_loss", config)])
    optimizer = job.optimizer(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, job.factor)
    loader = job.loader()
    model.train()
    for _ in range(job.epochs):
        for pixels, _labels in loader:
            optimizer.zero_grad()
            model(pixels)
            model.compute_kd_loss().backward()
            optimizer.step()
            schedule.step()
    student = mtd.export(model)
    clock.stop()
    clock.report(job.accuracy(student), version=importlib.metadata.version("nvidia-modelopt"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
