"""A model of the zoo with weights from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from potstill.core.errors import TeacherError
from potstill.core.samples import DataStats, SampleKind
from potstill.models import AnyModel, ModelIO
from potstill.teachers._base import Labeller, TeacherContext, TeacherSpec, registry


@registry.register
class ZooTeacherSpec(TeacherSpec):
    """A zoo model whose `weights` are given; used as it is."""

    tappable: ClassVar[bool] = True
    kind: Literal["zoo"] = "zoo"
    model: AnyModel
    """The architecture, with `weights` and, where the data's own does not fit, `input`."""
    class_order: tuple[int, ...] | None = None
    """Its output column for each class of the data; None: the same order."""

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        if self.model.weights is None:
            raise TeacherError(
                "teacher.model.weights: is required for kind zoo; got none. Use kind train to train one."
            )
        return {"model": self.model.kind, "file_bytes": self.model.weights.stat().st_size}

    def load(self, folder: Path, io: ModelIO, stats: DataStats) -> Labeller:
        from potstill.models.tools.build import new_model
        from potstill.teachers._torch import TorchLabeller

        new = new_model(self.model, io, stats)
        return TorchLabeller(new.module, new.preprocess, "logits", io.num_classes, self.class_order)

    def reads(self) -> SampleKind:
        return self.model.input.kind
