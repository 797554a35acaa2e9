"""The contract of an objective on features. Shapes: B rows of a batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from potstill.core.errors import PotstillError
from potstill.objectives import LossInputs, ObjectiveSpec, registry
from potstill.objectives._sequences import TokenFeatureSpec
from potstill.schedules import value_at
from potstill.taps import Shape
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec

if TYPE_CHECKING:
    from torch import Tensor

_B = 6
_SHAPES: list[tuple[Shape, Shape]] = [
    ((3, 4, 4), (5, 2, 2)), ((4, 6), (4, 3)), ((4, 6), (5, 2, 2)), ((5, 2, 2), (5, 6)), ((4,), (7,)),
    ((4, 5, 5), (2, 5, 5)), ((5, 8), (5, 12)), ((2, 5, 4), (4, 5, 4)),
]  # fmt: skip
"""(student, teacher), of a row: two pictures, tokens, tokens and a picture and the other way about, vectors; attention of four
and two heads, tokens of two widths, queries of two and four heads."""


def check_feature_objective(spec: ObjectiveSpec) -> None:
    """Check that an objective on features moves the student alone, towards the teacher's features.

    It is tried on pictures, tokens, vectors and attention of two widths, joined by its own `joint`, with zeros and rows alike,
    and against finite differences. One that says `relational` may relate the rows of a batch; any other may not. A
    `TokenFeatureSpec` must leave padding out.

    Args:
        spec: valid.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "objective")
    claims = claims_of("objective", spec)
    claims.that(str(getattr(spec, "reference", "")).strip(), "must name its paper in `reference`")
    claims.that(spec.needs() == spec.needs(), "needs() must be the same each time")
    claims.that(spec.needs().taps is not None, "must say in needs() which taps it reads")
    claims.refuses(
        lambda: type(spec).model_validate({**spec.model_dump(), "weight": -1.0}), ValueError, "must refuse a negative weight"
    )  # fmt: skip
    tried = list(_batches(claims, spec))
    claims.that(tried, "must take pictures, tokens or vectors")
    for x in tried:
        _check_loss(claims, spec, x)
        _check_rows(claims, spec, x)
        _check_gradient(claims, spec, x)
        _check_extremes(claims, spec, x)
        _check_padding(claims, spec, x)
    _check_pairs(claims, spec, tried)
    _check_refusals(claims, spec, tried[0])
    for progress in (0.0, 0.3, 1.0):
        claims.that(value_at(spec.weight, progress) >= 0, "weight must not be negative", progress=progress)


def _batches(claims: Claims, spec: ObjectiveSpec) -> Iterator[LossInputs]:
    """Yield a batch of each kind of features that the objective's joint takes."""
    import torch

    for i, (ours, theirs) in enumerate(_SHAPES):
        torch.manual_seed(0)
        try:
            joint = spec.joint(ours, theirs, "check")
        except PotstillError:
            continue
        claims.that(not list(joint.teacher.parameters()), "the teacher's side of a joint must not be trainable")
        student, teacher = (torch.from_numpy(_drawn((_B, *s), 10 * i + j)) for j, s in enumerate((ours, theirs)))
        with torch.no_grad():
            yield _inputs(joint.student(student), joint.teacher(teacher))


