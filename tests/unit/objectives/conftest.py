"""What the tests of objectives share: a batch, and a teacher that remembers how it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from potstill.core.errors import StoreError
from potstill.objectives import LossInputs


class AskedTeacher:
    """Teacher rows from a tensor; `asked` lists every reading."""

    def __init__(self, values_BK: Tensor, output: str = "logits") -> None:
        self.values_BK, self.output = values_BK, output
        self.asked: list[tuple[str, float, bool]] = []

    def logits(self, temperature: float = 1.0, standardized: bool = False) -> Tensor:
        self.asked.append(("logits", temperature, standardized))
        if self.output != "logits":
            raise StoreError("labels: needs logits; the store holds probabilities.")
        if not standardized:
            return self.values_BK
        values = self.values_BK.double().numpy()
        mean, std = values.mean(axis=1, keepdims=True), values.std(axis=1, keepdims=True)
        return torch.from_numpy((values - mean) / np.maximum(std, 1e-6)).to(self.values_BK.dtype)

    def probabilities(self) -> Tensor:
        self.asked.append(("probabilities", 1.0, False))
        return torch.softmax(self.values_BK, dim=1) if self.output == "logits" else self.values_BK


@pytest.fixture(scope="session")
def asked_teacher() -> type[AskedTeacher]:
    """The class AskedTeacher."""
    return AskedTeacher


@pytest.fixture(scope="session")
def logits() -> Callable[..., Tensor]:
    """`logits(seed, rows, classes, scale, dtype)` -> [rows, classes], the same for the same arguments."""

    def make(
        seed: int = 0, rows: int = 6, classes: int = 10, scale: float = 3.0, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        return torch.from_numpy(np.random.default_rng(seed).normal(scale=scale, size=(rows, classes))).to(dtype)

    return make


@pytest.fixture(scope="session")
def batch() -> Callable[..., LossInputs]:
    """`batch(student_BK, labels, **fields)` -> LossInputs half-way through training."""

    def make(student_BK: Tensor, labels: list[int] | None = None, **fields: Any) -> LossInputs:
        labels_B = torch.tensor(labels if labels is not None else [-1] * len(student_BK))
        return LossInputs(**{"output": student_BK, "labels_B": labels_B, "progress": 0.5, **fields})

    return make
