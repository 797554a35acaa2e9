"""What the contract of objectives claims of optional labels, relations and numbers of classes can fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch

from potstill.objectives import Needs, ObjectiveSpec, registry
from potstill.objectives.dist import DistSpec, dist
from potstill.objectives.dkd import DkdSpec, dkd
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.testing.objective import check_objective


class Decoupled(DkdSpec):
    """Decoupled distillation, to be broken."""

    kind: Literal["decoupled"] = "decoupled"  # type: ignore[assignment]


class Related(DistSpec):
    """Correlation, to be broken."""

    kind: Literal["related"] = "related"  # type: ignore[assignment]


class Plain(SoftLabelSpec):
    """Soft labels, to be broken."""

    kind: Literal["plain"] = "plain"  # type: ignore[assignment]


def of_labels(self: Any, x: Any) -> Any:
    """As DKD, but rows without a label count as the first class of the batch's labels."""
    stand_in = torch.where(x.labels_B >= 0, x.labels_B, x.labels_B.amax())
    return dkd(x.logits_BK, x.teacher.logits(4.0), stand_in)


def by_row(self: Any, x: Any) -> Any:
    return dist(x.logits_BK, x.teacher.logits(1.0), 1, 1, 0) + 0 * x.logits_BK.sum(dim=1)


def own_only(self: Any, x: Any) -> Any:
    return DkdSpec.loss(self, replace(x, mix_B=None))


def half_mixed(self: Any, x: Any) -> Any:
    """Where a mixed row lacks one label, the other stands for both."""
    if x.mix_B is None:
        return DkdSpec.loss(self, x)
    own = torch.where(x.labels_B >= 0, x.labels_B, x.partner_labels_B)
    other = torch.where(x.partner_labels_B >= 0, x.partner_labels_B, x.labels_B)
    return DkdSpec.loss(self, replace(x, labels_B=own, partner_labels_B=other))


def only_labelled(self: Any, x: Any) -> Any:
    return DkdSpec.loss(self, x) * (x.labels_B >= 0)


def levelled(self: Any, x: Any) -> Any:
    """No gradient for two classes, and no refusal."""
    scale = 0.0 if x.logits_BK.shape[1] == 2 else 1.0
    return SoftLabelSpec.loss(self, x) * scale


SOME = Needs(labels=True, teacher="logits", temperatures=(4.0,))
CASES = [
    (Decoupled, {"needs": lambda s: SOME}, "must mask rows without a label"),
    (Decoupled, {"needs": lambda s: replace(SOME, labels=False)}, "must not read labels"),
    (Decoupled, {"needs": lambda s: replace(SOME, labels=False, labels_optional=True)}, "must come with labels"),
    (Decoupled, {"mask": lambda s, x: (x.labels_B >= 0).float()}, "must keep rows without a label"),
    (Decoupled, {"loss": of_labels}, "must not read another's|own alone"),
    (Decoupled, {"loss": only_labelled}, "must have the term on rows without a label"),
    (Decoupled, {"loss": own_only}, "row and partner exchanged"),
    (Decoupled, {"loss": half_mixed}, "lacks a label must be as one without any"),
    (Decoupled, {"refuses": lambda s, k: None}, "must raise for 2 classes|three classes or more"),
    (Decoupled, {"refuses": lambda s, k: "" if k == 2 else None}, "must say why it refuses"),
    (Decoupled, {"refuses": lambda s, k: "No" if k == 3 else DkdSpec.refuses(s, k)}, "must raise for 3 classes"),
    (Plain, {"loss": levelled}, "must move the student with 2 classes, or refuse them"),
    (Related, {"relational": False}, "own alone"),
    (Related, {"loss": by_row}, "must depend on the batch"),
]


@pytest.mark.parametrize(("base", "changes", "words"), CASES, ids=[f"{i}" for i in range(len(CASES))])
def test_a_broken_objective_is_told_what_must_hold(
    monkeypatch: pytest.MonkeyPatch, base: type[ObjectiveSpec], changes: dict[str, Any], words: str
) -> None:
    cls = type(base.__name__, (base,), {"__module__": __name__, "__doc__": "Broken.", **changes})
    monkeypatch.setitem(registry._specs, base.model_fields["kind"].default, cls)
    with pytest.raises((AssertionError, ValueError), match=words):
        check_objective(cls())


@pytest.mark.parametrize("cls", [Decoupled, Related, Plain])
def test_what_is_broken_above_is_whole_here(monkeypatch: pytest.MonkeyPatch, cls: type[ObjectiveSpec]) -> None:
    monkeypatch.setitem(registry._specs, cls.model_fields["kind"].default, cls)
    check_objective(cls())