def _drawn(shape: Shape, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _inputs(student: Tensor, teacher: Tensor) -> LossInputs:
    import torch

    labels = torch.arange(len(student)) % 3 - 1
    logits = torch.from_numpy(tiny.logits(len(student), 4))
    return LossInputs(logits, labels, 0.3, student_taps={"a:b": student}, teacher_taps={"a:b": teacher})


def _with(x: LossInputs, student: Tensor, teacher: Tensor) -> LossInputs:
    return replace(_inputs(student, teacher), progress=x.progress)


def _loss(spec: ObjectiveSpec, x: LossInputs) -> Tensor:
    """Return the loss; one on attention is shown the softmax of what was drawn, since no other attention exists."""
    if spec.needs().tap_sort == "attention":
        shown = [{k: v.softmax(dim=-1) for k, v in taps.items()} for taps in (x.student_taps, x.teacher_taps)]
        x = replace(x, student_taps=shown[0], teacher_taps=shown[1])
    return spec.loss(x)


def _both(x: LossInputs) -> tuple[Tensor, Tensor]:
    return x.student_taps["a:b"], x.teacher_taps["a:b"]


def _check_loss(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    student, teacher = _both(x)
    kept, loss = student.clone(), _loss(spec, x)
    claims.that(loss.shape == (_B,), "loss must be [B], one value a row", shape=list(loss.shape))
    claims.that(loss.dtype == torch.float32, "loss of float32 features must be float32", dtype=loss.dtype)
    claims.finite(loss, "loss must be finite")
    claims.that(bool((loss >= 0).all()), "a distance between features must not be negative", loss=loss.tolist())
    claims.that(float(loss.sum()) > 0, "loss of features that differ must be above 0")
    claims.equal(_loss(spec, x), loss, "loss must be a pure function")
    claims.equal(student, kept, "loss must leave the features as they are")
    claims.that(spec.mask(x) is None, "must have a term for every row: it reads no labels")
    other = replace(x, output=-x.output, labels_B=torch.full_like(x.labels_B, 2))
    claims.equal(_loss(spec, other), loss, "must read features alone")
    same = _loss(spec, _with(x, teacher, teacher))
    claims.close(same, torch.zeros(_B), "must be 0 where the student gives the teacher's features", atol=1e-6)


def _check_rows(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    student, teacher = _both(x)
    loss, order = _loss(spec, x), torch.tensor([3, 0, 5, 1, 4, 2])
    moved = _loss(spec, _with(x, student[order], teacher[order]))
    claims.close(moved, loss[order], "a row's loss must move with the row", rtol=1e-4)
    for count in (1, 2, 3):
        few = _loss(spec, _with(x, student[:count], teacher[:count]))
        claims.finite(few, f"loss must be finite for a batch of {count}")
        if not spec.relational:
            claims.close(few, loss[:count], "a row's loss must be its own alone, or the objective say `relational`")
    lone = _loss(spec, _with(x, student[:1], teacher[:1]))
    if spec.relational:
        claims.close(lone, torch.zeros(1), "a batch of one has no relations: its loss must be 0", atol=1e-6)


def _check_gradient(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    """Against central differences in double precision; none to the teacher."""
    import torch

    student, teacher = (f.double().contiguous().requires_grad_() for f in _both(x))
    mix = torch.from_numpy(np.random.default_rng(1).normal(size=_B))

    def summed(features: Tensor) -> Tensor:
        return (_loss(spec, _with(x, features, teacher)) * mix).sum()

    summed(student).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    claims.finite(student.grad, "the gradient must be finite")
    claims.that(bool(student.grad.any()), "the gradient must move the student")
    claims.that(teacher.grad is None or not bool(teacher.grad.any()), "the teacher must receive no gradient")
    step, values, flat = 1e-5, student.detach(), student.grad.reshape(-1)
    for place in np.linspace(0, values.numel() - 1, 7).astype(int).tolist():
        moved = torch.zeros_like(values)
        moved.view(-1)[place] = step
        expected = float((summed(values + moved) - summed(values - moved)).detach()) / (2 * step)
        claims.close(float(flat[place]), expected, "the gradient must be that of finite differences", 1e-3, 1e-6)


def _check_extremes(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    ours, theirs = _both(x)
    alike = ours[:1].expand_as(ours)
    dead = torch.cat([torch.zeros_like(ours[:2]), ours[2:]])
    zeros, far = torch.zeros_like(ours), 1e4 * ours
    for student, teacher in itertools.product((alike, dead, zeros, far), (theirs, torch.zeros_like(theirs))):
        student = student.clone().requires_grad_()
        loss = _loss(spec, _with(x, student, teacher))
        claims.finite(loss, "must be finite for features of zeros, of 10,000, and for rows all alike")
        loss.sum().backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        claims.finite(
            student.grad, "must have a finite gradient for features of zeros, of 10,000, and for rows all alike"
        )
        steep = float(student.grad.abs().max())
        claims.that(
            steep < 1e7, "must not have a gradient that drowns every other, at zeros or rows all alike", steep=steep
        )


def _check_padding(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    """Padding is as if it were not there; a row of nothing else has a loss of 0."""
    import torch

    student, teacher = _both(x)
    if not isinstance(spec, TokenFeatureSpec):
        return
    sort, length = spec.needs().tap_sort, student.shape[-2]
    if sort == "attention" and student.shape[-1] != length:  # looks at other tokens: no mask fits both
        return
    mask = torch.ones(_B, length, dtype=torch.bool)
    mask[1:, length - 2 :], mask[-1] = False, False
    claims.close(
        _loss(spec, replace(x, token_mask_BL=torch.ones_like(mask))),
        _loss(spec, x),
        "a mask of real tokens changes nothing",
    )
    padded = student.clone().requires_grad_()
    loss = _loss(spec, replace(_with(x, padded, teacher), token_mask_BL=mask))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    claims.that(float(loss[-1].detach()) == 0, "must be 0 for a row of padding", loss=float(loss[-1].detach()))
    assert padded.grad is not None
    claims.finite(padded.grad, "must have a finite gradient with padding")
    moved = (padded.grad != 0).flatten(2).any(dim=2) if sort != "attention" else (padded.grad != 0).any(dim=(1, 3))
    claims.that(bool((moved & ~mask).sum() == 0), "must have no gradient at padding")
    claims.that(bool(moved[:-1][mask[:-1]].all()), "must have a gradient at real tokens")
    cut = [f[1:-1, ..., : length - 2, :] for f in (student, teacher)]
    if sort == "attention":
        cut = [f[..., : length - 2] for f in cut]
    short = _loss(spec, _with(x, cut[0], cut[1]))
    claims.close(loss[1:-1].detach(), short, "padding must be as if it were not there", rtol=1e-4)
    for wrong in (mask[:, 1:], mask[1:]):
        claims.refuses(
            lambda wrong=wrong: _loss(spec, replace(x, token_mask_BL=wrong)),
            PotstillError,
            "must refuse a mask of others",
        )


def _check_pairs(claims: Claims, spec: ObjectiveSpec, tried: list[LossInputs]) -> None:
    """Several pairs add up, whatever their shapes."""
    import torch

    both = replace(
        tried[0],
        student_taps={str(i): x.student_taps["a:b"] for i, x in enumerate(tried)},
        teacher_taps={str(i): x.teacher_taps["a:b"] for i, x in enumerate(tried)},
    )
    each = torch.stack([_loss(spec, x) for x in tried])
    claims.close(_loss(spec, both), each.sum(dim=0), "pairs must add up", rtol=1e-4)


def _check_refusals(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    student, teacher = _both(x)
    claims.refuses(
        lambda: _loss(spec, replace(x, student_taps={}, teacher_taps={})),
        PotstillError,
        "must refuse a batch without taps",
    )
    claims.refuses(
        lambda: _loss(spec, _with(x, student, teacher[1:])), PotstillError, "must refuse features of other rows"
    )
