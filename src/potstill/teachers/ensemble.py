"""Several teachers as one. Shapes: M members, B rows, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializeAsAny, field_validator, model_validator

from potstill.core.errors import TeacherError
from potstill.core.samples import DataStats, SampleKind
from potstill.models import ModelIO
from potstill.teachers._base import Labeller, OutputKind, TeacherContext, TeacherSpec, registry

Weighting = Literal["fixed", "entropy"]
Average = Literal["probabilities", "logits"]

_TWO = ({"kind": "train", "model": {"kind": "ds-cnn"}}, {"kind": "train", "model": {"kind": "resnet", "depth": 8}})


@registry.register
class EnsembleSpec(TeacherSpec):
    """The weighted mean of several teachers of any kind, with the same weights for every row or with each row's own."""

    kind: Literal["ensemble"] = "ensemble"
    members: tuple[SerializeAsAny[TeacherSpec], ...] = Field(min_length=2, examples=[_TWO])
    """Teacher sections."""
    weights: tuple[float, ...] | None = None
    """One >= 0 a member; None weighs them alike."""
    weighting: Weighting = "fixed"
    """fixed: `weights` for every row; entropy: for each row, the surer a member is the more it weighs, times `weights`."""
    average: Average = "probabilities"
    """What is averaged: probabilities always work; logits keep objectives that need them. Values are averaged as they are."""

    @field_validator("members", mode="before")
    @classmethod
    def _by_kind(cls, value: Any, info: Any) -> Any:
        """Members are of any registered kind: the union cannot name itself while it is being made."""
        if not isinstance(value, (list, tuple)):
            return value
        out = []
        for item in value:
            if isinstance(item, dict):
                if item.get("kind") not in registry.kinds():
                    raise ValueError(f"kind must be one of {', '.join(registry.kinds())}; got {item.get('kind')!r}")
                item = registry[item["kind"]].model_validate(item, context=info.context)
            out.append(item)
        return out

    @model_validator(mode="after")
    def _weights_fit(self) -> EnsembleSpec:
        if self.weights is not None and (
            len(self.weights) != len(self.members) or min(self.weights) < 0 or sum(self.weights) <= 0
        ):
            raise ValueError(f"weights must be one number >= 0 for each of {len(self.members)} members, not all 0")
        return self

    @model_validator(mode="after")
    def _read_alike(self) -> EnsembleSpec:
        kinds = sorted({m.reads() for m in self.members})
        if len(kinds) > 1:
            raise ValueError(f"members must all read one kind of sample; got {', '.join(kinds)}")
        return self

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        facts = []
        for i, member in enumerate(self.members):
            folder = context.work / f"member-{i}"
            folder.mkdir(exist_ok=True)
            facts.append({"kind": member.kind, **member.prepare(replace(context, work=folder, seed=context.seed + i))})
        sizes = [f.get("file_bytes") for f in facts]
        total = None if None in sizes else sum(s for s in sizes if s is not None)
        return {"model": f"ensemble of {len(facts)}", "members": facts, "file_bytes": total}

    def load(self, folder: Path, io: ModelIO, stats: DataStats) -> Labeller:
        loaded = [m.load(folder / f"member-{i}", io, stats) for i, m in enumerate(self.members)]
        return EnsembleLabeller(loaded, self.weights or (1.0,) * len(loaded), self.average, self.weighting)

    def reads(self) -> SampleKind:
        return self.members[0].reads()

    def fits(self) -> bool:
        return any(m.fits() for m in self.members)

    def foreign(self) -> bool:
        return any(m.foreign() for m in self.members)

    def saw_hidden_labels(self) -> bool | None:
        found = [m.saw_hidden_labels() for m in self.members]
        return True if True in found else None if None in found else False


class EnsembleLabeller:
    """The weighted mean of labellers.

    Args:
        members: at least two, of the same classes.
        weights: one >= 0 a member, not all 0.
        average: what is averaged.
        weighting: whether rows have weights of their own; these come from each member's probabilities at T = 1.
    """

    def __init__(
        self, members: Sequence[Labeller], weights: Sequence[float], average: Average, weighting: Weighting = "fixed"
    ) -> None:
        values = {m.output == "values" for m in members}
        if len(values) > 1 or (values == {True} and weighting == "entropy"):
            raise TeacherError("teacher.members: must all give values, or none, and values have no entropy to weigh by; got "
                               f"{[m.output for m in members]} with weighting {weighting!r}.")  # fmt: skip
        if average == "logits" and any(m.output == "probabilities" for m in members):
            raise TeacherError("teacher.average: must be probabilities where a member gives probabilities; got logits.")
        self.members = list(members)
        self.num_classes = members[0].num_classes
        self.output: OutputKind = "values" if values == {True} else average
        self.weighting: Weighting = weighting
        total = float(sum(weights))
        self._weights = np.array([w / total for w in weights])

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float32, or [B, H, V] of values."""
        given = [member(inputs_BX) for member in self.members]
        if len({o.shape for o in given}) != 1:
            raise TeacherError(f"teacher.members: must give alike outputs; got {[list(o.shape) for o in given]}.")
        shares = given
        if self.output == "probabilities" or self.weighting == "entropy":
            shares = [
                _softmax(out) if m.output == "logits" else out for m, out in zip(self.members, given, strict=True)
            ]
        averaged = np.stack(shares if self.output == "probabilities" else given).astype(np.float64)
        if self.weighting == "fixed":
            mean: NDArray[Any] = np.tensordot(self._weights, averaged, axes=1)
        else:
            weights_MB = self._weights[:, None] * confidence(np.stack(shares))
            mean = np.einsum("mb,mbk->bk", weights_MB / weights_MB.sum(axis=0), averaged)
        return mean.astype(np.float32)


def confidence(probabilities_MBK: NDArray[Any]) -> NDArray[Any]:
    """Return each member's weight in each row: the surer it is of the row beside the others, the more.

    With H_m the entropy of member m's distribution: w_m = (1 - exp(H_m) / sum over n of exp(H_n)) / (M - 1).

    Args:
        probabilities_MBK: [M, B, K], M >= 2, rows summing to 1; 0 ln 0 counts as 0.

    Returns:
        [M, B] float64, adding up to 1 over members, each in [0, 1 / (M - 1)]; 1 / M where all are equally sure.

    Reference:
        Zhang et al. 2022, arXiv:2201.00007 (CA-MKD), the weights of the predictions. Departs: the entropy, as in Kwon et al.
        2020 (ICASSP, 10.1109/ICASSP40776.2020.9054698), stands for the cross-entropy with the label. A labeller sees no
        labels: weights made of those that are hidden from the student would pass them on. A member that is sure and wrong
        weighs the most.
    """
    p = probabilities_MBK.astype(np.float64)
    entropy_MB = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=2)
    exp = np.exp(entropy_MB - entropy_MB.max(axis=0))
    weights: NDArray[Any] = (1 - exp / exp.sum(axis=0)) / (len(p) - 1)
    return weights


def _softmax(logits_BK: NDArray[Any]) -> NDArray[Any]:
    exp = np.exp(logits_BK - logits_BK.max(axis=1, keepdims=True))
    found: NDArray[Any] = exp / exp.sum(axis=1, keepdims=True)
    return found
