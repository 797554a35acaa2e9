"""A torch module of the user's, by import path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from potstill.core.samples import DataStats, SampleKind
from potstill.core.spec import ImportPath, InputPath
from potstill.models import AnyInput, ImageInput, ModelIO
from potstill.teachers._base import Labeller, OutputKind, TeacherContext, TeacherSpec, registry


@registry.register
class TorchTeacherSpec(TeacherSpec):
    """Your own `module:factory`, with weights in safetensors (`potstill import-weights` makes them from a .pth)."""

    tappable: ClassVar[bool] = True
    kind: Literal["torch"] = "torch"
    factory: ImportPath
    """`module:attribute`, a class or function that returns an nn.Module; its source is part of the key."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Passed to the factory by name."""
    weights: InputPath | None = None
    """Safetensors file with its weights; None where the factory loads them itself."""
    input: AnyInput = Field(default_factory=ImageInput)
    """How samples are brought to it; its kind says which samples it reads."""
    output: OutputKind = "logits"
    """What it gives."""
    class_order: tuple[int, ...] | None = None
    """Its output column for each class of the data; None: the same order."""

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        size = self.weights.stat().st_size if self.weights is not None else None
        return {"model": self.factory.split(":")[1], "file_bytes": size}

    def load(self, folder: Path, io: ModelIO, stats: DataStats) -> Labeller:
        from potstill.models.tools.saved import load_weights
        from potstill.models.torch_module import call_factory
        from potstill.teachers._torch import TorchLabeller

        module = call_factory(self.factory, self.arguments)
        if self.weights is not None:
            load_weights(module, self.weights, f"teacher.weights {self.weights.name}")
        preprocess = self.input.resolved(io, stats).preprocess(io)
        return TorchLabeller(module, preprocess, self.output, io.num_classes, self.class_order)

    def reads(self) -> SampleKind:
        return self.input.kind
