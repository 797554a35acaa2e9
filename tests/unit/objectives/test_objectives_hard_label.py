"""Cross-entropy with labels against a reference in plain Python. Shapes: B rows, K classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from potstill.core.errors import ShapeError
from potstill.objectives import Needs
from potstill.objectives.hard_label import HardLabelSpec, hard_label

LABELS = [0, 3, -1, 9, 3, -1]


def reference(logits_BK: Tensor, labels: list[int], smoothing: float) -> NDArray[Any]:
    """−Σ target ln q with target (1 − s) one-hot + s / K, a row at a time; 0 where the label is −1."""
    out = []
    for row, label in zip(logits_BK.tolist(), labels, strict=True):
        top = max(row)
        total = math.log(math.fsum(math.exp(z - top) for z in row))
        target = [smoothing / len(row) + (1 - smoothing) * (k == label) for k in range(len(row))]
        out.append(0.0 if label < 0 else -math.fsum(t * (z - top - total) for t, z in zip(target, row, strict=True)))
    return np.array(out)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_matches_the_definition(logits: Any, smoothing: float) -> None:
    student = logits(1)
    got = hard_label(student, torch.tensor(LABELS), smoothing)
    assert got.shape == (6,)
    np.testing.assert_allclose(got.numpy(), reference(student, LABELS, smoothing), rtol=1e-12)
    single = hard_label(student.float(), torch.tensor(LABELS), smoothing)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), got.numpy(), rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 1000])
def test_uniform_logits_give_the_logarithm_of_k(classes: int) -> None:
    for smoothing in (0.0, 0.3):
        got = hard_label(torch.zeros(2, classes, dtype=torch.float64), torch.tensor([0, classes - 1]), smoothing)
        np.testing.assert_allclose(got.numpy(), math.log(classes), rtol=1e-12)


def test_agrees_with_torch(logits: Any) -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, 9])
    for smoothing in (0.0, 0.2):
        expected = torch.nn.functional.cross_entropy(logits(2), labels, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(hard_label(logits(2), labels, smoothing), expected)


def test_shift_changes_nothing(logits: Any) -> None:
    labels = torch.tensor(LABELS)
    torch.testing.assert_close(hard_label(logits(3) + 21, labels, 0.1), hard_label(logits(3), labels, 0.1))


def test_smoothed_loss_is_least_at_the_smoothed_target() -> None:
    target = torch.tensor([[0.9 + 0.1 / 4, 0.1 / 4, 0.1 / 4, 0.1 / 4]], dtype=torch.float64)
    logits = torch.log(target).requires_grad_()
    hard_label(logits, torch.tensor([0]), 0.1).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradcheck(logits: Any, smoothing: float) -> None:
    labels = torch.tensor([0, -1, 4])
    student = logits(4, rows=3, classes=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: hard_label(s, labels, smoothing), student)


def test_rows_without_a_label_move_nothing(logits: Any) -> None:
    student = logits(5).requires_grad_()
    hard_label(student, torch.tensor(LABELS), 0.1).sum().backward()
    assert student.grad is not None
    moved = student.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == [label >= 0 for label in LABELS]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("classes", [2, 1000])
def test_extreme_logits_stay_finite(classes: int, smoothing: float) -> None:
    student = torch.zeros(3, classes)
    student[:, 0] = torch.tensor([1e4, -1e4, 1e4])
    student.requires_grad_()
    loss = hard_label(student, torch.tensor([1, 0, -1]), smoothing)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert (loss >= 0).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("shapes", [((4, 3), (3,)), ((4, 3), (4, 1)), ((4,), (4,)), ((2, 2, 2), (2,))])
def test_shapes_that_do_not_fit_are_both_named(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        hard_label(torch.zeros(shapes[0]), torch.zeros(shapes[1], dtype=torch.int64))
    assert str(list(shapes[0])) in str(caught.value)
    assert str(list(shapes[1])) in str(caught.value)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0, math.nan])
def test_smoothing_out_of_bounds(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\); got smoothing="):
        hard_label(torch.zeros(1, 2), torch.tensor([0]), smoothing)
    with pytest.raises(ValidationError, match="smoothing"):
        HardLabelSpec(smoothing=smoothing)


@pytest.mark.parametrize("label", [10, 1000])
def test_a_label_beyond_the_classes_is_an_error(logits: Any, label: int) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        hard_label(logits(), torch.tensor([label] * 6))


def test_spec_masks_rows_without_a_label(logits: Any, batch: Any) -> None:
    x = batch(logits(6).float(), LABELS)
    spec = HardLabelSpec(smoothing=0.1)
    np.testing.assert_allclose(spec.loss(x).numpy(), reference(x.logits_BK, LABELS, 0.1), rtol=1e-5)
    mask = spec.mask(x)
    assert mask.dtype == torch.float32
    assert mask.tolist() == [1, 1, 0, 1, 1, 0]


def test_spec_mixes_both_labels(logits: Any, batch: Any) -> None:
    own, partner = [0, 3, -1, 9, 3, -1], [5, 3, 1, -1, 0, -1]
    mix = [0.25, 0.5, 0.3, 0.9, 1.0, 0.5]
    x = batch(logits(7), own, partner_labels_B=torch.tensor(partner), mix_B=torch.tensor(mix, dtype=torch.float64))
    spec = HardLabelSpec(smoothing=0.1)
    a, b = reference(x.logits_BK, own, 0.1), reference(x.logits_BK, partner, 0.1)
    expected = np.array(mix) * a + (1 - np.array(mix)) * b
    mask = spec.mask(x)
    assert mask.tolist() == [1, 1, 0, 0, 1, 0]
    kept = mask.numpy() > 0
    np.testing.assert_allclose(spec.loss(x).numpy()[kept], expected[kept], rtol=1e-12)


def test_mixing_labels_is_mixing_targets(logits: Any, batch: Any) -> None:
    """Zhang et al. 2018, arXiv:1710.09412: cross-entropy is linear in its target."""
    student = logits(8)
    x = batch(
        student, [0, 1, 2, 3, 4, 5], partner_labels_B=torch.tensor([5, 4, 3, 2, 1, 0]), mix_B=torch.full((6,), 0.3)
    )
    target = 0.3 * torch.eye(10)[x.labels_B] + 0.7 * torch.eye(10)[x.partner_labels_B]
    expected = -(target * torch.log_softmax(student, dim=1)).sum(dim=1)
    torch.testing.assert_close(HardLabelSpec().loss(x), expected, rtol=1e-6, atol=1e-6)


def test_needs() -> None:
    assert HardLabelSpec().needs() == Needs(labels=True)
