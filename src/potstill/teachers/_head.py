"""A head trained on features that somebody else's model gives. Shapes: N rows, F features, K classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from potstill.core import rng
from potstill.core.spec import Spec

if TYPE_CHECKING:
    from torch import nn


class HeadSpec(Spec):
    """How a head is trained: AdamW, cosine learning rate after a short warm-up, no augmentation."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the labelled rows, whose features are computed once."""
    batch_size: int = Field(default=64, ge=1)
    """Rows in one step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate, per step."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decay of weights; biases are left alone."""


def train_head(
    head: nn.Module, features_NF: NDArray[Any], labels_N: NDArray[np.int64], spec: HeadSpec, seed: int
) -> dict[str, Any]:
    """Train a head in place, the same each time for the same seed, and leave it in eval mode.

    Args:
        head: [B, F] -> logits [B, K].
        features_NF: float32.
        labels_N: int64, none missing.
        spec: lengths and rates.
        seed: of the order of rows and of dropout.

    Returns:
        {"loss", "accuracy"} of the last pass over these very rows.
    """
    import torch
    from torch.nn import functional as F  # noqa: N812 - the field's own name

    x, y = torch.from_numpy(np.ascontiguousarray(features_NF)), torch.from_numpy(labels_N)
    weights = [p for p in head.parameters() if p.ndim >= 2]
    others = [p for p in head.parameters() if p.ndim < 2]
    groups = [{"params": weights, "weight_decay": spec.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=spec.learning_rate, fused=True)
    per_pass = math.ceil(len(y) / spec.batch_size)
    total, warm = spec.epochs * per_pass, max(1, per_pass * spec.epochs // 20)
    loss_sum, right, step = 0.0, 0, 0
    head.train()
    for epoch in range(spec.epochs):
        order = torch.from_numpy(rng.permutation(seed, epoch, len(y)))
        loss_sum, right = 0.0, 0
        for rows in torch.split(order, spec.batch_size):
            torch.manual_seed(rng.seed_of(seed, step, "head"))
            rate = min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / total))
            for group in optimizer.param_groups:
                group["lr"] = spec.learning_rate * rate
            logits = head(x[rows])
            loss = F.cross_entropy(logits, y[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += float(loss.detach()) * len(rows)
            right += int((logits.detach().argmax(dim=1) == y[rows]).sum())
            step += 1
    head.eval()
    return {"loss": loss_sum / len(y), "accuracy": right / len(y)}
