"""Optimiser and learning rate from a TrainSpec."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from potstill.schedules.training import TrainSpec


def build_optimizer(spec: TrainSpec, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return AdamW or SGD; only parameters of two or more dimensions decay."""
    trainable = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=(spec.momentum, 0.999), fused=True)
    return torch.optim.SGD(
        groups, lr=spec.learning_rate, momentum=spec.momentum, nesterov=spec.momentum > 0, fused=True
    )


def learning_rate(spec: TrainSpec, step: int, total_steps: int) -> float:
    """Return the learning rate of optimiser step `step` in 0..total_steps-1."""
    warmup_steps = int(spec.warmup * total_steps)
    if step < warmup_steps:
        return spec.learning_rate * (step + 1) / warmup_steps
    share = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if spec.lr_schedule == "cosine":
        return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    if spec.lr_schedule == "linear":
        return spec.learning_rate * (1 - share)
    return spec.learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set every group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = value
