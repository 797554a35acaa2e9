"""Normalised distillation against a reference in plain Python. Shapes: B rows, K classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives import Needs
from potstill.objectives.nkd import NkdSpec, nkd

LABELS = [0, 3, -1, 2, -1, 1]


def softmax(row: list[float]) -> list[float]:
    exp = [math.exp(z - max(row)) for z in row]
    return [e / math.fsum(exp) for e in exp]


def reference(
    student_BK: Tensor, teacher_BK: Tensor, labels: list[int], gamma: float, temperature: float
) -> NDArray[Any]:
    """-p_t ln q_t - gamma T² Σ p^ ln q^, a row at a time."""
    out = []
    for s, t, label in zip(student_BK.tolist(), teacher_BK.tolist(), labels, strict=True):
        target = label if label >= 0 else t.index(max(t))
        first = -softmax(t)[target] * math.log(softmax(s)[target])
        p, q = (softmax([z / temperature for k, z in enumerate(row) if k != target]) for row in (t, s))
        second = -math.fsum(a * math.log(b) for a, b in zip(p, q, strict=True))
        out.append(first + gamma * temperature**2 * second)
    return np.array(out)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("gamma", [1.5, 3.5])
@pytest.mark.parametrize("classes", [4, 10, 300])
def test_matches_the_definition(logits: Any, classes: int, gamma: float, temperature: float) -> None:
    student, teacher, labels = logits(1, classes=classes), logits(2, classes=classes), torch.tensor(LABELS)
    got = nkd(student, teacher, labels, gamma, temperature)
    assert got.shape == (6,)
    np.testing.assert_allclose(got.numpy(), reference(student, teacher, LABELS, gamma, temperature), rtol=1e-9)
    single = nkd(student.float(), teacher.float(), labels, gamma, temperature)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), got.numpy(), rtol=1e-5)


def test_worked_by_hand() -> None:
    """p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4), target 0: ½ ln 4 + 3/2 (½ ln 3/2 + ½ ln 3). At T = 2 the others' square
    roots count, times 4, the target's part stays."""
    teacher, student = (torch.tensor([p], dtype=torch.float64).log() for p in ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25]))
    labels = torch.tensor([0])
    expected = 0.5 * math.log(4) + 1.5 * (0.5 * math.log(1.5) + 0.5 * math.log(3))
    assert float(nkd(student, teacher, labels)) == pytest.approx(expected, rel=1e-12)
    root = math.sqrt(2) / (1 + math.sqrt(2))
    softened = 0.5 * math.log(4) - 1.5 * 4 * 0.5 * (math.log(root) + math.log(1 - root))
    assert float(nkd(student, teacher, labels, 1.5, 2.0)) == pytest.approx(softened, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_minimum_is_the_teachers_entropy_over_the_others(logits: Any, temperature: float) -> None:
    """Reached as the student grows certain of the target and keeps the teacher's others; a copy of the teacher is above it."""
    teacher, labels = logits(3), torch.tensor([0, 3, 9, 2, 5, 1])
    lowest = []
    for t, target in zip(teacher.tolist(), labels.tolist(), strict=True):
        p = softmax([z / temperature for k, z in enumerate(t) if k != target])
        lowest.append(-1.5 * temperature**2 * math.fsum(a * math.log(a) for a in p))
    certain = teacher.scatter_add(1, labels[:, None], torch.full((6, 1), 100.0, dtype=torch.float64))
    np.testing.assert_allclose(nkd(certain, teacher, labels, 1.5, temperature).numpy(), lowest, rtol=1e-10)
    assert (nkd(teacher, teacher, labels, 1.5, temperature).numpy() - lowest).min() > 1e-6
    for seed in range(20):
        assert (nkd(logits(40 + seed), teacher, labels, 1.5, temperature).numpy() - lowest).min() > 0


def test_shifts_of_either_side_change_nothing(logits: Any) -> None:
    student, teacher, labels = logits(4), logits(5), torch.tensor(LABELS)
    torch.testing.assert_close(nkd(student + 3, teacher - 8, labels), nkd(student, teacher, labels))


def test_a_row_without_a_label_has_the_teachers_argmax(logits: Any) -> None:
    student, teacher = logits(6), logits(7)
    torch.testing.assert_close(
        nkd(student, teacher, torch.full((6,), -1)), nkd(student, teacher, teacher.argmax(dim=1)), rtol=0, atol=0
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradcheck(logits: Any, temperature: float) -> None:
    student, teacher = logits(8, rows=3, classes=5).requires_grad_(), logits(9, rows=3, classes=5)
    assert torch.autograd.gradcheck(lambda s: nkd(s, teacher, torch.tensor([0, -1, 4]), 1.5, temperature), student)


def test_the_teacher_gets_no_gradient(logits: Any) -> None:
    student, teacher = logits(10).requires_grad_(), logits(11).requires_grad_()
    nkd(student, teacher, torch.tensor(LABELS)).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("label", [0, 4, -1])
def test_extreme_logits_stay_finite(label: int) -> None:
    student = torch.zeros(3, 5)
    student[:, 0], student[1, 1] = 1e4, -1e4
    teacher = student.flip(1).clone()
    student.requires_grad_()
    loss = nkd(student, teacher, torch.full((3,), label))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_two_classes_are_refused_with_the_reason(logits: Any) -> None:
    with pytest.raises(
        ShapeError, match=r"nkd: must have three classes or more; got 2. One class besides .* `gamma` would"
    ):
        nkd(logits(1, classes=2), logits(2, classes=2), torch.zeros(6, dtype=torch.int64))
    assert "Use soft-label" in (NkdSpec().refuses(2) or "")
    assert NkdSpec().refuses(3) is None


@pytest.mark.parametrize("fields", [{"gamma": -1}, {"gamma": 0}, {"temperature": 0}])
def test_values_out_of_bounds(logits: Any, fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        NkdSpec(**fields)
    with pytest.raises(ValueError, match="must be in"):
        nkd(logits(1), logits(2), torch.tensor(LABELS), **fields)


def test_spec(logits: Any, batch: Any, asked_teacher: Any) -> None:
    student, teacher = logits(12), asked_teacher(logits(13))
    spec = NkdSpec(gamma=2, temperature=3)
    got = spec.loss(batch(student, LABELS, teacher=teacher))
    np.testing.assert_allclose(got.numpy(), reference(student, teacher.values_BK, LABELS, 2, 3), rtol=1e-9)
    assert teacher.asked == [("logits", 3.0, False)]
    assert spec.mask(batch(student, LABELS)) is None
    assert spec.needs() == Needs(labels=True, labels_optional=True, teacher="logits", temperatures=(3.0,))
    assert spec.dense
    assert (NkdSpec().gamma, NkdSpec().temperature) == (1.5, 1.0)


def test_mixed_rows_have_both_targets(logits: Any, batch: Any, asked_teacher: Any) -> None:
    """By their shares; a row that lacks either label has the teacher's argmax."""
    student, teacher, partner = logits(14), logits(15), [1, 1, 4, -1, -1, 1]
    mix = torch.tensor([0.7, 0.5, 0.9, 0.8, 0.6, 1.0], dtype=torch.float64)
    x = batch(student, LABELS, teacher=asked_teacher(teacher), partner_labels_B=torch.tensor(partner), mix_B=mix)
    lacking = [a < 0 or b < 0 for a, b in zip(LABELS, partner, strict=True)]
    own, other = (
        reference(student, teacher, [-1 if n else y for n, y in zip(lacking, ys, strict=True)], 1.5, 1)
        for ys in (LABELS, partner)
    )
    share = mix.numpy()
    np.testing.assert_allclose(NkdSpec().loss(x).numpy(), share * own + (1 - share) * other, rtol=1e-9)


def test_without_a_teacher_or_with_probabilities(logits: Any, batch: Any, asked_teacher: Any) -> None:
    with pytest.raises(StoreError, match="nkd: needs the teacher's outputs"):
        NkdSpec().loss(batch(logits(), LABELS))
    with pytest.raises(StoreError, match="probabilities"):
        NkdSpec().loss(batch(logits(), LABELS, teacher=asked_teacher(torch.softmax(logits(), dim=1), "probabilities")))
