"""Objectives on values against references in plain Python loops. Shapes: B rows, H horizon, V variables."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives import LossInputs, Needs
from potstill.objectives.multi_scale import MultiScaleSpec, multi_scale
from potstill.objectives.soft_target_regression import SoftTargetRegressionSpec, soft_target_regression
from potstill.objectives.spectrum import SpectrumSpec, spectrum
from potstill.testing import tiny

Array = NDArray[Any]
B, H, V = 3, 11, 2


def drawn(seed: int = 0, horizon: int = H) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(B, horizon, V)))


def reference_regression(student: Array, teacher: Array, truth: Array | None, delta: float, reject: float) -> Array:
    out = []
    for b in range(B):
        each = []
        for at in np.ndindex(H, V):
            s, wanted = student[b][at], teacher[b][at]
            if truth is not None and not math.isnan(truth[b][at]) and abs(wanted - truth[b][at]) > reject:
                wanted = truth[b][at]
            d = abs(s - wanted)
            each.append(0.5 * d * d if d <= delta else delta * (d - 0.5 * delta))
        out.append(math.fsum(each) / len(each))
    return np.array(out)


def reference_scales(student: Array, teacher: Array, scales: int) -> Array:
    out = []
    for b in range(B):
        series = [[list(values[b, :, v]) for v in range(V)] for values in (student, teacher)]
        each = []
        for _ in range(scales + 1):
            squares = [(s - t) ** 2 for a, c in zip(*series, strict=True) for s, t in zip(a, c, strict=True)]
            each.append(math.fsum(squares) / len(squares))
            series = [[[(r[i] + r[i + 1]) / 2 for i in range(0, len(r) - 1, 2)] for r in model] for model in series]
        out.append(math.fsum(each) / len(each))
    return np.array(out)


def reference_spectrum(student: Array, teacher: Array, temperature: float) -> Array:
    out = []
    for b in range(B):
        each = []
        for v in range(V):
            both = []
            for values in (teacher, student):
                horizon = values.shape[1]
                amplitudes = [
                    abs(sum(values[b, t, v] * cmath.exp(-2j * math.pi * f * t / horizon) for t in range(horizon)))
                    for f in range(1, horizon // 2 + 1)
                ]
                exp = [math.exp((a - max(amplitudes)) / temperature) for a in amplitudes]
                both.append([e / math.fsum(exp) for e in exp])
            each.append(math.fsum(p * math.log(p / q) for p, q in zip(*both, strict=True)))
        out.append(math.fsum(each) / V)
    return np.array(out)


@pytest.mark.parametrize("known", ["none", "all", "some"])
@pytest.mark.parametrize(("delta", "reject"), [(1.0, 0.7), (0.3, math.inf), (0.3, 1.5)])
def test_regression_is_the_references(delta: float, reject: float, known: str) -> None:
    student, teacher, truth = drawn(1), drawn(2), drawn(3)
    if known == "some":
        truth[:, ::3] = math.nan
    targets = None if known == "none" else truth
    expected = reference_regression(
        student.numpy(), teacher.numpy(), None if targets is None else targets.numpy(), delta, reject
    )
    np.testing.assert_allclose(soft_target_regression(student, teacher, targets, delta, reject), expected, rtol=1e-12)


@pytest.mark.parametrize("scales", [0, 1, 3])
def test_scales_are_the_references(scales: int) -> None:
    student, teacher = drawn(1), drawn(2)
    expected = reference_scales(student.numpy(), teacher.numpy(), scales)
    np.testing.assert_allclose(multi_scale(student, teacher, scales), expected, rtol=1e-12)


@pytest.mark.parametrize("horizon", [4, 11, 12])
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_spectra_are_the_references(temperature: float, horizon: int) -> None:
    student, teacher = drawn(1, horizon), drawn(2, horizon)
    expected = reference_spectrum(student.numpy(), teacher.numpy(), temperature)
    np.testing.assert_allclose(spectrum(student, teacher, temperature), expected, rtol=1e-8)
    assert expected.min() > 1e-3


def test_worked_by_hand() -> None:
    """Of 3 against 0: 1 · (3 - ½). Pairs (1, -1) cancel one scale up: (1 + 0) / 2. The teacher says 9 where the truth is 0."""
    one = torch.ones(1, 1, 1)
    assert soft_target_regression(3 * one, 0 * one).tolist() == [2.5]
    assert soft_target_regression(0 * one, 9 * one, 0 * one).tolist() == [0.0]
    assert soft_target_regression(0 * one, 9 * one, 0 * one, reject=10).tolist() == [8.5]
    assert multi_scale(torch.tensor([[[1.0], [-1.0]]]), torch.zeros(1, 2, 1), 1).tolist() == [0.5]


def test_a_spectrum_sees_neither_level_nor_phase_but_the_period() -> None:
    time = torch.arange(24.0, dtype=torch.float64)[None, :, None]
    wave, other = torch.sin(2 * math.pi * time / 6), torch.sin(2 * math.pi * time / 4)
    shifted = torch.sin(2 * math.pi * (time + 2) / 6) + 7
    assert float(spectrum(shifted, wave).abs().max()) < 1e-9
    assert float(spectrum(other, wave).min()) > 5


@pytest.mark.parametrize("name", ["regression", "scales", "spectrum"])
def test_gradcheck(name: str) -> None:
    student, teacher, truth = drawn(4), drawn(5), drawn(6)
    losses: dict[str, Any] = {
        "regression": lambda s: soft_target_regression(s, teacher, truth, 0.5, 1.0),
        "scales": lambda s: multi_scale(s, teacher, 2), "spectrum": lambda s: spectrum(s, teacher),
    }  # fmt: skip
    student.requires_grad_()
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(losses[name], student)
    losses[name](student).sum().backward()
    assert teacher.grad is None


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: multi_scale(drawn(), drawn(), 4), ShapeError, "horizon of at least 16; got 11"),
    (lambda: multi_scale(drawn(), drawn(), -1), ValueError, "scales must be >= 0"),
    (lambda: spectrum(drawn(0, 3), drawn(0, 3)), ShapeError, "horizon of at least 4; got 3"),
    (lambda: spectrum(drawn(), drawn(), 0.0), ValueError, "temperature must be in"),
    (lambda: soft_target_regression(drawn(), drawn(0, 4)), ShapeError, r"\[3, 11, 2\] and \[3, 4, 2\]"),
    (lambda: soft_target_regression(drawn(), drawn(), drawn(0, 4)), ShapeError, r"\[3, 11, 2\] and \[3, 4, 2\]"),
    (lambda: soft_target_regression(drawn(), drawn(), delta=0), ValueError, "delta must be in"),
    (lambda: soft_target_regression(drawn(), drawn(), reject=0), ValueError, "reject in"),
])  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_specs_read_the_store_flat_and_refuse_another() -> None:
    student, teacher, truth = drawn(1).float(), drawn(2).float(), drawn(3).float()
    x = LossInputs(student, torch.full((B,), -1), 0.0, tiny.Rows(teacher.flatten(1), "values"), targets_BHV=truth)
    torch.testing.assert_close(SpectrumSpec().loss(x), spectrum(student, teacher, 0.5))
    torch.testing.assert_close(MultiScaleSpec().loss(x), multi_scale(student, teacher, 3))
    spec = SoftTargetRegressionSpec(delta=0.5, reject=1.0)
    torch.testing.assert_close(spec.loss(x), soft_target_regression(student, teacher, truth, 0.5, 1.0))
    assert spec.needs() == Needs(labels=True, labels_optional=True, teacher="values")
    assert SpectrumSpec().needs() == MultiScaleSpec().needs() == Needs(teacher="values")
    for wrong, error, words in (
        (tiny.Rows(teacher), StoreError, "needs the teacher's values; the teacher gives logits"),
        (tiny.Rows(teacher[:, 1:], "values"), ShapeError, r"as many numbers a row as the student; got \[3, 10, 2\]"),
    ):
        with pytest.raises(error, match=words):
            SpectrumSpec().loss(LossInputs(student, torch.zeros(B), 0.0, wrong))
