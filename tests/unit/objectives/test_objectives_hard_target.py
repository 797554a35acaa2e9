"""The error to true values against loops in plain Python. Shapes: B rows, H horizon, V variables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives import LossInputs, Needs
from potstill.objectives.hard_target import HardTargetSpec, hard_target

B, H, V = 4, 7, 3


def drawn(seed: int) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(size=(B, H, V))


def holes(values: NDArray[Any]) -> NDArray[Any]:
    """Return values with some unknown: two of row 1, all of row 2."""
    values = values.copy()
    values[1, 0, 0] = values[1, 3, 2] = math.nan
    values[2] = math.nan
    return values


def reference(student: NDArray[Any], truth: NDArray[Any], error: str, delta: float) -> NDArray[Any]:
    out = []
    for b in range(B):
        each = []
        for at in np.ndindex(H, V):
            d = abs(student[b][at] - truth[b][at])
            if math.isnan(d):
                continue
            huber = 0.5 * d * d if d <= delta else delta * (d - 0.5 * delta)
            each.append({"squared": d * d, "absolute": d, "huber": huber}[error])
        out.append(math.fsum(each) / len(each) if each else 0.0)
    return np.array(out)


@pytest.mark.parametrize("error", ["squared", "absolute", "huber"])
@pytest.mark.parametrize("delta", [0.3, 1.0, 5.0])
def test_it_is_the_mean_of_known_values(error: Any, delta: float) -> None:
    student, truth = drawn(0), holes(drawn(1))
    found = hard_target(torch.from_numpy(student), torch.from_numpy(truth), error, delta)
    np.testing.assert_allclose(found.numpy(), reference(student, truth, error, delta), rtol=1e-12)


@pytest.mark.parametrize("error", ["squared", "absolute", "huber"])
def test_gradients_are_those_of_finite_differences_and_none_comes_of_what_is_unknown(error: Any) -> None:
    student = torch.from_numpy(drawn(0)).requires_grad_()
    truth = torch.from_numpy(holes(drawn(1)))
    assert torch.autograd.gradcheck(lambda s: hard_target(s, truth, error, 0.7), (student,))
    hard_target(student, truth, error, 0.7).sum().backward()
    assert student.grad is not None and torch.isfinite(student.grad).all()
    assert not student.grad[torch.isnan(truth)].any()


def test_a_row_without_targets_has_no_such_term() -> None:
    spec = HardTargetSpec()
    x = LossInputs(torch.zeros(B, H, V), torch.zeros(B, dtype=torch.int64), 0.0)
    x.targets_BHV = torch.from_numpy(holes(drawn(1))).float()
    assert spec.mask(x).tolist() == [1, 1, 0, 1]
    assert spec.needs() == Needs(labels=True)


def test_what_cannot_be_is_refused() -> None:
    values = torch.from_numpy(drawn(0))
    with pytest.raises(ShapeError, match=r"\[4, 7, 3\] and \[4, 6, 3\]"):
        hard_target(values, values[:, :6])
    with pytest.raises(ValueError, match="delta=0"):
        hard_target(values, values, "huber", 0)
    with pytest.raises(ValueError, match="error='cubed'"):
        hard_target(values, values, "cubed")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="needs the true values; this data has none"):
        HardTargetSpec().loss(LossInputs(values.float(), torch.zeros(B, dtype=torch.int64), 0.0))
