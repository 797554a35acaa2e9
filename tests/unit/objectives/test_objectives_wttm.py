"""Transformed teacher matching against a reference in NumPy that works on probabilities. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from potstill.core.errors import ShapeError, StoreError
from potstill.labels.codecs.topk import TopKSpec
from potstill.labels.rows import StoreRows
from potstill.objectives import Needs
from potstill.objectives.soft_label import soft_label
from potstill.objectives.wttm import WttmSpec, wttm
from potstill.testing import tiny


def probabilities(logits_BK: Tensor) -> NDArray[Any]:
    exp = np.exp(logits_BK.double().numpy() - logits_BK.double().numpy().max(axis=1, keepdims=True))
    found: NDArray[Any] = exp / exp.sum(axis=1, keepdims=True)
    return found


def reference(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> NDArray[Any]:
    """U KL(p^g / U || q) with g = 1 / T and U = Σ p^g, by powers of probabilities."""
    power = probabilities(teacher_BK) ** (1 / temperature)
    total = power.sum(axis=1)
    target, q = power / total[:, None], probabilities(student_BK)
    found: NDArray[Any] = total * (target * (np.log(target) - np.log(q))).sum(axis=1)
    return found


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 10.0])
@pytest.mark.parametrize("classes", [2, 10, 300])
def test_matches_the_definition(logits: Any, classes: int, temperature: float) -> None:
    student, teacher = logits(1, classes=classes), logits(2, classes=classes)
    got = wttm(student, teacher, temperature)
    assert got.shape == (6,)
    np.testing.assert_allclose(got.numpy(), reference(student, teacher, temperature), rtol=1e-9, atol=1e-12)
    single = wttm(student.float(), teacher.float(), temperature)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), got.numpy(), rtol=1e-4, atol=1e-5)


def test_worked_by_hand() -> None:
    """p = (4/9, 4/9, 1/9) at T = 2: its square roots 2/3, 2/3, 1/3 add up to U = 5/3, the target is (2/5, 2/5, 1/5). Against a
    uniform student: 5/3 (ln 3 - H)."""
    teacher = torch.tensor([[4 / 9, 4 / 9, 1 / 9]], dtype=torch.float64).log()
    entropy = -(0.8 * np.log(0.4) + 0.2 * np.log(0.2))
    got = float(wttm(torch.zeros(1, 3, dtype=torch.float64), teacher, 2.0))
    assert got == pytest.approx(5 / 3 * (np.log(3) - entropy), rel=1e-12)


def test_plain_divergence_at_one(logits: Any) -> None:
    student, teacher = logits(3), logits(4)
    torch.testing.assert_close(wttm(student, teacher, 1.0), soft_label(student, teacher, 1.0))


def test_the_student_is_not_softened(logits: Any) -> None:
    """The minimum is the softened teacher itself, not a student whose logits are the teacher's."""
    teacher = logits(5)
    assert wttm(teacher / 4 + 2, teacher, 4.0).abs().max() < 1e-12
    assert wttm(teacher, teacher, 4.0).min() > 1e-3


def test_smoother_rows_weigh_more() -> None:
    """U goes from 1 (a sure teacher) to K^(1 - 1/T) (a uniform one)."""
    sure, uniform = torch.tensor([[60.0, 0, 0, 0]], dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64)
    student = torch.tensor([[0.5, -0.5, 0.1, 2.0]], dtype=torch.float64)
    log_q = torch.log_softmax(student, dim=1)
    expected = 4**0.75 * float((0.25 * (np.log(0.25) - log_q)).sum())
    assert float(wttm(student, uniform, 4.0)) == pytest.approx(expected, rel=1e-12)
    assert float(wttm(student, sure, 4.0)) == pytest.approx(-float(log_q[0, 0]), rel=1e-4)


