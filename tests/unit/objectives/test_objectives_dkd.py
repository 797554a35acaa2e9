"""Decoupled distillation against a reference in plain Python, and the identity that joins it to soft labels. Shapes: B rows,
K classes."""

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
from potstill.objectives.dkd import DkdSpec, dkd
from potstill.objectives.soft_label import soft_label
from potstill.schedules import value_at
from potstill.schedules.linear import LinearSpec

LABELS = [0, 3, -1, 2, -1, 1]


def softmax(row: list[float]) -> list[float]:
    exp = [math.exp(z - max(row)) for z in row]
    return [e / math.fsum(exp) for e in exp]


def divergence(p: list[float], q: list[float]) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def reference(
    student_BK: Tensor, teacher_BK: Tensor, labels: list[int], alpha: float, beta: float, temperature: float
) -> NDArray[Any]:
    """T² (alpha TCKD + beta NCKD), from probabilities, a row at a time."""
    out = []
    for s, t, label in zip(student_BK.tolist(), teacher_BK.tolist(), labels, strict=True):
        target = label if label >= 0 else t.index(max(t))
        p, q = softmax([z / temperature for z in t]), softmax([z / temperature for z in s])
        tckd = divergence([p[target], 1 - p[target]], [q[target], 1 - q[target]])
        others = [k for k in range(len(p)) if k != target]
        nckd = divergence([p[k] / (1 - p[target]) for k in others], [q[k] / (1 - q[target]) for k in others])
        out.append(temperature**2 * (alpha * tckd + beta * nckd))
    return np.array(out)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 8.0), (0.0, 1.0), (2.0, 0.0)])
@pytest.mark.parametrize("classes", [4, 10, 300])
def test_matches_the_definition(logits: Any, classes: int, alpha: float, beta: float, temperature: float) -> None:
    student, teacher, labels = logits(1, classes=classes), logits(2, classes=classes), torch.tensor(LABELS)
    got = dkd(student, teacher, labels, alpha, beta, temperature)
    assert got.shape == (6,)
    np.testing.assert_allclose(got.numpy(), reference(student, teacher, LABELS, alpha, beta, temperature), rtol=1e-9)
    single = dkd(student.float(), teacher.float(), labels, alpha, beta, temperature)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), got.numpy(), rtol=1e-4, atol=1e-5 * temperature**2)


