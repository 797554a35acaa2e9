"""Our trainer against a bare PyTorch loop that shares no code with it but the batches: the same weights after 20 steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from potstill.core.samples import DataStats
from potstill.data.augment import make_batch
from potstill.data.augment.mixup import MixupSpec
from potstill.data.augment.shift import ShiftSpec
from potstill.labels.codecs.float32 import Float32Spec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.tools.build import NewModel, new_model
from potstill.models.torch_module import TorchModuleSpec
from potstill.objectives import ObjectiveSpec
from potstill.objectives.dist import DistSpec
from potstill.objectives.dkd import DkdSpec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.hard_pseudo_label import HardPseudoLabelSpec
from potstill.objectives.logit_mse import LogitMseSpec
from potstill.objectives.nkd import NkdSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.objectives.wttm import WttmSpec
from potstill.schedules.linear import LinearSpec
from potstill.schedules.training import TrainSpec
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.testing import tiny
from potstill.train.loop import Fit, Trainer
from potstill.train.order import Order

STEPS, BATCH, SEED, MEAN, STD = 20, 24, 3, (0.4,), (0.3,)
TRAIN, VALIDATION = tiny.split(100, 8, 8, 1, hidden=40), tiny.split(20, 8, 8, 1, hidden=0)
TEACHER = tiny.logits(100, 10, seed=8)
AUGMENT = (ShiftSpec(pixels=1),)
PLAIN = "potstill.testing.modules:Plain"

Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""(student logits, teacher logits, labels, progress) -> loss."""


@dataclass(frozen=True)
class Bare:
    """What the bare loop is told, in its own words."""

    loss: Loss
    optimizer: str = "sgd"
    lr: float = 0.02
    decay: float = 0.05
    decay_all: bool = False
    momentum: float = 0.9
    nesterov: bool = True
    warmup_steps: int = 0
    schedule: str = "constant"
    clip: float | None = None
    ema: float | None = None
    batches: dict[str, Any] = field(default_factory=dict)


def student(optimizer: str) -> NewModel:
    """Return a convolutional net with BatchNorm; for AdamW, which turns the rounding of a gradient near 0 into a whole
    step, one without."""
    torch.manual_seed(1)
    spec = DsCnnSpec(width=6, depth=2, downsample=1) if optimizer == "sgd" else TorchModuleSpec(factory=PLAIN)
    return new_model(spec, tiny.IO, DataStats(MEAN, STD))


