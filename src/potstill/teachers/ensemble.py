"""Several teachers as one. Shapes: B rows, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializeAsAny, field_validator, model_validator

from potstill.core.errors import TeacherError
from potstill.models import ModelIO
from potstill.teachers._base import Labeller, OutputKind, TeacherContext, TeacherSpec, registry

_TWO = ({"kind": "train", "model": {"kind": "ds-cnn"}}, {"kind": "train", "model": {"kind": "resnet", "depth": 8}})


@registry.register
class EnsembleSpec(TeacherSpec):
    """The weighted mean of several teachers of any kind."""

    kind: Literal["ensemble"] = "ensemble"
    members: tuple[SerializeAsAny[TeacherSpec], ...] = Field(min_length=2, examples=[_TWO])
    """Teacher sections."""
    weights: tuple[float, ...] | None = None
    """One >= 0 a member; None weighs them alike."""
    average: OutputKind = "probabilities"
    """What is averaged: probabilities always work; logits keep objectives that need them."""

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

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        facts = []
        for i, member in enumerate(self.members):
            folder = context.work / f"member-{i}"
            folder.mkdir(exist_ok=True)
            facts.append({"kind": member.kind, **member.prepare(replace(context, work=folder, seed=context.seed + i))})
        sizes = [f.get("file_bytes") for f in facts]
        total = None if None in sizes else sum(s for s in sizes if s is not None)
        return {"model": f"ensemble of {len(facts)}", "members": facts, "file_bytes": total}

    def load(self, folder: Path, io: ModelIO, mean: tuple[float, ...], std: tuple[float, ...]) -> Labeller:
        loaded = [m.load(folder / f"member-{i}", io, mean, std) for i, m in enumerate(self.members)]
        return EnsembleLabeller(loaded, self.weights or (1.0,) * len(loaded), self.average)

    def fits(self) -> bool:
        return any(m.fits() for m in self.members)

    def foreign(self) -> bool:
        return any(m.foreign() for m in self.members)

    def saw_hidden_labels(self) -> bool | None:
        found = [m.saw_hidden_labels() for m in self.members]
        return True if True in found else None if None in found else False


class EnsembleLabeller:
    """The weighted mean of labellers."""

    def __init__(self, members: Sequence[Labeller], weights: Sequence[float], average: OutputKind) -> None:
        if average == "logits" and any(m.output != "logits" for m in members):
            raise TeacherError("teacher.average: must be probabilities where a member gives probabilities; got logits.")
        self.members = list(members)
        self.num_classes = members[0].num_classes
        self.output: OutputKind = average
        total = float(sum(weights))
        self._weights = [w / total for w in weights]

    def __call__(self, pixels_BCHW: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float32."""
        outputs = []
        for member in self.members:
            out = member(pixels_BCHW)
            if self.output == "probabilities" and member.output == "logits":
                exp = np.exp(out - out.max(axis=1, keepdims=True))
                out = exp / exp.sum(axis=1, keepdims=True)
            outputs.append(out)
        if len({o.shape for o in outputs}) != 1:
            raise TeacherError(f"teacher.members: must give alike outputs; got {[list(o.shape) for o in outputs]}.")
        mean: NDArray[Any] = np.einsum("m,mbk->bk", np.array(self._weights), np.stack(outputs).astype(np.float64))
        return mean.astype(np.float32)
