"""The contracts of objectives on tokens and on values. Shapes: B rows, L tokens, K classes, H horizon, V variables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.core.errors import PotstillError
from potstill.objectives import LossInputs, ObjectiveSpec, registry
from potstill.schedules import value_at
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec

if TYPE_CHECKING:
    from torch import Tensor

_B, _L, _K, _H, _V = 5, 6, 7, 12, 3
_PROGRESS = (0.0, 0.3, 1.0)


def check_token_objective(spec: ObjectiveSpec) -> None:
    """Check that an objective on tokens moves the student alone, leaves padding out, and counts each real token as one.

    Args:
        spec: valid; teaches tokens.

    Raises:
        AssertionError: something does not hold; says what.
    """
    claims = _common(spec, "tokens")
    x = _tokens(spec)
    _check(claims, spec, x)
    _check_padding(claims, spec, x)
    _check_codec_bounds(claims, spec)


def check_value_objective(spec: ObjectiveSpec) -> None:
    """Check that an objective on values moves the student alone, towards the teacher, whether or not the truth is known.

    Args:
        spec: valid; teaches values.

    Raises:
        AssertionError: something does not hold; says what.
    """
    import torch

    claims = _common(spec, "values")
    x = _values()
    _check(claims, spec, x)
    claims.that(spec.mask(x) is None, "must have a term for every row of values")
    same = spec.loss(replace(x, output=_given(x)))
    claims.close(same, torch.zeros(_B), "must be 0 where the student gives the teacher's values", atol=1e-5)
    targets = x.output + 100.0
    targets[:, ::2] = float("nan")
    told = spec.loss(replace(x, targets_BHV=targets))
    claims.finite(told, "must be finite where the truth is not known (NaN)")
    unknown = spec.loss(replace(x, targets_BHV=torch.full_like(targets, float("nan"))))
    claims.equal(unknown, spec.loss(x), "a truth of which nothing is known must be as none")
    differs = bool((told != spec.loss(x)).all())
    reads = spec.needs().labels
    claims.that(
        differs == reads, "must read the true values, as needs() says" if reads else "must not read the true values"
    )
    _check_codec_bounds(claims, spec)


def _common(spec: ObjectiveSpec, output: str) -> Claims:
    check_spec(spec, registry, "objective")
    claims = claims_of("objective", spec)
    claims.that(str(getattr(spec, "reference", "")).strip(), "must name its paper in `reference`")
    claims.that(output in spec.teaches, f"must teach {output} to be checked on them", teaches=spec.teaches)
    claims.that(spec.needs() == spec.needs(), "needs() must be the same each time")
    claims.that(spec.needs().teacher not in ("nothing", "either"), "must say in needs() what it reads of the teacher")
    claims.refuses(
        lambda: type(spec).model_validate({**spec.model_dump(), "weight": -1.0}), ValueError, "must refuse a negative weight"
    )  # fmt: skip
    for progress in _PROGRESS:
        claims.that(value_at(spec.weight, progress) >= 0, "weight must not be negative", progress=progress)
        bad = {k: v for k, v in spec.readings(progress).items() if not np.isfinite(v)}
        claims.that(not bad, "readings must be finite numbers", bad=bad)
    return claims


def _tokens(spec: ObjectiveSpec) -> LossInputs:
    """Return a batch with rows of 6, 4, 1 and 0 real tokens; the teacher's tokens have padding in the same places."""
    import torch

    rng = np.random.default_rng(3)
    mask = torch.arange(_L) < torch.tensor([6, 4, 1, 0, 5])[:, None]
    student = torch.from_numpy(rng.normal(scale=2, size=(_B, _L, _K)).astype(np.float32))
    if spec.needs().teacher == "tokens":
        ids = torch.from_numpy(rng.integers(0, _K, (_B, _L))).where(mask, torch.tensor(-1))
        teacher = tiny.Rows(ids, "tokens")
    else:
        teacher = tiny.Rows(torch.from_numpy(rng.normal(scale=2, size=(_B, _L, _K)).astype(np.float32)))
    labels = torch.full((_B,), -1)
    return LossInputs(output=student, labels_B=labels, progress=0.3, teacher=teacher, token_mask_BL=mask)


