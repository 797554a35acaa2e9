"""Logit matching against a reference in plain Python. Shapes: B rows, K classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives import Needs
from potstill.objectives.logit_mse import LogitMseSpec, logit_mse


def reference(student_BK: Tensor, teacher_BK: Tensor, centre: bool) -> NDArray[Any]:
    """½ Σ (z − v)², a row at a time."""
    out = []
    for s, t in zip(student_BK.tolist(), teacher_BK.tolist(), strict=True):
        shift = (math.fsum(s) - math.fsum(t)) / len(s) if centre else 0.0
        out.append(0.5 * math.fsum((a - b - shift) ** 2 for a, b in zip(s, t, strict=True)))
    return np.array(out)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_matches_the_definition(logits: Any, classes: int, centre: bool) -> None:
    student, teacher = logits(1, classes=classes), logits(2, classes=classes) + 4
    got = logit_mse(student, teacher, centre)
    assert got.shape == (6,)
    np.testing.assert_allclose(got.numpy(), reference(student, teacher, centre), rtol=1e-12)
    single = logit_mse(student.float(), teacher.float(), centre)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), got.numpy(), rtol=1e-5)


def test_worked_by_hand() -> None:
    """(1, 2) against (4, 6): ½ (9 + 16), summed over classes, not averaged. Centred: ½ (½² + ½²)."""
    student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 6.0]])
    assert logit_mse(student, teacher).tolist() == [12.5]
    assert logit_mse(student, teacher, centre=True).tolist() == [0.25]


def test_zero_where_equal_and_only_there(logits: Any) -> None:
    teacher = logits(3)
    assert logit_mse(teacher, teacher).tolist() == [0] * 6
    assert logit_mse(teacher + 2, teacher).min() > 1
    assert logit_mse(teacher + 2, teacher, centre=True).max() < 1e-20


def test_gradient_is_the_difference(logits: Any) -> None:
    student, teacher = logits(4).requires_grad_(), logits(5).requires_grad_()
    logit_mse(student, teacher).sum().backward()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (student - teacher).detach())
    assert teacher.grad is None


@pytest.mark.parametrize("centre", [False, True])
def test_gradcheck(logits: Any, centre: bool) -> None:
    student, teacher = logits(6, rows=3, classes=5).requires_grad_(), logits(7, rows=3, classes=5)
    assert torch.autograd.gradcheck(lambda s: logit_mse(s, teacher, centre), student)


@pytest.mark.parametrize("centre", [False, True])
def test_extreme_logits_stay_finite(centre: bool) -> None:
    student = torch.full((2, 1000), 1e4, requires_grad=True)
    teacher = torch.full((2, 1000), -1e4)
    loss = logit_mse(student, teacher, centre)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("shapes", [((4, 3), (4, 1)), ((4, 3), (1, 3)), ((4,), (4,))])
def test_shapes_that_do_not_fit_are_both_named(shapes: tuple[tuple[int, ...], ...]) -> None:
    """Those that would broadcast, too."""
    with pytest.raises(ShapeError) as caught:
        logit_mse(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
    assert str(list(shapes[0])) in str(caught.value)
    assert str(list(shapes[1])) in str(caught.value)


@pytest.mark.parametrize("centre", [False, True])
def test_spec(logits: Any, batch: Any, asked_teacher: Any, centre: bool) -> None:
    student, teacher = logits(8), asked_teacher(logits(9) + 1)
    spec = LogitMseSpec(centre=centre)
    x = batch(student, teacher=teacher)
    np.testing.assert_allclose(spec.loss(x).numpy(), reference(student, teacher.values_BK, centre), rtol=1e-12)
    assert spec.mask(x) is None
    assert teacher.asked == [("logits", 1.0, False)]
    assert spec.needs() == Needs(teacher="logits", temperatures=(1.0,))


def test_a_store_without_the_rest_of_the_logits_is_not_accepted() -> None:
    assert LogitMseSpec.dense


def test_without_a_teacher_or_with_probabilities(logits: Any, batch: Any, asked_teacher: Any) -> None:
    with pytest.raises(StoreError, match="logit-mse: needs the teacher's outputs"):
        LogitMseSpec().loss(batch(logits()))
    with pytest.raises(StoreError, match="probabilities"):
        LogitMseSpec().loss(batch(logits(), teacher=asked_teacher(torch.softmax(logits(), dim=1), "probabilities")))
