"""Cross-entropy with the teacher's argmax. Shapes: B rows, K classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives import Needs
from potstill.objectives.hard_pseudo_label import HardPseudoLabelSpec, hard_pseudo_label


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_matches_the_definition(logits: Any, classes: int) -> None:
    student, teacher = logits(1, classes=classes), logits(2, classes=classes)
    expected = []
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        best = max(range(classes), key=t.__getitem__)
        expected.append(math.log(math.fsum(math.exp(z - s[best]) for z in s)))
    got = hard_pseudo_label(student, teacher)
    assert got.shape == (6,)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-10)


def test_only_the_teachers_order_counts(logits: Any) -> None:
    student, teacher = logits(3), logits(4)
    expected = hard_pseudo_label(student, teacher)
    torch.testing.assert_close(hard_pseudo_label(student, teacher * 100 - 7), expected)
    torch.testing.assert_close(hard_pseudo_label(student, torch.softmax(teacher, dim=1)), expected)


def test_gradcheck_and_no_gradient_for_the_teacher(logits: Any) -> None:
    teacher = logits(5, rows=3, classes=5).requires_grad_()
    student = logits(6, rows=3, classes=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: hard_pseudo_label(s, teacher), student)
    hard_pseudo_label(student, teacher).sum().backward()
    assert teacher.grad is None


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    loss = hard_pseudo_label(student, torch.tensor([[0.0, 0.0, 1e4]]))
    loss.sum().backward()
    assert loss.tolist() == [2e4]
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("shapes", [((4, 3), (4, 5)), ((4,), (4,))])
def test_shapes_that_do_not_fit_are_both_named(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        hard_pseudo_label(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
    assert str(list(shapes[0])) in str(caught.value)
    assert str(list(shapes[1])) in str(caught.value)


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_spec_takes_the_argmax_on_every_row(logits: Any, batch: Any, asked_teacher: Any, output: str) -> None:
    """Whatever the labels say, and in mixed rows too: there the teacher's answer is of the mixed picture."""
    student, values = logits(7), logits(8)
    teacher = asked_teacher(values if output == "logits" else torch.softmax(values, dim=1), output)
    x = batch(
        student,
        [0, -1, 2, -1, 4, 5],
        teacher=teacher,
        partner_labels_B=torch.tensor([1] * 6),
        mix_B=torch.full((6,), 0.5),
    )
    spec = HardPseudoLabelSpec()
    torch.testing.assert_close(spec.loss(x), hard_pseudo_label(student, values))
    assert spec.mask(x) is None
    assert teacher.asked == [(output, 1.0, False)]


def test_logits_that_softmax_would_round_together(batch: Any, asked_teacher: Any) -> None:
    values = torch.tensor([[1e-9, 2e-9]])
    assert torch.softmax(values, dim=1).tolist() == [[0.5, 0.5]]
    student = torch.tensor([[3.0, 0.0]])
    got = HardPseudoLabelSpec().loss(batch(student, teacher=asked_teacher(values)))
    assert got.tolist() == pytest.approx([math.log(1 + math.exp(3))])


def test_needs_and_no_teacher(logits: Any, batch: Any) -> None:
    assert HardPseudoLabelSpec().needs() == Needs(teacher="either", temperatures=(1.0,))
    with pytest.raises(StoreError, match="hard-pseudo-label: needs the teacher's outputs"):
        HardPseudoLabelSpec().loss(batch(logits()))
