"""One distillation as every peer gets it: arrays, weights, settings. Plain torch; nothing of potstill but the layers.

Run by path with the peer's own Python. Shapes: N rows, C channels, H, W pixels, K classes.
"""

from __future__ import annotations

import importlib.util
import json
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

BLOCKS = Path(__file__).resolve().parents[2] / "src" / "potstill" / "models" / "_blocks.py"


def _blocks() -> Any:
    """Load the file of layers by its path: it imports torch only, and the peers then train the very same modules."""
    spec = importlib.util.spec_from_file_location("blocks", BLOCKS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Pictures(Dataset[tuple[Tensor, int]]):
    """One row at a time, as a DataLoader wants it: to float, shift and flip if asked, normalise."""

    def __init__(self, images_NHWC: Any, labels_N: Any, job: dict[str, Any], augment: bool) -> None:
        self.images = torch.from_numpy(np.ascontiguousarray(images_NHWC)).permute(0, 3, 1, 2).contiguous()
        self.labels = labels_N.tolist()
        self.mean = torch.tensor(job["mean"]).view(-1, 1, 1)
        self.std = torch.tensor(job["std"]).view(-1, 1, 1)
        self.augment, self.shift = augment, job["shift"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = self.images[index].float() / 255
        if self.augment:
            n, (height, width) = self.shift, picture.shape[1:]
            top, left = random.randint(0, 2 * n), random.randint(0, 2 * n)
            picture = F.pad(picture, (n, n, n, n))[:, top : top + height, left : left + width]
            if random.random() < 0.5:
                picture = picture.flip(2)
        return (picture - self.mean) / self.std, self.labels[index]


class Job:
    """What a driver reads.

    Args:
        folder: of the job, as throughput.py wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job: dict[str, Any] = json.loads((folder / "job.json").read_text())
        self.epochs, self.batch_size = int(self.job["epochs"]), int(self.job["batch_size"])
        self.temperature, self.augment = float(self.job["temperature"]), bool(self.job["augment"])
        torch.set_num_threads(self.job["threads"])
        torch.manual_seed(self.job["seed"])
        random.seed(self.job["seed"])

    def pictures(self, split: str) -> Pictures:
        """Return "train" (augmented if the job says so) or "test"."""
        images, labels = (np.load(self.folder / f"{split}_{what}.npy") for what in ("images", "labels"))
        return Pictures(images, labels, self.job, self.augment and split == "train")

    def loader(self) -> DataLoader[Any]:
        """Return the training rows in batches, shuffled, in this process."""
        return DataLoader(self.pictures("train"), self.batch_size, shuffle=True)

    def teacher(self) -> nn.Module:
        """Return the teacher: a ResNet-8 of width 16, with its weights."""
        module: nn.Module = _blocks().ResNet(self.job["channels"], self.job["classes"], 1, 16, "projection")
        return self._ready(module, "teacher").eval().requires_grad_(False)

    def student(self) -> nn.Module:
        """Return the student with its first weights: three depthwise-separable blocks of width 16 and 32."""
        b = _blocks()
        first = [*b.conv_bn(self.job["channels"], 16, 3, 2), nn.ReLU(), b.depthwise_separable(16, 32, 2)]
        rest = [b.depthwise_separable(32, 32, 1), b.depthwise_separable(32, 32, 1), b.GlobalMean()]
        return self._ready(nn.Sequential(*first, *rest, nn.Linear(32, self.job["classes"])), "student").train()

    def _ready(self, module: nn.Module, name: str) -> nn.Module:
        module.load_state_dict(load_file(self.folder / f"{name}.safetensors"))
        return module.to(memory_format=torch.channels_last) if self.job["channels_last"] else module

    def groups(self, student: nn.Module) -> list[dict[str, Any]]:
        """Return parameter groups: only weights of two or more dimensions decay."""
        return [
            {"params": [p for p in student.parameters() if p.ndim >= 2], "weight_decay": self.job["weight_decay"]},
            {"params": [p for p in student.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]

    def optimizer(self, student: nn.Module) -> torch.optim.Optimizer:
        """Return fused AdamW."""
        return torch.optim.AdamW(self.groups(student), lr=self.job["learning_rate"], betas=(0.9, 0.999), fused=True)

    def factor(self, step: int) -> float:
        """Return the learning rate's factor: linear warm-up, then half a cosine."""
        steps = self.epochs * math.ceil(self.job["rows"] / self.batch_size)
        warm = int(self.job["warmup"] * steps)
        return (
            (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
        )

    def accuracy(self, student: nn.Module) -> float:
        """Return the share of test rows that the student gets right."""
        student.eval()
        right = 0
        with torch.inference_mode():
            for pixels, labels in DataLoader(self.pictures("test"), 256):
                right += int((student(pixels).argmax(1) == labels).sum())
        return right / self.job["test_rows"]


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def report(self, accuracy: float, **more: Any) -> None:
        """Write the result as one JSON line; the clock stopped at `stop`."""
        found = {**self._seconds, "accuracy": accuracy, "torch": torch.__version__, **more}
        sys.stdout.write(json.dumps(found) + "\n")

    def stop(self) -> None:
        """Stop the clock."""
        self._seconds = {"wall": time.perf_counter() - self._wall, "cpu": time.process_time() - self._cpu}
