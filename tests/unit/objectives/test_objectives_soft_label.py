"""Hinton's loss against references that share no code with it. Shapes: B rows, K classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives.logit_mse import logit_mse
from potstill.objectives.soft_label import SoftLabelSpec, soft_label, soft_probability
from potstill.schedules.constant import ConstantSpec
from potstill.schedules.linear import LinearSpec
from potstill.schedules.step import StepSpec


def softmax(row: list[float], temperature: float) -> list[float]:
    top = max(row)
    exp = [math.exp((z - top) / temperature) for z in row]
    total = math.fsum(exp)
    return [e / total for e in exp]


def standard(row: list[float]) -> list[float]:
    mean = math.fsum(row) / len(row)
    std = math.sqrt(math.fsum((z - mean) ** 2 for z in row) / len(row))
    return [(z - mean) / max(std, 1e-6) for z in row]


def reference(student_BK: Tensor, teacher_BK: Tensor, temperature: float, standardize: bool = False) -> NDArray[Any]:
    """T² Σ p (ln p − ln q), by the definition, a row at a time."""
    out = []
    for s, t in zip(student_BK.tolist(), teacher_BK.tolist(), strict=True):
        if standardize:
            s, t = standard(s), standard(t)
        p, q = softmax(t, temperature), softmax(s, temperature)
        kl = math.fsum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a > 0)
        out.append(temperature**2 * kl)
    return np.array(out)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0, 20.0])
@pytest.mark.parametrize(("classes", "standardize"), [(2, False), (10, False), (1000, False), (3, True), (1000, True)])
def test_matches_the_definition(logits: Any, classes: int, temperature: float, standardize: bool) -> None:
    student, teacher = logits(1, classes=classes), logits(2, classes=classes)
    got = soft_label(student, teacher, temperature, standardize)
    assert got.shape == (6,)
    np.testing.assert_allclose(
        got.numpy(), reference(student, teacher, temperature, standardize), rtol=1e-9, atol=1e-12
    )
    single = soft_label(student.float(), teacher.float(), temperature, standardize)
    assert single.dtype == torch.float32
    rounding = 1e-6 * temperature**2  # of two log-sum-exps, times T²
    np.testing.assert_allclose(single.numpy(), got.numpy(), rtol=1e-5, atol=rounding)


def test_worked_by_hand() -> None:
    """p = (3/4, 1/4), q = (1/2, 1/2) at T = 2: 4 (3/4 ln 3/2 + 1/4 ln 1/2). Neither without T² nor without entropy."""
    teacher = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)
    got = float(soft_label(torch.zeros(1, 2, dtype=torch.float64), teacher, 2.0))
    divergence, cross_entropy = 0.75 * math.log(1.5) + 0.25 * math.log(0.5), math.log(2)
    assert got == pytest.approx(4 * divergence, rel=1e-12)
    assert got == pytest.approx(0.5232, abs=1e-4)
    assert abs(got - divergence) > 0.3, "T² is missing"
    assert abs(got - 4 * cross_entropy) > 2, "the teacher's entropy is missing"


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_zero_where_the_distributions_match_and_only_there(logits: Any, temperature: float, standardize: bool) -> None:
    teacher = logits(3)
    assert soft_label(teacher + 7.5, teacher, temperature, standardize).abs().max() < 1e-12
    other = teacher.clone()
    other[:, 0] += 0.1
    assert soft_label(other, teacher, temperature, standardize).min() > 1e-9


@pytest.mark.parametrize("standardize", [False, True])
def test_shifts_of_either_side_change_nothing(logits: Any, standardize: bool) -> None:
    student, teacher = logits(4), logits(5)
    expected = soft_label(student, teacher, 2.0, standardize)
    torch.testing.assert_close(soft_label(student - 11, teacher, 2.0, standardize), expected)
    torch.testing.assert_close(soft_label(student, teacher + 3, 2.0, standardize), expected)


@pytest.mark.parametrize("factor", [0.05, 1.7, 40.0])
def test_standardised_sees_neither_scale_nor_shift(logits: Any, factor: float) -> None:
    student, teacher = logits(6), logits(7)
    expected = soft_label(student, teacher, 2.0, standardize=True)
    torch.testing.assert_close(soft_label(student * factor + 9, teacher, 2.0, standardize=True), expected)
    torch.testing.assert_close(soft_label(student, teacher * factor - 4, 2.0, standardize=True), expected)
    assert (soft_label(student * 1.7, teacher, 2.0) - soft_label(student, teacher, 2.0)).abs().min() > 1e-3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_gradient_is_t_times_the_difference(logits: Any, temperature: float) -> None:
    """d/dz T² KL = T (q − p): with T² the gradient keeps its size as T rises, without it falls with 1/T²."""
    student, teacher = logits(8).requires_grad_(), logits(9)
    soft_label(student, teacher, temperature).sum().backward()
    q = np.array([softmax(row, temperature) for row in student.tolist()])
    p = np.array([softmax(row, temperature) for row in teacher.tolist()])
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), temperature * (q - p), rtol=1e-9, atol=1e-12)


def test_high_temperature_is_logit_matching(logits: Any) -> None:
    """Hinton et al. 2015, section 2.1: for zero-mean logits the gradient tends to (z − v) / K."""
    student, teacher = logits(10), logits(11)
    student = (student - student.mean(dim=1, keepdim=True)).requires_grad_()
    teacher = teacher - teacher.mean(dim=1, keepdim=True)
    loss = soft_label(student, teacher, 1e4)
    loss.sum().backward()
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), (student - teacher).detach().numpy() / 10, rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(loss.detach(), logit_mse(student.detach(), teacher) / 10, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(("classes", "standardize"), [(2, False), (5, False), (3, True), (5, True)])
def test_gradcheck(logits: Any, classes: int, standardize: bool) -> None:
    student, teacher = logits(12, rows=3, classes=classes).requires_grad_(), logits(13, rows=3, classes=classes)
    assert torch.autograd.gradcheck(lambda s: soft_label(s, teacher, 3.0, standardize), student)


@pytest.mark.parametrize("standardize", [False, True])
def test_the_teacher_gets_no_gradient(logits: Any, standardize: bool) -> None:
    student, teacher = logits(14).requires_grad_(), logits(15).requires_grad_()
    soft_label(student, teacher, 2.0, standardize).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("classes", "standardize"), [(2, False), (1000, False), (3, True), (1000, True)])
def test_extreme_logits_stay_finite(classes: int, temperature: float, standardize: bool) -> None:
    student = torch.zeros(3, classes)
    student[:, 0], student[1, 1] = 1e4, -1e4
    teacher = student.flip(1).clone()
    student.requires_grad_()
    loss = soft_label(student, teacher, temperature, standardize)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert (loss >= 0).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_two_classes_cannot_be_standardised(logits: Any, batch: Any, asked_teacher: Any) -> None:
    """They would be 1 and -1 whatever the student says: no gradient, and a student that learns nothing, quietly."""
    student, teacher = logits(1, classes=2), logits(2, classes=2)
    with pytest.raises(
        ShapeError, match=r"soft_label: must have three classes or more; got 2. Two logits .* are 1 and -1"
    ):
        soft_label(student, teacher, 2.0, standardize=True)
    spec = SoftLabelSpec(standardize=True)
    with pytest.raises(ShapeError, match="Set standardize: false"):
        spec.loss(batch(student, teacher=asked_teacher(teacher)))
    assert "standardize: false" in (spec.refuses(2) or "")
    assert spec.refuses(3) is None
    assert SoftLabelSpec().refuses(2) is None


def test_constant_rows_stay_finite_when_standardised() -> None:
    student = torch.full((2, 4), 5.0, requires_grad=True)
    loss = soft_label(student, torch.tensor([[1.0, 2, 3, 4], [7, 7, 7, 7]]), 2.0, standardize=True)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert float(loss[1].detach()) == 0
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


finite_rows = hnp.arrays(np.float64, (2, 4), elements=st.floats(-50, 50))


@given(student=finite_rows, teacher=finite_rows, temperature=st.floats(0.1, 50), standardize=st.booleans())
def test_never_negative(student: NDArray[Any], teacher: NDArray[Any], temperature: float, standardize: bool) -> None:
    loss = soft_label(torch.from_numpy(student), torch.from_numpy(teacher), temperature, standardize)
    assert loss.min() >= -1e-9


@pytest.mark.parametrize("function", [lambda s, t: soft_label(s, t, 2.0), soft_probability])
@pytest.mark.parametrize("shapes", [((4, 3), (4, 5)), ((4, 3), (2, 3)), ((4,), (4,)), ((2, 2, 2), (2, 2, 2))])
def test_shapes_that_do_not_fit_are_both_named(function: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        function(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
    assert str(list(shapes[0])) in str(caught.value)
    assert str(list(shapes[1])) in str(caught.value)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_out_of_bounds(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature must be in \(0, inf\); got temperature="):
        soft_label(torch.zeros(1, 2), torch.zeros(1, 2), temperature)


def test_probabilities_match_logits_at_one(logits: Any) -> None:
    student, teacher = logits(16), logits(17)
    p = torch.softmax(teacher, dim=1)
    torch.testing.assert_close(soft_probability(student, p), soft_label(student, teacher, 1.0))


def test_a_probability_of_zero_counts_as_nothing() -> None:
    student = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    p = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = soft_probability(student, p)
    loss.sum().backward()
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1) + math.exp(-2)), rel=1e-12)
    assert p.grad is None
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert torch.autograd.gradcheck(lambda s: soft_probability(s, p.detach()), student)


def test_spec_reads_its_schedule(logits: Any, batch: Any, asked_teacher: Any) -> None:
    student, teacher = logits(18), asked_teacher(logits(19))
    spec = SoftLabelSpec(temperature=LinearSpec(start=4, end=2))
    got = spec.loss(batch(student, teacher=teacher, progress=0.25))
    np.testing.assert_allclose(got.numpy(), reference(student, teacher.values_BK, 3.5), rtol=1e-9)
    assert teacher.asked == [("logits", 3.5, False)]
    assert spec.readings(0.25) == {"temperature": 3.5}


def test_spec_standardises_both_sides_once(logits: Any, batch: Any, asked_teacher: Any) -> None:
    student, teacher = logits(20), asked_teacher(logits(21) * 5 + 3)
    got = SoftLabelSpec(temperature=2.0, standardize=True).loss(batch(student, teacher=teacher))
    np.testing.assert_allclose(got.numpy(), reference(student, teacher.values_BK, 2.0, True), rtol=1e-9)
    assert teacher.asked == [("logits", 2.0, True)]


def test_spec_without_labels_covers_every_row(logits: Any, batch: Any, asked_teacher: Any) -> None:
    x = batch(logits(22), teacher=asked_teacher(logits(23)))
    assert SoftLabelSpec().mask(x) is None
    assert SoftLabelSpec().loss(x).shape == (6,)


def test_probability_teacher_at_one(logits: Any, batch: Any, asked_teacher: Any) -> None:
    student, p = logits(24), torch.softmax(logits(25), dim=1)
    got = SoftLabelSpec(temperature=1.0).loss(batch(student, teacher=asked_teacher(p, "probabilities")))
    np.testing.assert_allclose(got.numpy(), reference(student, torch.log(p), 1.0), rtol=1e-9)


@pytest.mark.parametrize(
    "fields",
    [{"temperature": 2.0}, {"temperature": 1.0, "standardize": True}, {"temperature": LinearSpec(start=1, end=2)}],
)
def test_probability_teacher_elsewhere_is_refused(
    logits: Any, batch: Any, asked_teacher: Any, fields: dict[str, Any]
) -> None:
    x = batch(logits(26), teacher=asked_teacher(torch.softmax(logits(27), dim=1), "probabilities"), progress=0.0)
    with pytest.raises(StoreError, match="logits"):
        SoftLabelSpec(**fields).loss(x)


def test_without_a_teacher(logits: Any, batch: Any) -> None:
    with pytest.raises(StoreError, match="soft-label: needs the teacher's outputs"):
        SoftLabelSpec().loss(batch(logits()))


@pytest.mark.parametrize(
    ("fields", "teacher", "temperatures"),
    [
        ({}, "either", (1.0,)),
        ({"temperature": 2.0}, "logits", (2.0,)),
        ({"temperature": ConstantSpec(value=1)}, "either", (1.0,)),
        ({"temperature": 1.0, "standardize": True}, "logits", (1.0,)),
        ({"temperature": StepSpec(values=(4, 2, 4, 1), boundaries=(0.2, 0.5, 0.7))}, "logits", (4.0, 2.0, 1.0)),
        ({"temperature": LinearSpec(start=1, end=1)}, "logits", None),
    ],
)
def test_needs(fields: dict[str, Any], teacher: str, temperatures: tuple[float, ...] | None) -> None:
    needs = SoftLabelSpec(**fields).needs()
    assert (needs.teacher, needs.temperatures, needs.labels) == (teacher, temperatures, False)
    assert needs.standardized is fields.get("standardize", False)


@pytest.mark.parametrize(
    "temperature",
    [0, -1, math.nan, math.inf, {"kind": "linear", "start": 4, "end": 0}, {"kind": "warm-up", "value": 2},
     {"kind": "step", "values": [4, -1, 4], "boundaries": [0.501, 0.502]}, {"kind": "cosine", "start": -1, "end": 4}],
)  # fmt: skip
def test_a_temperature_that_is_ever_out_of_bounds_is_refused_before_training(temperature: Any) -> None:
    with pytest.raises(ValidationError, match="temperature"):
        SoftLabelSpec(temperature=temperature)