def _values() -> LossInputs:
    import torch

    rng = np.random.default_rng(4)
    student, teacher = (torch.from_numpy(rng.normal(size=(_B, _H, _V)).astype(np.float32)) for _ in range(2))
    return LossInputs(student, torch.full((_B,), -1), 0.3, teacher=tiny.Rows(teacher, "values"))


def _given(x: LossInputs) -> Tensor:
    assert isinstance(x.teacher, tiny.Rows)
    return x.teacher.values_BK


def _total(spec: ObjectiveSpec, x: LossInputs) -> Tensor:
    """Return [B], what each row adds to the trainer's sum."""
    import torch

    loss, mask = spec.loss(x), spec.mask(x)
    return loss if mask is None else torch.where(mask > 0, loss * mask, torch.zeros_like(loss))


def _picked(x: LossInputs, rows: Any) -> LossInputs:
    assert isinstance(x.teacher, tiny.Rows)
    mask = None if x.token_mask_BL is None else x.token_mask_BL[rows]
    teacher = tiny.Rows(x.teacher.values_BK[rows], x.teacher.output)
    return replace(x, output=x.output[rows], labels_B=x.labels_B[rows], teacher=teacher, token_mask_BL=mask)


def _check(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    for progress in _PROGRESS:
        x = replace(x, progress=progress)
        kept, loss = x.output.clone(), spec.loss(x)
        claims.that(loss.shape == (_B,), "loss must be [B], one value a row", shape=list(loss.shape))
        claims.that(loss.dtype == torch.float32, "loss of float32 outputs must be float32", dtype=loss.dtype)
        claims.finite(loss, f"loss must be finite at progress {progress}")
        claims.that(bool((loss >= -1e-5).all()), "loss must not be negative", loss=loss.tolist())
        claims.equal(spec.loss(x), loss, "loss must be a pure function")
        claims.equal(x.output, kept, "loss must leave the student's output as it is")
        _check_readings(claims, spec, x)
    claims.equal(spec.loss(replace(x, labels_B=x.labels_B + 4)), spec.loss(x), "must not read labels of classes")
    order, loss = torch.tensor([3, 0, 4, 1, 2]), _total(spec, x)
    claims.close(_total(spec, _picked(x, order)), loss[order], "a row's loss must move with the row")
    for i in range(_B):
        claims.close(_total(spec, _picked(x, slice(i, i + 1))), loss[i : i + 1], "a row's loss must be its own alone")
    _check_gradient(claims, spec, x)
    _check_sign(claims, spec, x)
    _check_extremes(claims, spec, x)
    _check_refusals(claims, spec, x)


def _check_readings(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    assert isinstance(x.teacher, tiny.Rows)
    x.teacher.asked.clear()
    spec.loss(x)
    claims.that(x.teacher.asked, "must read the teacher, as needs() says")
    if spec.needs().teacher == "logits":
        temperatures = spec.needs().temperatures
        undeclared = [t for t, _ in x.teacher.asked if temperatures is not None and t not in temperatures]
        claims.that(not undeclared, "must read the teacher at temperatures of needs()", temperatures=undeclared)


def _check_gradient(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    """Against central differences in double precision; none to the teacher."""
    import torch

    assert isinstance(x.teacher, tiny.Rows)
    given, student = x.teacher.values_BK, x.output.double().requires_grad_()
    teacher = tiny.Rows(given.double().requires_grad_() if given.is_floating_point() else given, x.teacher.output)
    mix = torch.from_numpy(np.random.default_rng(1).normal(size=_B))

    def summed(output: Tensor) -> Tensor:
        return (_total(spec, replace(x, output=output, teacher=teacher)) * mix).sum()

    summed(student).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    claims.finite(student.grad, "the gradient must be finite")
    claims.that(bool(student.grad.any()), "the gradient must move the student")
    taught = teacher.values_BK.grad
    claims.that(taught is None or not bool(taught.any()), "the teacher must receive no gradient")
    values, flat, step = student.detach(), student.grad.reshape(-1), 1e-5
    for place in np.linspace(0, values.numel() - 1, 17).astype(int).tolist():
        moved = torch.zeros_like(values)
        moved.view(-1)[place] = step
        expected = float((summed(values + moved) - summed(values - moved)).detach()) / (2 * step)
        claims.close(float(flat[place]), expected, "the gradient must be that of finite differences", 1e-3, 1e-6)


def _check_sign(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    given = _given(x)
    if not given.is_floating_point():
        given = 6.0 * torch.nn.functional.one_hot(given.clamp(min=0), _K).float()
    agrees, other = (float(_total(spec, replace(x, output=o)).sum()) for o in (given, x.output))
    claims.that(agrees < other, "must be lower for a student that agrees", agrees=agrees, other=other)


def _check_extremes(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    for output in (torch.zeros_like(x.output), 1e4 * x.output, torch.ones_like(x.output)):
        student = output.clone().requires_grad_()
        loss = _total(spec, replace(x, output=student))
        claims.finite(loss, "must be finite for outputs of zeros, of 10,000, and all alike")
        loss.sum().backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        claims.finite(student.grad, "must have a finite gradient for outputs of zeros, of 10,000, and all alike")


def _check_refusals(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    claims.refuses(
        lambda: spec.loss(replace(x, teacher=None)), PotstillError, "must refuse a training without a teacher"
    )
    logits = replace(x, output=x.output[:, 0])
    claims.refuses(lambda: spec.loss(logits), PotstillError, "must refuse a student that gives classes [B, K]")
    for output in ("logits", "probabilities", "values", "tokens"):
        if output != spec.needs().teacher:
            wrong = replace(x, teacher=tiny.Rows(torch.zeros_like(x.output), output))
            claims.refuses(lambda wrong=wrong: spec.loss(wrong), PotstillError, f"must refuse a teacher's {output}")
    short = replace(x, output=x.output[:, 1:])
    claims.refuses(lambda: spec.loss(short), PotstillError, "must refuse a student of another length than the teacher")


def _check_padding(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    """A row's loss times what it counts is the sum over its real tokens, each on its own."""
    import torch

    mask, weights = x.token_mask_BL, spec.mask(x)
    assert mask is not None and isinstance(x.teacher, tiny.Rows)
    claims.that(weights is not None, "must have a mask that counts a row's real tokens")
    assert weights is not None
    claims.equal(weights, mask.sum(dim=1).float(), "mask must be [B] float32, the number of a row's real tokens")
    given = x.teacher.values_BK[mask][:, None]
    alone = replace(
        x, output=x.output[mask][:, None], labels_B=torch.full((len(given),), -1),
        teacher=tiny.Rows(given, x.teacher.output), token_mask_BL=None,
    )  # fmt: skip
    claims.close(
        _total(spec, x).sum(), spec.loss(alone).sum(), "Σ w l must be the sum over real tokens, each as if alone", 1e-4
    )
    noisy = x.output + 5.0 * torch.rand(x.output.shape, generator=torch.Generator().manual_seed(0))
    claims.equal(
        _total(spec, replace(x, output=noisy.where(~mask[:, :, None], x.output))),
        _total(spec, x),
        "must not read padding",
    )
    student = x.output.clone().requires_grad_()
    _total(spec, replace(x, output=student)).sum().backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    claims.that(not bool(student.grad[~mask].any()), "must have no gradient at padding")


def _check_codec_bounds(claims: Claims, spec: ObjectiveSpec) -> None:
    """Only codecs that keep what it reads may serve it, and each of these must."""
    from potstill.labels.codecs import registry as codecs
    from potstill.labels.rows import StoreRows
    from potstill.labels.suits import codec_faults
    from potstill.testing.examples import examples

    x = _tokens(spec) if "tokens" in spec.teaches else _values()
    values, rows = _given(x).flatten(1).numpy().astype(np.float32), np.arange(_B)
    served = []
    for kind, cls in codecs.items():
        for codec in examples(cls):
            if codec_faults(spec, codec):
                continue
            claims.that(
                codec.tokens == (spec.needs().teacher == "tokens"),
                "must not be served by a codec of others",
                codec=kind,
            )
            if codec.per_token:  # all but one of each token's logits: what is left out is not at issue here
                codec = codec.model_copy(update={"length": _L, "k": _K - 1})
            store = tiny.MemoryStore(values, codec, output=_output(x))
            for progress in _PROGRESS:
                found = spec.loss(replace(x, progress=progress, teacher=StoreRows(store, 0, rows)))
                exact = spec.loss(replace(x, progress=progress))
                claims.close(found, exact, f"must be nearly the same on labels kept as {kind!r}", 0.1, 0.05)
            served.append(kind)
    claims.that(served, "must be served by some codec")


def _output(x: LossInputs) -> Any:
    assert x.teacher is not None
    return x.teacher.output