def test_shifts_and_log_probabilities_are_the_same(logits: Any) -> None:
    student, teacher = logits(6), logits(7)
    expected = wttm(student, teacher, 3.0)
    torch.testing.assert_close(wttm(student - 2, teacher + 9, 3.0), expected)
    torch.testing.assert_close(wttm(student, torch.log_softmax(teacher, dim=1), 3.0), expected)


def test_a_probability_of_zero_counts_as_nothing() -> None:
    student = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).log()
    loss = wttm(student, teacher, 2.0)
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(float(np.log(1 + np.exp(-1) + np.exp(-2))), rel=1e-12)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("classes", [2, 5])
def test_gradcheck(logits: Any, classes: int) -> None:
    student, teacher = logits(8, rows=3, classes=classes).requires_grad_(), logits(9, rows=3, classes=classes)
    assert torch.autograd.gradcheck(lambda s: wttm(s, teacher, 4.0), student)


def test_the_teacher_gets_no_gradient(logits: Any) -> None:
    student, teacher = logits(10).requires_grad_(), logits(11).requires_grad_()
    wttm(student, teacher, 4.0, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_extreme_logits_stay_finite(temperature: float) -> None:
    student = torch.zeros(3, 1000)
    student[:, 0], student[1, 1] = 1e4, -1e4
    teacher = student.flip(1).clone()
    student.requires_grad_()
    loss = wttm(student, teacher, temperature)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_shapes_and_bounds(logits: Any) -> None:
    with pytest.raises(ShapeError):
        wttm(logits(1, classes=4), logits(2, classes=5), 4.0)
    with pytest.raises(ShapeError):
        wttm(logits(1), logits(2), 4.0, logits(2, classes=9))
    with pytest.raises(ValueError, match="temperature must be in"):
        wttm(logits(1), logits(2), 0.0)
    with pytest.raises(ValidationError):
        WttmSpec(temperature=0)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_spec(logits: Any, batch: Any, asked_teacher: Any, temperature: float) -> None:
    student, teacher = logits(12), logits(13)
    spec = WttmSpec(temperature=temperature)
    of_logits, of_shares = asked_teacher(teacher), asked_teacher(torch.softmax(teacher, dim=1), "probabilities")
    for given in (of_logits, of_shares):
        got = spec.loss(batch(student, teacher=given))
        np.testing.assert_allclose(got.numpy(), reference(student, teacher, temperature), rtol=1e-9)
    assert {t for _, t, _ in of_logits.asked} == {1.0, temperature}
    assert spec.needs() == Needs(teacher="either", temperatures=(1.0, 3.0) if temperature == 3 else (1.0,))
    assert spec.mask(batch(student)) is None
    assert not spec.dense


def test_a_top_k_store_keeps_the_weight_whatever_the_rest_is(batch: Any) -> None:
    """U needs the rest's mass at 1 and at T, both of which are kept: only the order within the rest is lost."""
    values = tiny.logits(4, 20, seed=5)
    kept = np.argsort(-values, axis=1)[:, :3]
    student = np.zeros_like(values)
    np.put_along_axis(student, kept, np.float32(2.0) * np.ones_like(kept, dtype=np.float32), axis=1)
    store = tiny.MemoryStore(values, TopKSpec(k=3, temperatures=(1.0, 4.0)))
    x = batch(torch.from_numpy(student), teacher=StoreRows(store, 0, np.arange(4)))
    power = probabilities(torch.from_numpy(values)) ** 0.25
    level = power.copy()  # the rest's mass, spread evenly
    for b in range(4):
        others = np.setdiff1d(np.arange(20), kept[b])
        level[b, others] = power[b, others].mean()
    total = power.sum(axis=1)
    target = level / total[:, None]
    expected = total * (target * (np.log(target) - np.log(probabilities(torch.from_numpy(student))))).sum(axis=1)
    np.testing.assert_allclose(WttmSpec().loss(x).numpy(), expected, rtol=5e-3)


def test_without_a_teacher(logits: Any, batch: Any) -> None:
    with pytest.raises(StoreError, match="wttm: needs the teacher's outputs"):
        WttmSpec().loss(batch(logits()))
