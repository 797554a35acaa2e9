"""Each claim of the contracts of objectives on tokens, values and padded features, of the codec of tokens and of a task's output
can fail: kinds broken in one way each."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from potstill.core.spec import Registry
from potstill.labels.codecs import registry as codecs
from potstill.labels.codecs.token_ids import TokenIdsSpec
from potstill.objectives import LossInputs, Needs, registry
from potstill.objectives.attention_kl import AttentionKlSpec, attention_kl
from potstill.objectives.hidden_l2 import HiddenL2Spec, hidden_l2
from potstill.objectives.multi_scale import MultiScaleSpec
from potstill.objectives.relation_kl import RelationKlSpec, relation_kl
from potstill.objectives.sequence_level import SequenceLevelSpec
from potstill.objectives.soft_target_regression import SoftTargetRegressionSpec
from potstill.objectives.token_soft_label import TokenSoftLabelSpec
from potstill.tasks import registry as tasks
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.testing import CONTRACTS, tiny

counter = itertools.count()
KINDS: dict[str, tuple[Any, Registry[Any], str]] = {
    "word": (TokenSoftLabelSpec, registry, "objectives"), "beam": (SequenceLevelSpec, registry, "objectives"),
    "scaled": (MultiScaleSpec, registry, "objectives"), "value": (SoftTargetRegressionSpec, registry, "objectives"),
    "looking": (AttentionKlSpec, registry, "objectives"), "hidden": (HiddenL2Spec, registry, "objectives"),
    "related": (RelationKlSpec, registry, "objectives"), "ids": (TokenIdsSpec, codecs, "codecs"),
    "task": (ImageClassificationSpec, tasks, "tasks"),
}  # fmt: skip
WORD, BEAM, SCALED, VALUE = (
    c.loss for c in (TokenSoftLabelSpec, SequenceLevelSpec, MultiScaleSpec, SoftTargetRegressionSpec)
)


def made(monkeypatch: pytest.MonkeyPatch, name: str, changes: dict[str, Any]) -> Any:
    """Return the spec of a broken kind, registered under a kind of its own, and its check."""
    base, family, plural = KINDS[name]
    annotations = {"kind": Literal[name]}  # type: ignore[valid-type]
    body = {"__module__": __name__, "__doc__": "Broken.", "__annotations__": annotations, "kind": name}
    cls = type(name.title(), (base,), {**body, **changes})
    monkeypatch.setitem(family._specs, name, cls)
    return lambda: CONTRACTS[plural][1](cls())


@pytest.mark.parametrize("name", KINDS)
def test_what_is_broken_below_is_whole_here(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    made(monkeypatch, name, {})()


def of_all(self: Any, x: LossInputs) -> Any:
    """Padding counts."""
    return WORD(self, replace(x, token_mask_BL=None))


def undetached(self: Any, x: Any) -> Any:
    z = (x.values_BHV - x.teacher.values().reshape(x.values_BHV.shape)).square()
    return z.mean(dim=(1, 2))


def half(self: Any, x: Any) -> Any:
    return SCALED(self, replace(x, output=0.5 * x.output + 0.5 * x.output.detach()))


def spoiling(self: Any, x: Any) -> Any:
    return SCALED(self, x if x.output.requires_grad else replace(x, output=x.output.mul_(1.001)))


def naive(self: Any, x: Any) -> Any:
    q, p = x.logits_BLK.softmax(dim=2), x.teacher.logits(1.0).reshape(x.logits_BLK.shape).detach().softmax(dim=2)
    each = (p * (p.log() - q.log())).sum(dim=2)
    mask = x.token_mask_BL if x.token_mask_BL is not None else torch.ones_like(each, dtype=torch.bool)
    return torch.where(mask, each, 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def deaf(self: Any, x: Any) -> Any:
    """Reads whatever it is given as values."""
    if x.teacher is None or x.output.ndim != 3:
        return SCALED(self, x)
    x.teacher.asked.append((1.0, False))
    return SCALED(self, replace(x, teacher=tiny.Rows(x.teacher.values_BK, "values")))


def cutting(self: Any, x: Any) -> Any:
    if x.teacher is None or x.output.ndim != 3:
        return SCALED(self, x)
    given = x.teacher.values()
    given = given.reshape(len(given), -1, x.output.shape[2])[:, -x.output.shape[1] :]
    return SCALED(self, replace(x, teacher=tiny.Rows(given, "values")))


def telling(self: Any, x: Any) -> Any:
    extra = 0 if x.targets_BHV is None else x.targets_BHV.nan_to_num().abs().mean(dim=(1, 2))
    return SCALED(self, x) + extra


def nan_aware(self: Any, x: Any) -> Any:
    extra = 0 if x.targets_BHV is None else x.targets_BHV.abs().mean(dim=(1, 2))
    return VALUE(self, x) + extra


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("word", {"loss": lambda s, x: WORD(s, x).mean()}, r"loss must be \[B\]"),
    ("word", {"loss": lambda s, x: WORD(s, x).double()}, "must be float32"),
    ("word", {"loss": lambda s, x: WORD(s, x) - 9}, "must not be negative"),
    ("word", {"loss": lambda s, x: WORD(s, x) + next(counter)}, "pure function"),
    ("word", {"loss": lambda s, x: WORD(s, x) + x.labels_B.abs()}, "must not read labels of classes"),
    ("word", {"loss": lambda s, x: WORD(s, x) + 0.1 * WORD(s, x).mean()}, "own alone"),
    ("word", {"loss": lambda s, x: WORD(s, x) * torch.arange(1, 1 + len(x.output))}, "must move with the row"),
    ("word", {"loss": of_all}, "sum over real tokens"),
    ("word", {"loss": naive}, "must be finite for outputs of zeros, of 10,000"),
    ("word", {"mask": lambda s, x: None}, "must have a mask that counts"),
    ("word", {"mask": lambda s, x: (s.real(x).sum(dim=1) > 0).float()}, "the number of a row's real tokens"),
    ("word", {"needs": lambda s: Needs(teacher="logits", temperatures=(2.0,))}, "must read the teacher at temperatures"),
    ("word", {"needs": lambda s: Needs()}, "must say in needs"),
    ("word", {"reference": " "}, "must name its paper"),
    ("word", {"readings": lambda s, p: {"temperature": float("inf")}}, "readings must be finite"),
    ("beam", {"loss": lambda s, x: 1 / (1 + BEAM(s, x))}, "must be lower for a student that agrees"),
    ("scaled", {"loss": undetached}, "the teacher must receive no gradient"),
    ("scaled", {"loss": half}, "that of finite differences"),
    ("scaled", {"loss": spoiling}, "leave the student's output as it is|pure function"),
    ("scaled", {"loss": lambda s, x: SCALED(s, x) + 0.01}, "0 where the student gives the teacher's values"),
    ("scaled", {"loss": deaf}, "must refuse a teacher's logits"),
    ("scaled", {"loss": cutting}, "must refuse a student of another length"),
    ("scaled", {"loss": telling}, "must not read the true values"),
    ("scaled", {"mask": lambda s, x: torch.ones(len(x.output))}, "a term for every row"),
    ("scaled", {"dense": False}, "nearly the same on labels kept as .topk"),
    ("value", {"loss": lambda s, x: VALUE(s, replace(x, targets_BHV=None))}, "must read the true values"),
    ("value", {"loss": nan_aware}, "must be finite where the truth is not known"),
    ("looking", {"pair_loss": lambda s, a, b, m=None: attention_kl(a, b)}, "0 for a row of padding"),
    ("hidden", {"pair_loss": lambda s, a, b, m=None: hidden_l2(a, b) * (1 if m is None else m.any(dim=1))}, "at padding"),
    ("hidden", {"pair_loss": lambda s, a, b, m=None: hidden_l2(a, b, None if m is None else m & (torch.arange(m.shape[1]) > 0))},
     "mask of real tokens|at real tokens"),
    ("related", {"pair_loss": lambda s, a, b, m=None: relation_kl(a, b, 4, m) * (1 if m is None else m.float().mean(dim=1))},
     "as if it were not there"),
    ("hidden", {"pair_loss": lambda s, a, b, m=None: hidden_l2(a, b, m if m is not None and m.shape == a.shape[:2] else None)},
     "must refuse a mask of others"),
    ("ids", {"encode": lambda s, v: {"tokens": np.ascontiguousarray(np.rint(v), dtype="<i4")}}, "must refuse 0.5"),
    ("ids", {"_values": lambda s, f: np.maximum(f["tokens"], 0).astype(np.float32)}, "must give every id back"),
    ("ids", {"layout": lambda s, k: {"tokens": ("<i8", (k,))}}, "as layout says"),
    ("ids", {"error_bound": lambda s, v: np.ones(len(v))}, "error_bound of ids must be 0"),
    ("task", {"output": "pictures"}, "must say in `output`"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "words"), BAD, ids=[f"{i}-{b[0]}" for i, b in enumerate(BAD)])
def test_a_broken_kind_is_told_what_must_hold(
    monkeypatch: pytest.MonkeyPatch, name: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises((AssertionError, ValueError), match=words):
        made(monkeypatch, name, changes)()
