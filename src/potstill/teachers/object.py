"""A torch module of the user's own process."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from potstill.core import objects
from potstill.core.samples import DataStats, SampleKind
from potstill.models import AnyInput, ImageInput, InputSpec, ModelIO
from potstill.models.object import object_digest
from potstill.teachers._base import Labeller, OutputKind, TeacherContext, TeacherSpec, registry

if TYPE_CHECKING:
    from torch import nn


@registry.register
class ObjectTeacherSpec(TeacherSpec):
    """A module that a Python script holds; made by `potstill.distill`."""

    in_process: ClassVar[bool] = True
    tappable: ClassVar[bool] = True
    kind: Literal["object"] = "object"
    digest: str
    """Of its class, source and weights."""
    input: AnyInput = Field(default_factory=ImageInput)
    """How samples are brought to it; its kind says which samples it reads."""
    output: OutputKind = "logits"
    """What it gives."""

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        return {"model": type(objects.get(self.digest)).__name__}

    def load(self, folder: Path, io: ModelIO, stats: DataStats) -> Labeller:
        from potstill.teachers._torch import TorchLabeller

        module = copy.deepcopy(objects.get(self.digest))
        preprocess = self.input.resolved(io, stats).preprocess(io)
        return TorchLabeller(module, preprocess, self.output, io.num_classes)

    def reads(self) -> SampleKind:
        return self.input.kind


def object_teacher(
    module: nn.Module, model_input: InputSpec | None = None, output: OutputKind = "logits"
) -> ObjectTeacherSpec:
    """Return a teacher section for a module in this process.

    Args:
        module: normalised pixels -> [B, K].
        model_input: size and normalisation it reads; default the data's own.
        output: what it gives.
    """
    digest = objects.keep(object_digest(module), module)
    return ObjectTeacherSpec(digest=digest, input=model_input or ImageInput(), output=output)
