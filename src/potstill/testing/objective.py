"""The contract of an objective. Shapes: B rows of a batch, K classes."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.core.errors import PotstillError
from potstill.labels.rows import StoreRows
from potstill.labels.spec import LabelsSpec
from potstill.objectives import LossInputs, Needs, ObjectiveSpec, registry
from potstill.schedules import value_at
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec

if TYPE_CHECKING:
    from torch import Tensor

_K = 20
_LABELS = [0, 3, -1, 19, 3, -1, 7, 0, 1, 2, -1, 5]
_PROGRESS = (0.0, 0.3, 1.0)


def check_objective(spec: ObjectiveSpec) -> None:
    """Check that an objective is a loss, of each row alone unless it says otherwise, that moves the student alone, towards
    what it is taught.

    It is tried with every output of a teacher and every codec that its `needs()` accept, with and without labels and
    mixup, at extreme logits, and against finite differences.

    Args:
        spec: valid.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "objective")
    claims = claims_of("objective", spec)
    claims.that(str(getattr(spec, "reference", "")).strip(), "must name its paper in `reference`")
    needs = spec.needs()
    claims.that("classes" in spec.teaches, "must teach classes to be checked on them", teaches=spec.teaches)
    claims.that(needs == spec.needs(), "needs() must be the same each time")
    claims.that(needs.labels or needs.teacher != "nothing", "must read labels or a teacher")
    claims.refuses(
        lambda: type(spec).model_validate({**spec.model_dump(), "weight": -1.0}), ValueError, "must refuse a negative weight"
    )  # fmt: skip
    for x in _batches(needs):
        _check_loss(claims, spec, x)
        _check_rows(claims, spec, x)
        _check_gradient(claims, spec, x)
        _check_labels(claims, spec, x)
        _check_mixup(claims, spec, x)
        _check_sign(claims, spec, x)
        _check_extremes(claims, spec, x)
        _check_readings(claims, spec, x)
    _check_refusals(claims, spec)
    _check_classes(claims, spec)
    _check_codecs(claims, spec)


def _batches(needs: Needs, num_classes: int = _K) -> Iterator[LossInputs]:
    """Yield a batch for each output that a teacher may give, or one without a teacher."""
    import torch

    student = torch.from_numpy(tiny.logits(len(_LABELS), num_classes, seed=1))
    labels = torch.tensor([min(label, num_classes - 1) for label in _LABELS])
    values = torch.from_numpy(tiny.logits(len(_LABELS), num_classes, seed=2))
    teachers: list[Any] = [None] if needs.teacher == "nothing" else []
    if needs.teacher in ("logits", "either"):
        teachers.append(tiny.Rows(values))
    if needs.teacher in ("probabilities", "either"):
        teachers.append(tiny.Rows(values.softmax(dim=1), "probabilities"))
    for teacher in teachers:
        yield LossInputs(output=student, labels_B=labels, progress=0.3, teacher=teacher)


def _total(spec: ObjectiveSpec, x: LossInputs) -> Tensor:
    """Return [B], the loss of the rows that have this term, 0 elsewhere: what the trainer sums."""
    import torch

    loss_B, mask_B = spec.loss(x), spec.mask(x)
    return loss_B if mask_B is None else torch.where(mask_B > 0, loss_B * mask_B, torch.zeros_like(loss_B))


