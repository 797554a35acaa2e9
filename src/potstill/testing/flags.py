"""The contract of an objective on several classes a row. Shapes: B rows, K classes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from potstill.core.errors import PotstillError
from potstill.objectives import LossInputs, ObjectiveSpec, registry
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec

if TYPE_CHECKING:
    from torch import Tensor

_B, _K = 5, 7


def check_flag_objective(spec: ObjectiveSpec) -> None:
    """Check that an objective moves the student alone, class by class, towards the truth or the teacher as needs() says.

    Args:
        spec: valid; teaches flags.

    Raises:
        AssertionError: something does not hold; says what.
    """
    import torch

    check_spec(spec, registry, "objective")
    claims = claims_of("objective", spec)
    claims.that(str(getattr(spec, "reference", "")).strip(), "must name its paper in `reference`")
    needs = spec.needs()
    claims.that(
        needs.labels != (needs.teacher != "nothing"), "must read the truth or the teacher, one of them", needs=needs
    )
    x = _batch()
    loss, mask = spec.loss(x), spec.mask(x)
    claims.that(loss.shape == (_B,), "loss must be [B], one value a row", shape=list(loss.shape))
    claims.finite(loss, "must be finite, where the truth is not known (NaN) too")
    claims.that(bool((loss >= 0).all()), "must not be below 0", loss=loss.tolist())
    if needs.labels:
        claims.that(mask is not None and mask.tolist() == [1, 1, 0, 1, 1], "mask must be 0 where nothing of a row is known, else 1",
                    mask=None if mask is None else mask.tolist())  # fmt: skip
        claims.that(float(loss[2]) == 0, "must be 0 where nothing of a row is known")
        claims.refuses(lambda: spec.loss(replace(x, flags_BK=None)), PotstillError, "must refuse data without flags")
        sure = torch.where(torch.nan_to_num(_flags(x)) > 0.5, 40.0, -40.0)
        claims.close(
            spec.loss(replace(x, output=sure)),
            torch.zeros(_B),
            "must be 0 where the student is sure and right",
            atol=1e-6,
        )
    else:
        claims.that(mask is None, "must have a term for every row")
        assert isinstance(x.teacher, tiny.Rows)
        same = spec.loss(replace(x, output=x.teacher.values_BK))
        claims.close(same, torch.zeros(_B), "must be 0 where the student gives the teacher's logits", atol=1e-5)
        claims.refuses(
            lambda: spec.loss(replace(x, teacher=None)), PotstillError, "must refuse a training without a teacher"
        )
    _check_each_class(claims, spec, x, loss)


def _check_each_class(claims: Claims, spec: ObjectiveSpec, x: LossInputs, loss: Tensor) -> None:
    """Each class must count by itself, with the gradient that its loss has."""
    import torch

    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    moved = replace(x, output=x.output[:, order], flags_BK=_flags(x)[:, order], teacher=tiny.Rows(_taught(x)[:, order]))
    claims.close(spec.loss(moved), loss, "must take each class by itself, whatever their order", 1e-5)
    student = x.output.double().requires_grad_()
    found = replace(x, output=student, flags_BK=_flags(x).double(), teacher=tiny.Rows(_taught(x).double()))
    spec.loss(found).sum().backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    claims.finite(student.grad, "the gradient must be finite")
    for place in range(0, _B * _K, 4):
        step = torch.zeros_like(student)
        step.view(-1)[place] = 1e-6
        up, down = (float(spec.loss(replace(found, output=student.detach() + s * step)).sum()) for s in (1, -1))
        claims.close(
            float(student.grad.view(-1)[place]),
            (up - down) / 2e-6,
            "the gradient must be that of differences",
            1e-3,
            1e-6,
        )
    claims.refuses(
        lambda: spec.loss(replace(x, output=x.output[:, 1:])), PotstillError, "must refuse another number of classes"
    )


def _flags(x: LossInputs) -> Tensor:
    assert x.flags_BK is not None
    return x.flags_BK


def _taught(x: LossInputs) -> Tensor:
    assert isinstance(x.teacher, tiny.Rows)
    return x.teacher.values_BK


def _batch() -> LossInputs:
    """Return a batch with two unknown flags in row 1, and none known in row 2."""
    import torch

    rng = np.random.default_rng(4)
    student, teacher = (torch.from_numpy(rng.normal(scale=2, size=(_B, _K)).astype(np.float32)) for _ in range(2))
    flags = torch.from_numpy((rng.random((_B, _K)) < 0.4).astype(np.float32))
    flags[1, 0] = flags[1, 5] = flags[2] = float("nan")
    return LossInputs(student, torch.zeros(_B, dtype=torch.int64), 0.3, teacher=tiny.Rows(teacher), flags_BK=flags)
