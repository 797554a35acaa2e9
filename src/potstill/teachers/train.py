"""A teacher trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from potstill.core.samples import DataStats, SampleKind
from potstill.models import AnyModel, ModelIO
from potstill.schedules.training import TrainSpec
from potstill.teachers._base import Labeller, OutputKind, TeacherContext, TeacherSpec, registry


@registry.register
class TrainedTeacherSpec(TeacherSpec):
    """A zoo model (or your own module) trained here on hard labels."""

    tappable: ClassVar[bool] = True
    kind: Literal["train"] = "train"
    model: AnyModel
    """The teacher's architecture; start from `weights` to fine-tune."""
    training: TrainSpec = Field(default_factory=TrainSpec)
    """Lengths, optimiser, learning rate."""
    labels: Literal["labelled", "all"] = "labelled"
    """Labels that it sees: those the student may use, or all of them; the report then says so."""

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        context.fit(self.model, self.training, context.work, context.seed, self.labels)
        weights = context.work / "student.safetensors"
        return {"model": self.model.kind, "file_bytes": weights.stat().st_size if weights.exists() else None}

    def load(self, folder: Path, io: ModelIO, stats: DataStats) -> Labeller:
        from potstill.models.tools.saved import load_model
        from potstill.teachers._torch import TorchLabeller

        model = load_model(folder)
        if "tokens" in self.model.gives:
            return _writer(model)
        return TorchLabeller(model.module, model.preprocess, _gives(io), io.num_classes)

    def architecture(self, io: ModelIO, stats: DataStats) -> Labeller:
        from potstill.models.tools.build import new_model
        from potstill.teachers._torch import TorchLabeller

        new = new_model(self.model, io, stats)
        if "tokens" in self.model.gives:
            return _writer(new)
        return TorchLabeller(new.module, new.preprocess, _gives(io), io.num_classes)

    def reads(self) -> SampleKind:
        return self.model.input.kind

    def fits(self) -> bool:
        return True

    def foreign(self) -> bool:
        return False

    def saw_hidden_labels(self) -> bool:
        return self.labels == "all"


def _writer(model: Any) -> Labeller:
    from potstill.teachers._writer import WritingLabeller

    return WritingLabeller(model.module, model.preprocess, model.io)


def _gives(io: ModelIO) -> OutputKind:
    return "logits" if len(io.outputs) == 1 else "values"