def _check_loss(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    for progress in _PROGRESS:
        x = replace(x, progress=progress)
        kept = x.logits_BK.clone()
        loss = spec.loss(x)
        claims.that(loss.shape == x.labels_B.shape, "loss must be [B], one value a row", shape=list(loss.shape))
        claims.that(loss.dtype == torch.float32, "loss of float32 logits must be float32", dtype=loss.dtype)
        claims.finite(_total(spec, x), f"loss must be finite at progress {progress}")
        claims.equal(spec.loss(x), loss, "loss must be a pure function")
        claims.equal(x.logits_BK, kept, "loss must leave the student's logits as they are")
        mask = spec.mask(x)
        if mask is not None:
            claims.that(mask.shape == loss.shape, "mask must be [B]", shape=list(mask.shape))
            claims.that(bool(((mask == 0) | (mask == 1)).all()), "mask must hold 0 and 1", mask=mask.tolist())


def _check_rows(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    loss, order = _total(spec, x), torch.from_numpy(np.random.default_rng(0).permutation(len(_LABELS)))
    claims.close(_total(spec, _picked(x, order)), loss[order], "a row's loss must move with the row")
    if spec.relational:
        half = _total(spec, _picked(x, order[:6]))
        claims.finite(_total(spec, _picked(x, order[:1])), "must be finite for a batch of one row")
        claims.that(bool((half != loss[order[:6]]).any()), "must depend on the batch: it says that it is relational")
        return
    for i in (0, 2, 3):
        claims.close(
            _total(spec, _picked(x, order[i : i + 1])), loss[order[i : i + 1]], "a row's loss must be its own alone"
        )


def _picked(x: LossInputs, rows: Tensor) -> LossInputs:
    teacher = tiny.Rows(x.teacher.values_BK[rows], x.teacher.output) if isinstance(x.teacher, tiny.Rows) else None
    return replace(x, output=x.output[rows], labels_B=x.labels_B[rows], teacher=teacher)


def _check_gradient(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    """Against central differences in double precision; none to the teacher."""
    import torch

    student = x.logits_BK.double().requires_grad_()
    teacher = None
    if isinstance(x.teacher, tiny.Rows):
        teacher = tiny.Rows(x.teacher.values_BK.double().requires_grad_(), x.teacher.output)
    mix = torch.from_numpy(np.random.default_rng(1).normal(size=len(_LABELS)))

    def summed(logits: Tensor) -> Tensor:
        return (_total(spec, replace(x, output=logits, teacher=teacher)) * mix).sum()

    summed(student).backward()  # type: ignore[no-untyped-call]
    gradient = student.grad
    assert gradient is not None
    claims.finite(gradient, "the gradient must be finite")
    claims.that(bool((gradient != 0).any()), "the gradient must move the student")
    if teacher is not None:
        taught = teacher.values_BK.grad
        claims.that(taught is None or not bool(taught.any()), "the teacher must receive no gradient")
    step, values = 1e-4, student.detach()
    for row, column in ((0, 0), (0, 5), (1, 3), (3, 19), (6, 1), (9, 2)):
        moved = torch.zeros_like(values)
        moved[row, column] = step
        expected = float((summed(values + moved) - summed(values - moved)).detach()) / (2 * step)
        claims.close(
            float(gradient[row, column]), expected, "the gradient must be that of finite differences", 1e-2, 1e-3
        )


def _check_labels(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    """Rows without a label: no term where labels are read, unless they are optional; no difference where they are not."""
    import torch

    other = replace(x, labels_B=torch.where(x.labels_B >= 0, (x.labels_B + 1) % _K, x.labels_B))
    none = replace(x, labels_B=torch.full_like(x.labels_B, -1))
    loss, known, needs = _total(spec, x), x.labels_B >= 0, spec.needs()
    claims.that(needs.labels or not needs.labels_optional, "labels_optional must come with labels in needs()")
    if not needs.labels:
        claims.equal(_total(spec, none), loss, "must not read labels, as needs() says")
        return
    mask = spec.mask(x)
    if needs.labels_optional:
        claims.that(mask is None, "must keep rows without a label: needs() says that labels are optional")
        claims.equal(_total(spec, other)[~known], loss[~known], "a row without a label must not read another's")
        claims.that(bool((_total(spec, other)[known] != loss[known]).all()), "must read the labels, as needs() says")
        claims.that(
            bool((_total(spec, none) != 0).all()), "must have the term on rows without a label, as needs() says"
        )
        return
    claims.that(mask is not None, "must mask rows without a label: it reads labels")
    assert mask is not None
    claims.equal(mask > 0, known, "mask must be 1 where a row has a label and 0 elsewhere")
    claims.that(bool((_total(spec, other)[known] != loss[known]).all()), "must read the labels, as needs() says")
    claims.that(not bool(_total(spec, none).any()), "must be 0 where no row has a label")


def _check_mixup(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    """The teacher saw the mixed picture; hard labels are mixed here."""
    import torch

    partner = x.labels_B.roll(1)
    share = torch.linspace(0.5, 1.0, len(partner))
    mixed = replace(x, partner_labels_B=partner, mix_B=share)
    if not spec.needs().labels:
        claims.equal(_total(spec, mixed), _total(spec, x), "must leave mixup to the teacher: it reads no labels")
        return
    both = (x.labels_B >= 0) & (partner >= 0)
    swapped = replace(x, labels_B=partner, partner_labels_B=x.labels_B, mix_B=1 - share)
    claims.close(
        _total(spec, swapped)[both], _total(spec, mixed)[both], "must be the same with row and partner exchanged"
    )
    whole = replace(mixed, mix_B=torch.ones_like(share))
    claims.close(_total(spec, whole)[both], _total(spec, x)[both], "must be the plain loss where nothing is mixed in")
    if spec.needs().labels_optional:
        unlabelled = _total(spec, replace(x, labels_B=torch.full_like(partner, -1)))
        claims.equal(
            _total(spec, mixed)[~both], unlabelled[~both], "a mixed row that lacks a label must be as one without any"
        )
        return
    mask = spec.mask(mixed)
    assert mask is not None
    claims.equal(mask > 0, both, "mask must need both labels of a mixed row")


def _check_sign(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    """A student that says what it is taught loses less than one that says the opposite."""
    import torch

    if isinstance(x.teacher, tiny.Rows):
        taught = x.teacher.values_BK if x.teacher.output == "logits" else torch.log(x.teacher.values_BK)
    else:
        taught = 6.0 * torch.nn.functional.one_hot(x.labels_B.clamp(min=0), _K).float()
    agrees, opposes = (float(_total(spec, replace(x, output=sign * taught)).sum()) for sign in (1.0, -1.0))
    claims.that(agrees < opposes, "must be lower for a student that agrees", agrees=agrees, opposes=opposes)


def _check_extremes(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    import torch

    student = torch.zeros(len(_LABELS), _K)
    student[:, 0], student[1] = 1e4, 5.0
    student.requires_grad_()
    teacher = None
    if isinstance(x.teacher, tiny.Rows):
        values = student.detach().flip(1) if x.teacher.output == "logits" else torch.eye(_K)[: len(_LABELS)]
        teacher = tiny.Rows(values, x.teacher.output)
    total = _total(spec, replace(x, output=student, teacher=teacher))
    claims.finite(total, "must be finite for logits of 10,000 and for rows all alike")
    total.sum().backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    claims.finite(student.grad, "must have a finite gradient for logits of 10,000 and for rows all alike")


def _check_readings(claims: Claims, spec: ObjectiveSpec, x: LossInputs) -> None:
    """What is logged, and what is read of the teacher, must be what was declared."""
    needs = spec.needs()
    for progress in _PROGRESS:
        readings = spec.readings(progress)
        clash = set(readings) & {"loss", "weight", "share"}
        claims.that(not clash, "readings must not be named as what the log has already", clash=clash)
        bad = {k: v for k, v in readings.items() if not math.isfinite(v)}
        claims.that(not bad, "readings must be finite numbers", bad=bad)
        claims.that(value_at(spec.weight, progress) >= 0, "weight must not be negative", progress=progress)
        if isinstance(x.teacher, tiny.Rows):
            x.teacher.asked.clear()
            spec.loss(replace(x, progress=progress))
            claims.that(x.teacher.asked, "must read the teacher, as needs() says")
            for temperature, standardized in x.teacher.asked:
                declared = needs.temperatures is None or temperature in needs.temperatures
                claims.that(declared, "must read the teacher at temperatures of needs()", temperature=temperature)
                claims.that(standardized <= needs.standardized, "must say in needs() that it reads standardised logits")


def _check_refusals(claims: Claims, spec: ObjectiveSpec) -> None:
    import torch

    needs = spec.needs()
    if needs.teacher == "nothing":
        return
    x = next(_batches(needs))
    claims.refuses(
        lambda: spec.loss(replace(x, teacher=None)), PotstillError, "must refuse a training without a teacher"
    )
    if needs.teacher == "logits":
        teacher = tiny.Rows(torch.softmax(x.logits_BK, dim=1), "probabilities")
        claims.refuses(
            lambda: spec.loss(replace(x, teacher=teacher)), PotstillError, "must refuse a teacher's probabilities"
        )


def _check_classes(claims: Claims, spec: ObjectiveSpec) -> None:
    """What it says of the number of classes must be so: refused with a reason, or a loss that moves the student."""
    for num in (2, 3, _K):
        why = spec.refuses(num)
        claims.that(why is None or bool(why.strip()), "must say why it refuses so many classes", classes=num)
        for x in _batches(spec.needs(), num):
            if why is not None:
                claims.refuses(
                    functools.partial(spec.loss, x), PotstillError, f"must raise for {num} classes, which it refuses"
                )
                continue
            student = x.logits_BK.requires_grad_()
            _total(spec, x).sum().backward()  # type: ignore[no-untyped-call]
            moved = student.grad is not None and float(student.grad.abs().max()) > 1e-5
            claims.that(moved, f"must move the student with {num} classes, or refuse them")
    claims.that(spec.refuses(_K) is None, "must not refuse twenty classes")


def _check_codecs(claims: Claims, spec: ObjectiveSpec) -> None:
    """Every codec that a recipe lets through must serve it, at every progress."""
    from potstill.labels.codecs import registry as codecs
    from potstill.testing.examples import examples

    needs = spec.needs()
    if needs.teacher in ("nothing", "probabilities"):
        return
    x, rows = next(_batches(needs)), np.arange(len(_LABELS))
    values = tiny.logits(len(_LABELS), _K, seed=2)
    for _, cls in codecs.items():
        for codec in examples(cls):
            if _faults(spec, LabelsSpec(codec=codec)):
                continue
            for progress in _PROGRESS:
                teacher = StoreRows(tiny.MemoryStore(values, codec), 0, rows)
                loss = spec.loss(replace(x, teacher=teacher, progress=progress))
                claims.finite(loss, f"must be finite on labels kept as {codec.kind!r}")
                if codec.dense:
                    exact = spec.loss(replace(x, progress=progress))
                    claims.close(loss, exact, f"must be nearly the same on labels kept as {codec.kind!r}", 0.05, 0.05)


def _faults(spec: ObjectiveSpec, labels: LabelsSpec) -> list[Any]:
    from potstill.models.ds_cnn import DsCnnSpec
    from potstill.stages import StepJob
    from potstill.stages.distill import DistillStep
    from potstill.tasks.image_classification import ImageClassificationSpec
    from potstill.teachers.train import TrainedTeacherSpec

    student = DsCnnSpec()
    job = StepJob(
        task=ImageClassificationSpec(), student=student, teacher=TrainedTeacherSpec(model=student), labels=labels, augment=(),
        seed=0, augment_seed=0, control=None,
    )  # fmt: skip
    # Unvalidated: a kind registered after potstill was loaded is in no union yet.
    return DistillStep.model_construct(objectives=(spec,)).faults(job)
