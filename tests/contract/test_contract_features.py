"""Each claim of the contract of objectives on features can fail: kinds broken in one way each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import nn

from potstill.objectives import LossInputs, Needs, ObjectiveSpec, registry
from potstill.objectives.feature_l2 import FeatureL2Spec
from potstill.objectives.rkd import RkdSpec
from potstill.taps.adapters import Joint
from potstill.testing import CONTRACTS, check_feature_objective

counter = itertools.count()
WHOLE, RELATION = FeatureL2Spec.pair_loss, RkdSpec.pair_loss


class Hint(FeatureL2Spec):
    """Feature distance, to be broken."""

    kind: Literal["hint"] = "hint"  # type: ignore[assignment]


class Related(RkdSpec):
    """Distances and angles, to be broken."""

    kind: Literal["related"] = "related"  # type: ignore[assignment]


def broken(base: type[ObjectiveSpec], **changes: Any) -> type[ObjectiveSpec]:
    return type(base.__name__, (base,), {"__module__": __name__, "__doc__": "Broken.", **changes})


def undetached(self: Any, a: Any, b: Any) -> Any:
    return (a - b).square().flatten(1).mean(dim=1)


def of_the_batch(self: Any, a: Any, b: Any) -> Any:
    return WHOLE(self, a, b) + 0.1 * WHOLE(self, a, b).mean()


def half(self: Any, a: Any, b: Any) -> Any:
    return WHOLE(self, 0.5 * a + 0.5 * a.detach(), b)


def naive_norm(self: Any, a: Any, b: Any) -> Any:
    units = [f.flatten(1) / f.flatten(1).norm(dim=1, keepdim=True) for f in (a, b.detach())]
    return (units[0] - units[1]).square().sum(dim=1)


def steep_norm(self: Any, a: Any, b: Any) -> Any:
    units = [f.flatten(1) / f.flatten(1).norm(dim=1, keepdim=True).clamp(min=1e-12) for f in (a, b.detach())]
    return (units[0] - units[1]).square().sum(dim=1)


def reading_labels(self: Any, x: LossInputs) -> Any:
    return FeatureL2Spec.loss(self, x) + x.labels_B.abs()


def first_pair(self: Any, x: LossInputs) -> Any:
    name = next(iter(x.student_taps), "")
    return WHOLE(self, x.student_taps[name], x.teacher_taps[name])


def spoiling(self: Any, a: Any, b: Any) -> Any:
    return WHOLE(self, a if a.requires_grad else a.mul_(1.01), b)


def trained_teacher(self: Any, student: Any, teacher: Any, where: str) -> Joint:
    joint = FeatureL2Spec.joint(self, student, teacher, where)
    return Joint(joint.student, nn.ParameterList([torch.ones(1)]), "")


def with_itself(self: Any, a: Any, b: Any) -> Any:
    return RELATION(self, a, b) + (a.flatten(1).mean(dim=1) - b.detach().flatten(1).mean(dim=1)).square()


BAD: list[tuple[type[ObjectiveSpec], dict[str, Any], str]] = [
    (Hint, {"pair_loss": lambda s, a, b: WHOLE(s, a, b).mean()}, r"loss must be \[B\]"),
    (Hint, {"pair_loss": lambda s, a, b: WHOLE(s, a, b).double()}, "must be float32"),
    (Hint, {"pair_loss": lambda s, a, b: -WHOLE(s, a, b)}, "must not be negative"),
    (Hint, {"pair_loss": lambda s, a, b: 0 * WHOLE(s, a, b)}, "above 0"),
    (Hint, {"pair_loss": lambda s, a, b: WHOLE(s, a, b) + next(counter)}, "pure function"),
    (Hint, {"pair_loss": spoiling}, "leave the features as they are|pure function"),
    (Hint, {"mask": lambda s, x: torch.ones(len(x.labels_B))}, "a term for every row"),
    (Hint, {"loss": reading_labels}, "read features alone"),
    (Hint, {"pair_loss": lambda s, a, b: WHOLE(s, 2 * a, b)}, "0 where the student gives the teacher's features"),
    (Hint, {"pair_loss": lambda s, a, b: WHOLE(s, a, b) * torch.arange(1, 1 + len(a))}, "must move with the row"),
    (Hint, {"pair_loss": of_the_batch}, "own alone"),
    (Hint, {"pair_loss": undetached}, "the teacher must receive no gradient"),
    (Hint, {"pair_loss": half}, "that of finite differences"),
    (Hint, {"pair_loss": lambda s, a, b: WHOLE(s, a.detach(), b) + 0 * a.flatten(1).sum(dim=1)}, "must move the student"),
    (Hint, {"pair_loss": naive_norm}, "must be finite for features of zeros"),
    (Hint, {"pair_loss": steep_norm}, "that drowns every other"),
    (Hint, {"loss": first_pair}, "pairs must add up"),
    (Hint, {"joint": trained_teacher}, "teacher's side of a joint must not be trainable"),
    (Hint, {"reference": " "}, "must name its paper"),
    (Hint, {"needs": lambda s: Needs()}, "which taps it reads"),
    (Related, {"relational": False}, "or the objective say `relational`"),
    (Related, {"pair_loss": with_itself}, "its loss must be 0"),
]  # fmt: skip


def registered(monkeypatch: pytest.MonkeyPatch, cls: type[ObjectiveSpec]) -> Any:
    monkeypatch.setitem(registry._specs, cls.model_fields["kind"].default, cls)
    return cls()


@pytest.mark.parametrize("cls", [Hint, Related])
def test_what_is_broken_below_is_whole_here(monkeypatch: pytest.MonkeyPatch, cls: Any) -> None:
    CONTRACTS["objectives"][1](registered(monkeypatch, cls))


@pytest.mark.parametrize(("base", "changes", "words"), BAD, ids=[f"{i}-{next(iter(b[1]))}" for i, b in enumerate(BAD)])
def test_a_broken_kind_is_told_what_must_hold(
    monkeypatch: pytest.MonkeyPatch, base: type[ObjectiveSpec], changes: dict[str, Any], words: str
) -> None:
    spec = registered(monkeypatch, broken(base, **changes))
    with pytest.raises(AssertionError, match=words):
        check_feature_objective(spec)


class Scalar(FeatureL2Spec):
    """Reads the wrong thing when there is nothing to read."""

    reference: ClassVar[str] = "nobody"
    kind: Literal["scalar"] = "scalar"  # type: ignore[assignment]

    def loss(self, x: LossInputs) -> Any:
        return super().loss(x) if x.student_taps else x.logits_BK.sum(dim=1)


def _lenient(self: Any, a: Any, b: Any) -> Any:
    return WHOLE(self, a[: len(b)], b[: len(a)]).mean().expand(len(a)) if len(a) != len(b) else WHOLE(self, a, b)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Scalar, "refuse a batch without taps"),
        (lambda: broken(Hint, pair_loss=_lenient), "features of other rows"),
    ],
    ids=["none", "rows"],
)
def test_what_must_be_refused(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_feature_objective(registered(monkeypatch, make()))
