"""The contract of an objective on values that reads the truth alone. Shapes: B rows, H horizon, V variables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from potstill.core.errors import PotstillError
from potstill.objectives import LossInputs, Needs, ObjectiveSpec, registry
from potstill.testing._claims import claims_of
from potstill.testing.spec import check_spec

if TYPE_CHECKING:
    from torch import Tensor

_B, _H, _V = 5, 12, 3


def check_truth_objective(spec: ObjectiveSpec) -> None:
    """Check that an objective moves the student towards the true values, by those that are known and by no others.

    Args:
        spec: valid; teaches values and reads no teacher.

    Raises:
        AssertionError: something does not hold; says what.
    """
    import torch

    check_spec(spec, registry, "objective")
    claims = claims_of("objective", spec)
    claims.that(str(getattr(spec, "reference", "")).strip(), "must name its paper in `reference`")
    claims.that("values" in spec.teaches, "must teach values to be checked on them", teaches=spec.teaches)
    claims.that(spec.needs() == Needs(labels=True), "must read the truth and nothing else", needs=spec.needs())
    x = _values()
    truth = x.targets_BHV
    assert truth is not None
    loss, mask = spec.loss(x), spec.mask(x)
    claims.that(loss.shape == (_B,), "loss must be [B], one value a row", shape=list(loss.shape))
    claims.finite(loss, "must be finite where the truth is not known (NaN)")
    claims.that(mask is not None and mask.tolist() == [1, 1, 0, 1, 1], "mask must be 0 where nothing of a row is known, else 1",
                mask=None if mask is None else mask.tolist())  # fmt: skip
    claims.that(float(loss[2]) == 0, "must be 0 where nothing of a row is known")
    claims.that(bool((loss[[0, 1, 3, 4]] > 0).all()), "must be above 0 where the student is wrong", loss=loss.tolist())
    right = torch.where(truth.isfinite(), truth, x.output)
    claims.close(
        spec.loss(replace(x, output=right)), torch.zeros(_B), "must be 0 where the student gives the truth", atol=1e-6
    )
    for i in range(_B):
        alone = replace(x, output=x.output[i : i + 1], labels_B=x.labels_B[i : i + 1], targets_BHV=truth[i : i + 1])
        claims.close(spec.loss(alone), loss[i : i + 1], "a row's loss must be its own alone")
    student = x.output.double().requires_grad_()
    found = replace(x, output=student, targets_BHV=truth.double())
    spec.loss(found).sum().backward()  # type: ignore[no-untyped-call]
    gradient = student.grad
    assert gradient is not None
    claims.finite(gradient, "the gradient must be finite")
    claims.that(not bool(gradient[truth.isnan()].any()), "must have no gradient where the truth is not known")
    for place in np.flatnonzero(truth.isfinite().numpy().ravel())[::11].tolist():
        moved = torch.zeros_like(student)
        moved.view(-1)[place] = 1e-6
        up, down = (_sum(spec, replace(found, output=student.detach() + sign * moved)) for sign in (1, -1))
        claims.close(
            float(gradient.view(-1)[place]), (up - down) / 2e-6, "the gradient must be that of differences", 1e-3, 1e-6
        )
    claims.refuses(lambda: spec.loss(replace(x, targets_BHV=None)), PotstillError, "must refuse data without targets")
    claims.refuses(lambda: spec.loss(replace(x, output=x.output[:, 1:])), PotstillError, "must refuse another horizon")


def _sum(spec: ObjectiveSpec, x: LossInputs) -> float:
    total: Tensor = spec.loss(x).sum()
    return float(total.detach())


def _values() -> LossInputs:
    """Return a batch with two unknown values in row 1, and none known in row 2."""
    import torch

    rng = np.random.default_rng(4)
    student, truth = (torch.from_numpy(rng.normal(size=(_B, _H, _V)).astype(np.float32)) for _ in range(2))
    truth[1, 0, 0] = truth[1, 5, 2] = truth[2] = float("nan")
    return LossInputs(student, torch.zeros(_B, dtype=torch.int64), 0.3, targets_BHV=truth)