def test_worked_by_hand() -> None:
    """p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4), target 0, T = 1. The pairs are (1/2, 1/2) and (1/4, 3/4), the others (1/2, 1/2)
    and (2/3, 1/3)."""
    teacher, student = (torch.tensor([p], dtype=torch.float64).log() for p in ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25]))
    pair = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    others = 0.5 * math.log(3 / 4) + 0.5 * math.log(3 / 2)
    assert float(dkd(student, teacher, torch.tensor([0]), 1, 8, 1)) == pytest.approx(pair + 8 * others, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_labels_are_the_case_of_beta_one_minus_the_target(logits: Any, temperature: float) -> None:
    """KL = TCKD + (1 - p_t) NCKD, the paper's decomposition, row by row."""
    student, teacher, labels = logits(3), logits(4), torch.tensor([0, 3, 9, 2, 5, 1])
    p = torch.softmax(teacher / temperature, dim=1)[torch.arange(6), labels]
    whole = soft_label(student, teacher, temperature)
    for b in range(6):
        row = slice(b, b + 1)
        joined = dkd(student[row], teacher[row], labels[row], 1.0, 1 - float(p[b]), temperature)
        assert float(joined) == pytest.approx(float(whole[b]), rel=1e-10)


def test_zero_where_the_distributions_match_and_only_there(logits: Any) -> None:
    teacher, labels = logits(5), torch.tensor(LABELS)
    assert dkd(teacher + 7.5, teacher, labels).abs().max() < 1e-12
    for column in (0, 5):
        other = teacher.clone()
        other[:, column] += 0.1
        assert dkd(other, teacher, labels).min() > 1e-9


def test_each_part_looks_at_its_own(logits: Any) -> None:
    """The target's logit does not move the others' part; a reordering of the others does not move the target's part."""
    student, teacher, labels = logits(6), logits(7), torch.zeros(6, dtype=torch.int64)
    pushed = student.clone()
    pushed[:, 0] += 3
    torch.testing.assert_close(dkd(pushed, teacher, labels, 0, 1), dkd(student, teacher, labels, 0, 1))
    turned = torch.cat([student[:, :1], student[:, 1:].roll(1, dims=1)], dim=1)
    torch.testing.assert_close(dkd(turned, teacher, labels, 1, 0), dkd(student, teacher, labels, 1, 0))
    assert (dkd(turned, teacher, labels, 0, 1) - dkd(student, teacher, labels, 0, 1)).abs().min() > 1e-3


def test_a_confident_teacher_still_teaches_its_other_classes() -> None:
    """In float32, p_t rounds to 1: the others must come from logits."""
    teacher = torch.tensor([[40.0, 3.0, 1.0, 0.0]])
    student = torch.tensor([[38.0, 0.0, 1.0, 3.0]])
    got = dkd(student, teacher, torch.tensor([0]), 0, 1, 1)
    np.testing.assert_allclose(
        got.double().numpy(),
        np.array([divergence(softmax([3.0, 1.0, 0.0]), softmax([0.0, 1.0, 3.0]))]),
        rtol=1e-5,
    )


def test_a_row_without_a_label_has_the_teachers_argmax(logits: Any) -> None:
    student, teacher = logits(8), logits(9)
    torch.testing.assert_close(
        dkd(student, teacher, torch.full((6,), -1)), dkd(student, teacher, teacher.argmax(dim=1)), rtol=0, atol=0
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradcheck(logits: Any, temperature: float) -> None:
    student, teacher = logits(10, rows=3, classes=5).requires_grad_(), logits(11, rows=3, classes=5)
    labels = torch.tensor([0, -1, 4])
    assert torch.autograd.gradcheck(lambda s: dkd(s, teacher, labels, 1, 8, temperature), student)


def test_the_teacher_gets_no_gradient(logits: Any) -> None:
    student, teacher = logits(12).requires_grad_(), logits(13).requires_grad_()
    dkd(student, teacher, torch.tensor(LABELS)).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("label", [0, 4, -1])
def test_extreme_logits_stay_finite(label: int) -> None:
    student = torch.zeros(3, 5)
    student[:, 0], student[1, 1] = 1e4, -1e4
    teacher = student.flip(1).clone()
    student.requires_grad_()
    loss = dkd(student, teacher, torch.full((3,), label))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_two_classes_are_refused_with_the_reason(logits: Any) -> None:
    with pytest.raises(
        ShapeError, match=r"dkd: must have three classes or more; got 2. One class besides .* `beta` would"
    ):
        dkd(logits(1, classes=2), logits(2, classes=2), torch.zeros(6, dtype=torch.int64))
    assert "Use soft-label" in (DkdSpec().refuses(2) or "")
    assert DkdSpec().refuses(3) is None


@pytest.mark.parametrize("labels", [(5,), (6, 1), (1,)])
def test_labels_of_another_shape(logits: Any, labels: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"dkd: labels must be \[B\]"):
        dkd(logits(1), logits(2), torch.zeros(labels, dtype=torch.int64))


@pytest.mark.parametrize("fields", [{"alpha": -1}, {"beta": -0.1}, {"alpha": 0, "beta": 0}, {"temperature": 0}])
def test_values_out_of_bounds(logits: Any, fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DkdSpec(**fields)
    with pytest.raises(ValueError, match="must be in"):
        dkd(logits(1), logits(2), torch.tensor(LABELS), **fields)


def test_spec(logits: Any, batch: Any, asked_teacher: Any) -> None:
    student, teacher = logits(14), asked_teacher(logits(15))
    spec = DkdSpec(alpha=0.5, beta=2, temperature=3)
    got = spec.loss(batch(student, LABELS, teacher=teacher))
    np.testing.assert_allclose(got.numpy(), reference(student, teacher.values_BK, LABELS, 0.5, 2, 3), rtol=1e-9)
    assert teacher.asked == [("logits", 3.0, False)]
    assert spec.mask(batch(student, LABELS)) is None
    assert spec.needs() == Needs(labels=True, labels_optional=True, teacher="logits", temperatures=(3.0,))
    assert spec.dense


def test_mixed_rows_have_both_targets(logits: Any, batch: Any, asked_teacher: Any) -> None:
    """By their shares; a row that lacks either label has the teacher's argmax."""
    student, teacher, partner = logits(16), logits(17), [1, 1, 4, -1, -1, 1]
    mix = torch.tensor([0.7, 0.5, 0.9, 0.8, 0.6, 1.0], dtype=torch.float64)
    x = batch(student, LABELS, teacher=asked_teacher(teacher), partner_labels_B=torch.tensor(partner), mix_B=mix)
    tops = teacher.argmax(dim=1).tolist()
    lacking = [a < 0 or b < 0 for a, b in zip(LABELS, partner, strict=True)]
    own, other = (
        reference(student, teacher, [t if n else y for t, n, y in zip(tops, lacking, ys, strict=True)], 1, 8, 4)
        for ys in (LABELS, partner)
    )
    share = mix.numpy()
    np.testing.assert_allclose(DkdSpec().loss(x).numpy(), share * own + (1 - share) * other, rtol=1e-9)


def test_the_authors_warm_up_is_the_default() -> None:
    """Over 20 of 240 epochs, the first at 1/20: never 0, so that a first batch without labels still teaches."""
    weight = DkdSpec().weight
    assert [value_at(weight, epoch / 240) for epoch in (0, 10, 20, 240)] == pytest.approx([0.05, 0.525, 1, 1])
    assert DkdSpec.model_validate({"kind": "dkd"}).weight == LinearSpec(start=0.05, end=1, until=1 / 12)
    assert DkdSpec(weight=0.5).weight == 0.5


def test_without_a_teacher_or_with_probabilities(logits: Any, batch: Any, asked_teacher: Any) -> None:
    with pytest.raises(StoreError, match="dkd: needs the teacher's outputs"):
        DkdSpec().loss(batch(logits(), LABELS))
    with pytest.raises(StoreError, match="probabilities"):
        DkdSpec().loss(batch(logits(), LABELS, teacher=asked_teacher(torch.softmax(logits(), dim=1), "probabilities")))
