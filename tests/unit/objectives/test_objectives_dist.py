"""Correlation with the teacher against NumPy's own corrcoef. Shapes: B rows, K classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives import Needs
from potstill.objectives.dist import DistSpec, dist


def probabilities(logits_BK: Tensor, temperature: float) -> NDArray[Any]:
    exp = np.exp((logits_BK.double().numpy() - logits_BK.double().numpy().max(axis=1, keepdims=True)) / temperature)
    found: NDArray[Any] = exp / exp.sum(axis=1, keepdims=True)
    return found


def reference(student_BK: Tensor, teacher_BK: Tensor, temperature: float, beta: float, gamma: float) -> float:
    """The loss of the batch: T² (beta (1 - mean r of rows) + gamma (1 - mean r of columns))."""
    p, q = probabilities(teacher_BK, temperature), probabilities(student_BK, temperature)
    rows = [np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)]
    columns = [np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)]
    return float(temperature**2 * (beta * (1 - np.mean(rows)) + gamma * (1 - np.mean(columns))))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 1.0), (2.0, 0.0), (0.0, 3.0)])
@pytest.mark.parametrize(("rows", "classes"), [(6, 3), (6, 10), (32, 100)])
def test_the_mean_is_the_loss_of_the_batch(
    logits: Any, rows: int, classes: int, beta: float, gamma: float, temperature: float
) -> None:
    student, teacher = logits(1, rows, classes), logits(2, rows, classes)
    got = dist(student, teacher, temperature, beta, gamma)
    assert got.shape == (rows,)
    assert float(got.mean()) == pytest.approx(reference(student, teacher, temperature, beta, gamma), rel=1e-9)
    single = dist(student.float(), teacher.float(), temperature, beta, gamma)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), got.numpy(), rtol=1e-4, atol=1e-4)


def test_a_row_has_its_own_correlation_and_everybodys(logits: Any) -> None:
    student, teacher = logits(3), logits(4)
    p, q = probabilities(teacher, 1), probabilities(student, 1)
    own = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(dist(student, teacher, 1, 1, 0).numpy(), own, rtol=1e-9)
    together = dist(student, teacher, 1, 0, 1)
    assert together.unique().numel() == 1


def test_worked_by_hand() -> None:
    """p = (.5, .3, .2) and (.2, .3, .5), q the same rows exchanged. Rows: deviations (1/6, -1/30, -2/15) and their mirror image,
    r = -13/14. Classes over the two rows: the first and last opposed (r = -1), the middle one constant (0): mean -2/3."""
    rows = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]], dtype=torch.float64)
    row = 1 - (-13 / 14)
    assert dist(rows.flip(0).log(), rows.log(), 1, 1, 0).tolist() == pytest.approx([row, row], rel=1e-9)
    assert dist(rows.flip(0).log(), rows.log(), 1, 0, 1).tolist() == pytest.approx([5 / 3, 5 / 3], rel=1e-9)


def test_zero_where_equal_and_two_where_opposed(logits: Any) -> None:
    teacher = logits(5)
    assert dist(teacher + 3, teacher).abs().max() < 1e-12
    p = probabilities(teacher, 1)
    opposed = torch.from_numpy(np.log((1 - p) / (1 - p).sum(axis=1, keepdims=True)))  # falls along a line with p
    assert dist(opposed, teacher, 1, 1, 0).tolist() == pytest.approx([2] * 6, rel=1e-9)
    assert dist(opposed, teacher, 1, 0, 1).tolist() == pytest.approx([2] * 6, rel=1e-9)


def test_scale_and_shift_of_probabilities_change_nothing(logits: Any) -> None:
    """q = a p + b is as good as p: what sets it apart from a divergence."""
    teacher = logits(6)
    p = probabilities(teacher, 1)
    flatter = torch.from_numpy(np.log(0.3 * p + 0.7 / 10))
    assert dist(flatter, teacher).abs().max() < 1e-10
    assert (flatter - teacher).abs().max() > 1
    student = logits(7)
    flatter_student = torch.from_numpy(np.log(0.3 * probabilities(student, 1) + 0.7 / 10))
    torch.testing.assert_close(dist(flatter_student, teacher), dist(student, teacher))


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradcheck(logits: Any, temperature: float, beta: float, gamma: float) -> None:
    student, teacher = logits(8, rows=4, classes=5, scale=1.0).requires_grad_(), logits(9, rows=4, classes=5)
    assert torch.autograd.gradcheck(lambda s: dist(s, teacher, temperature, beta, gamma), student)


def test_the_teacher_gets_no_gradient(logits: Any) -> None:
    student, teacher = logits(10).requires_grad_(), logits(11).requires_grad_()
    dist(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_a_batch_of_one_row_has_no_relation_within_classes(logits: Any) -> None:
    student, teacher = logits(12, rows=1).requires_grad_(), logits(13, rows=1)
    whole = dist(student, teacher, 2.0, 1, 3)
    torch.testing.assert_close(whole, dist(student, teacher, 2.0, 1, 0) + 3 * 4)
    gradient = torch.autograd.grad(dist(student, teacher, 2.0, 0, 3).sum(), student)[0]
    assert not gradient.any()


def test_constant_rows_and_saturated_classes_stay_finite() -> None:
    """All logits alike, and one of 10,000: correlation 0, no gradient, and no rounding noise blown up."""
    student = torch.full((4, 20), 5.0)
    student[2:, 3] = 1e4
    student[3, 3], student[3, 7] = 5.0, 1e4
    student.requires_grad_()
    teacher = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 20)).astype(np.float32))
    loss = dist(student, teacher)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 10
    constant = torch.zeros(4, 20, requires_grad=True)
    alone = dist(constant, teacher)
    alone.sum().backward()
    assert alone.tolist() == [2] * 4
    assert constant.grad is not None
    assert not constant.grad.any()


def test_rare_classes_count_as_much_as_common_ones() -> None:
    """A class with probabilities near 1e-4 correlates as any other (with 1e-8 beside the product of norms it would not)."""
    generator = np.random.default_rng(2)
    teacher = torch.from_numpy(generator.normal(size=(16, 4)))
    student = torch.from_numpy(generator.normal(size=(16, 4)))
    teacher[:, 0] -= 10
    student[:, 0] -= 10
    assert float(dist(student, teacher, 1, 0, 1)[0]) == pytest.approx(reference(student, teacher, 1, 0, 1), rel=1e-6)


def test_two_classes_are_refused_with_the_reason(logits: Any) -> None:
    with pytest.raises(
        ShapeError, match=r"dist: must have three classes or more; got 2. The correlation .* is 1 or -1"
    ):
        dist(logits(1, classes=2), logits(2, classes=2))
    assert dist(logits(1, classes=2), logits(2, classes=2), 1, 0, 1).shape == (6,)
    assert "beta: 0" in (DistSpec().refuses(2) or "")
    assert DistSpec(beta=0).refuses(2) is None
    assert DistSpec().refuses(3) is None


@pytest.mark.parametrize("fields", [{"beta": -1}, {"gamma": -0.1}, {"beta": 0, "gamma": 0}, {"temperature": 0}])
def test_values_out_of_bounds(logits: Any, fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DistSpec(**fields)
    with pytest.raises(ValueError, match="must be in"):
        dist(logits(1), logits(2), **fields)


def test_spec(logits: Any, batch: Any, asked_teacher: Any) -> None:
    student, teacher = logits(14), asked_teacher(logits(15))
    spec = DistSpec(beta=2, gamma=3, temperature=4)
    got = spec.loss(batch(student, teacher=teacher))
    assert float(got.mean()) == pytest.approx(reference(student, teacher.values_BK, 4, 2, 3), rel=1e-9)
    assert teacher.asked == [("logits", 4.0, False)]
    assert spec.mask(batch(student)) is None
    assert spec.needs() == Needs(teacher="logits", temperatures=(4.0,))
    assert spec.dense
    assert spec.relational
    assert (DistSpec().beta, DistSpec().gamma, DistSpec().temperature) == (1, 1, 1)


def test_a_teacher_of_probabilities_at_one_only(logits: Any, batch: Any, asked_teacher: Any) -> None:
    student, teacher = logits(16), logits(17)
    x = batch(student, teacher=asked_teacher(torch.softmax(teacher, dim=1), "probabilities"))
    assert float(DistSpec().loss(x).mean()) == pytest.approx(reference(student, teacher, 1, 1, 1), rel=1e-9)
    assert DistSpec().needs() == Needs(teacher="either", temperatures=(1.0,))
    with pytest.raises(StoreError, match="probabilities"):
        DistSpec(temperature=4).loss(x)
    with pytest.raises(StoreError, match="dist: needs the teacher's outputs"):
        DistSpec().loss(batch(student))
