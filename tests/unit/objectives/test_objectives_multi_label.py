"""Losses of several classes a row, against NumPy, and what they are where they meet others. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from potstill.core.errors import ShapeError
from potstill.objectives.multi_label import multi_label
from potstill.objectives.multi_label_soft import multi_label_soft
from potstill.objectives.soft_label import soft_label

RNG = np.random.default_rng(5)
S, T = (RNG.normal(scale=3, size=(6, 4)) for _ in range(2))
FLAGS = (RNG.random((6, 4)) < 0.5).astype(float)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def tensors(*arrays: Any) -> list[torch.Tensor]:
    return [torch.tensor(a, dtype=torch.float64) for a in arrays]


def test_cross_entropy_of_each_class() -> None:
    q = sigmoid(S)
    expected = -(FLAGS * np.log(q) + (1 - FLAGS) * np.log(1 - q)).sum(axis=1)
    np.testing.assert_allclose(multi_label(*tensors(S, FLAGS)).numpy(), expected, rtol=1e-10)


def test_what_is_not_known_counts_nothing() -> None:
    holes = FLAGS.copy()
    holes[0, 1] = holes[2] = np.nan
    found = multi_label(*tensors(S, holes))
    q = sigmoid(S)
    each = -(FLAGS * np.log(q) + (1 - FLAGS) * np.log(1 - q))
    each[0, 1] = each[2] = 0
    np.testing.assert_allclose(found.numpy(), each.sum(axis=1), rtol=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_teachers_yes_or_no(temperature: float) -> None:
    p, q = sigmoid(T / temperature), sigmoid(S / temperature)
    expected = temperature**2 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=1)
    np.testing.assert_allclose(multi_label_soft(*tensors(S, T), temperature).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_one_class_is_the_soft_label_loss_of_two(temperature: float) -> None:
    """sigmoid(z) is the softmax of (z, 0)."""
    s, t = tensors(S[:, :1], T[:, :1])
    two = [torch.cat([x, torch.zeros_like(x)], dim=1) for x in (s, t)]
    expected = soft_label(two[0], two[1], temperature)
    np.testing.assert_allclose(multi_label_soft(s, t, temperature).numpy(), expected.numpy(), rtol=1e-9)


def test_a_sure_teacher_is_the_truth() -> None:
    s, sure = tensors(S, np.where(FLAGS > 0, 60.0, -60.0))
    np.testing.assert_allclose(multi_label_soft(s, sure, 1.0), multi_label(*tensors(S, FLAGS)), rtol=1e-9)


def test_no_gradient_reaches_the_teacher_and_large_logits_stay_finite() -> None:
    s, t = (x.requires_grad_() for x in tensors(S * 1e4, T * 1e4))
    loss = multi_label_soft(s, t, 1.0)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and t.grad is None and torch.isfinite(s.grad).all()


def test_bounds() -> None:
    with pytest.raises(ShapeError, match=r"logits and flags \[B, K\] alike; got \[6, 4\] and \[6, 3\]"):
        multi_label(*tensors(S, FLAGS[:, :3]))
    with pytest.raises(ShapeError, match=r"logits \[B, K\] alike"):
        multi_label_soft(*tensors(S, T[:5]), 1.0)
    for bad in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match=f"temperature={bad}"):
            multi_label_soft(*tensors(S, T), bad)