def bare_loop(told: Bare) -> dict[str, Tensor]:
    """Return the weights and statistics after 20 steps; the average of them where there is one."""
    new = student(told.optimizer)
    module: Any = new.module
    decayed = [p for p in module.parameters() if told.decay_all or p.ndim > 1]
    plain = [p for p in module.parameters() if not (told.decay_all or p.ndim > 1)]
    groups = [{"params": decayed, "weight_decay": told.decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    if told.optimizer == "adamw":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=told.lr, betas=(told.momentum, 0.999))
    else:
        optimizer = torch.optim.SGD(groups, lr=told.lr, momentum=told.momentum, nesterov=told.nesterov)
    average = {k: v.clone() for k, v in module.state_dict().items()}
    order = Order(np.arange(100), BATCH, SEED)
    for step in range(STEPS):
        number, rows = order.at(step)
        batch = make_batch(
            TRAIN, rows, number if told.batches.get("new_views") else 0, told.batches.get("augment", AUGMENT), 5
        )
        pixels = (batch.inputs_BX - MEAN[0]) / STD[0]
        # In our layout: another one rounds otherwise, and on some processors 20 steps make more of it than the tolerance.
        logits = module(pixels.contiguous(memory_format=new.preprocess.memory_format))
        labels = batch if batch.mix_B is not None else batch.labels_B
        loss = told.loss(logits, torch.from_numpy(TEACHER[rows]), labels, step / STEPS)  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if told.clip is not None:
            norm = math.sqrt(
                sum(float(p.grad.double().square().sum()) for p in module.parameters() if p.grad is not None)
            )
            for p in module.parameters():
                assert p.grad is not None
                p.grad.mul_(min(1.0, told.clip / norm))
        for group in optimizer.param_groups:
            group["lr"] = told.lr * factor(told, step)
        optimizer.step()
        if told.ema is not None:
            kept = min(told.ema, (1 + step) / (10 + step))
            for k, v in module.state_dict().items():
                average[k] = kept * average[k] + (1 - kept) * v if v.is_floating_point() else v.clone()
    return average if told.ema is not None else module.state_dict()


def factor(told: Bare, step: int) -> float:
    if step < told.warmup_steps:
        return (step + 1) / told.warmup_steps
    done = (step - told.warmup_steps) / (STEPS - told.warmup_steps)
    return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[told.schedule]


def ours(folder: Path, objectives: list[ObjectiveSpec], **settings: Any) -> dict[str, Tensor]:
    new = student(settings.get("optimizer", "sgd"))
    extra = {k: settings.pop(k) for k in ("augment", "num_views", "store") if k in settings}
    defaults = {"optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 0.05, "warmup": 0, "lr_schedule": "constant"}
    training = TrainSpec(**{"batch_size": BATCH, **defaults, **settings})
    fit = Fit(**{
        "module": new.module, "preprocess": new.preprocess, "task": ImageClassificationSpec(), "train": TRAIN,
        "validation": VALIDATION, "classes": [str(k) for k in range(10)], "rows": np.arange(100), "objectives": objectives,
        "training": training, "augment": AUGMENT, "num_steps": STEPS, "evaluate_every": 7, "seed": SEED, "augment_seed": 5,
        "work": folder, "name": "parity", "fingerprint": {}, "num_views": 1,
        "store": tiny.MemoryStore(TEACHER, Float32Spec()), **extra,
    })  # fmt: skip
    Trainer(fit).run()
    return new.module.state_dict()


def difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the largest difference of a weight; counters must be equal."""
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a if not a[k].is_floating_point())
    return max(float((a[k] - b[k]).abs().max()) for k in a if a[k].is_floating_point())


def hard(z: Tensor, t: Tensor, labels: Tensor, progress: float) -> Tensor:
    return F.cross_entropy(z, labels, ignore_index=-1)


def smoothed(z: Tensor, t: Tensor, labels: Tensor, progress: float) -> Tensor:
    return F.cross_entropy(z, labels, ignore_index=-1, label_smoothing=0.1)


def soft(temperature: float, with_t2: bool = True) -> Loss:
    def loss(z: Tensor, t: Tensor, labels: Tensor, progress: float) -> Tensor:
        p, q = F.softmax(t / temperature, dim=1), F.log_softmax(z / temperature, dim=1)
        return F.kl_div(q, p, reduction="batchmean") * (temperature**2 if with_t2 else 1)

    return loss


def standardised(z: Tensor, t: Tensor, labels: Tensor, progress: float) -> Tensor:
    z, t = ((v - v.mean(1, keepdim=True)) / v.std(1, correction=0, keepdim=True) for v in (z, t))
    return soft(2.0)(z, t, labels, progress)


def targets(t: Tensor, labels: Tensor) -> Tensor:
    """Return [B, K] bool, true at the label; at the teacher's argmax where a row has none."""
    return F.one_hot(torch.where(labels < 0, t.argmax(1), labels), t.shape[1]).bool()


def decoupled(z: Tensor, t: Tensor, labels: Tensor, progress: float) -> Tensor:
    """alpha 1, beta 8, T 4, warmed up from a twentieth over the first twelfth."""
    hot = targets(t, labels)
    p, q = F.softmax(t / 4, dim=1), F.softmax(z / 4, dim=1)
    pairs = [torch.stack([v[hot], 1 - v[hot]], dim=1) for v in (p, q)]
    others = [v[~hot].reshape(len(v), -1) / (1 - v[hot])[:, None] for v in (p, q)]
    parts = [F.kl_div(b.log(), a, reduction="batchmean") for a, b in (pairs, others)]
    return min(1.0, 0.05 + 0.95 * 12 * progress) * 16 * (parts[0] + 8 * parts[1])


def normalised(z: Tensor, t: Tensor, labels: Tensor, progress: float) -> Tensor:
    hot = targets(t, labels)
    first = -F.softmax(t, dim=1)[hot] * F.log_softmax(z, dim=1)[hot]
    return first.mean() + 1.5 * F.cross_entropy(
        z[~hot].reshape(len(z), -1), F.softmax(t[~hot].reshape(len(t), -1), dim=1)
    )


def correlated(z: Tensor, t: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Pearson's correlation as torch computes it: of the rows of a matrix of two."""
    p, q = F.softmax(t, dim=1), F.softmax(z, dim=1)
    rows, columns = (torch.stack([torch.corrcoef(torch.stack(ab))[0, 1] for ab in pairs])
                     for pairs in (zip(p, q, strict=True), zip(p.T, q.T, strict=True)))  # fmt: skip
    return 2 - rows.mean() - columns.mean()


def transformed(z: Tensor, t: Tensor, labels: Tensor, progress: float) -> Tensor:
    power = F.softmax(t, dim=1) ** 0.25
    return (power * (power / power.sum(1, keepdim=True)).log() - power * F.log_softmax(z, dim=1)).sum() / len(z)


def falling(z: Tensor, t: Tensor, labels: Tensor, progress: float) -> Tensor:
    return (0.2 + 0.6 * progress) * hard(z, t, labels, progress) + 0.5 * soft(6 - 4 * progress)(z, t, labels, progress)


def mixed(z: Tensor, t: Tensor, batch: Any, progress: float) -> Tensor:
    both = (batch.labels_B >= 0) & (batch.partner_labels_B >= 0)
    target = batch.mix_B[both, None] * F.one_hot(batch.labels_B[both], 10)
    target = target + (1 - batch.mix_B[both, None]) * F.one_hot(batch.partner_labels_B[both], 10)
    return F.cross_entropy(z[both], target)


CASES: dict[str, tuple[list[ObjectiveSpec], dict[str, Any], Bare]] = {
    "hard-label": ([HardLabelSpec()], {}, Bare(hard)),
    "smoothing": ([HardLabelSpec(smoothing=0.1)], {}, Bare(smoothed)),
    "soft-label": ([SoftLabelSpec(temperature=4.0)], {}, Bare(soft(4.0))),
    "standardised": ([SoftLabelSpec(temperature=2.0, standardize=True)], {}, Bare(standardised)),
    "logit-mse": ([LogitMseSpec()], {}, Bare(lambda z, t, y, p: 0.5 * F.mse_loss(z, t, reduction="sum") / len(z))),
    "pseudo-label": ([HardPseudoLabelSpec()], {}, Bare(lambda z, t, y, p: F.cross_entropy(z, t.argmax(1)))),
    "dkd": ([DkdSpec()], {"learning_rate": 0.002}, Bare(decoupled, lr=0.002)),
    "nkd": ([NkdSpec()], {}, Bare(normalised)),
    "dist": ([DistSpec()], {}, Bare(correlated)),
    "wttm": ([WttmSpec()], {}, Bare(transformed)),
    "falling": (
        [HardLabelSpec(weight=LinearSpec(start=0.2, end=0.8)), SoftLabelSpec(weight=0.5, temperature=LinearSpec(start=6, end=2))],
        {}, Bare(falling),
    ),
    "mixup": ([HardLabelSpec()], {"augment": (MixupSpec(alpha=1.0),)}, Bare(mixed, batches={"augment": (MixupSpec(alpha=1.0),)})),
    "new views": ([HardLabelSpec()], {"num_views": None}, Bare(hard, batches={"new_views": True})),
    "adamw": ([HardLabelSpec()], {"optimizer": "adamw"}, Bare(hard, "adamw")),
    "no momentum": ([HardLabelSpec()], {"momentum": 0}, Bare(hard, momentum=0, nesterov=False)),
    "clipped": ([SoftLabelSpec(temperature=4.0)], {"clip_norm": 0.5}, Bare(soft(4.0), clip=0.5)),
    "averaged": ([HardLabelSpec()], {"ema": 0.5}, Bare(hard, ema=0.5)),
    "cosine": ([HardLabelSpec()], {"warmup": 0.25, "lr_schedule": "cosine"}, Bare(hard, warmup_steps=5, schedule="cosine")),
    "linear": ([HardLabelSpec()], {"lr_schedule": "linear"}, Bare(hard, schedule="linear")),
    "everything": (
        [HardLabelSpec(weight=0.3), SoftLabelSpec(temperature=4.0, weight=0.7)],
        {"optimizer": "adamw", "clip_norm": 0.5, "ema": 0.9, "warmup": 0.1, "lr_schedule": "cosine"},
        Bare(lambda z, t, y, p: 0.3 * hard(z, t, y, p) + 0.7 * soft(4.0)(z, t, y, p), "adamw", clip=0.5, ema=0.9, warmup_steps=2,
             schedule="cosine"),
    ),
}  # fmt: skip
TOLERANCE = 5e-6


@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_end_in_the_same_weights(tmp_path: Path, case: str) -> None:
    objectives, settings, told = CASES[case]
    found = ours(tmp_path, objectives, **settings)
    assert difference(found, bare_loop(told)) < TOLERANCE
    assert moved(found, told) > 1000 * TOLERANCE, "nothing was trained"


def moved(found: dict[str, Tensor], told: Bare) -> float:
    """Return the largest change of a parameter from its initial value."""
    start = dict(student(told.optimizer).module.named_parameters())
    return max(float((found[k] - v.detach()).abs().max()) for k, v in start.items())


@pytest.mark.parametrize(
    ("case", "other"),
    [
        ("hard-label", Bare(hard, decay_all=True)),
        ("hard-label", Bare(hard, decay=0.0)),
        ("hard-label", Bare(hard, nesterov=False)),
        ("smoothing", Bare(hard)),
        ("soft-label", Bare(soft(4.0, with_t2=False))),
        ("adamw", Bare(hard, "adamw", decay_all=True)),
        ("adamw", Bare(hard, "adamw", decay=0.0)),
        ("clipped", Bare(soft(4.0), clip=0.51)),
        ("averaged", Bare(hard, ema=0.51)),
        ("cosine", Bare(hard, warmup_steps=4, schedule="cosine")),
        ("linear", Bare(hard, schedule="cosine")),
        ("new views", Bare(hard)),
    ],
)
def test_a_loop_that_differs_in_one_thing_is_told_apart(tmp_path: Path, case: str, other: Bare) -> None:
    objectives, settings, _ = CASES[case]
    assert difference(ours(tmp_path, objectives, **settings), bare_loop(other)) > 20 * TOLERANCE
