"""A black box in an ONNX file. Shapes: B rows, X the shape of one input, K classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from potstill.core.child import ChildSession
from potstill.core.samples import DataStats, SampleKind
from potstill.core.spec import InputPath
from potstill.models import AnyInput, ImageInput, ModelIO
from potstill.teachers._base import Labeller, OutputKind, TeacherContext, TeacherSpec, registry


@registry.register
class OnnxTeacherSpec(TeacherSpec):
    """A black-box ONNX file, run by ONNX Runtime."""

    kind: Literal["onnx"] = "onnx"
    path: InputPath
    """The file; external data beside it."""
    output: OutputKind = "logits"
    """What it gives: raw logits, or probabilities after softmax."""
    output_name: str | None = None
    """Which output to read; None takes the first."""
    input: AnyInput = Field(default_factory=lambda: ImageInput(mean=(0.0,), std=(1.0,)))
    """What it reads; the default is pictures, and normalises nothing. One number serves every channel."""
    scale: float = Field(default=1.0, gt=0)
    """Its pixel range before normalisation: 1 for [0, 1], 255 for [0, 255]."""
    channels: Literal["rgb", "bgr"] = "rgb"
    """Order of the colours it reads."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Order of the dimensions it reads."""
    class_order: tuple[int, ...] | None = None
    """Its output column for each class of the data; None: the same order."""

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        ChildSession(
            "potstill.core.onnx_writer", self.path
        ).close()  # a file from elsewhere: what crashes a runtime crashes it there
        return {"model": self.path.name, "file_bytes": self.path.stat().st_size}

    def load(self, folder: Path, io: ModelIO, stats: DataStats) -> Labeller:
        return OnnxLabeller(self, io)

    def reads(self) -> SampleKind:
        return self.input.kind


class OnnxLabeller:
    """The file as a function of a batch as the data gives it."""

    def __init__(self, spec: OnnxTeacherSpec, io: ModelIO) -> None:
        import torch

        from potstill.core.onnx_session import OnnxSession

        self.output: OutputKind = spec.output
        self.num_classes = io.num_classes
        self.spec = spec
        self.session = OnnxSession(spec.path, torch.get_num_threads(), spec.output_name)
        self._preprocess, self._image = _preprocess(spec, io), io.kind == "image"
        if self._image:
            self._mean = np.array(self._preprocess.inside.mean.numpy())
            self._std = np.array(self._preprocess.inside.std.numpy())

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float32."""
        import torch

        from potstill.teachers._torch import reorder

        if not self._image:
            read = self._preprocess(torch.from_numpy(inputs_BX)).numpy()
            return reorder(self.session(read), self.spec.class_order)
        pixels = self._preprocess.outside_numpy(inputs_BX)
        if self.spec.channels == "bgr":
            pixels = pixels[:, ::-1]
        pixels = (pixels * np.float32(self.spec.scale) - self._mean) / self._std
        if self.spec.layout == "nhwc":
            pixels = pixels.transpose(0, 2, 3, 1)
        return reorder(self.session(pixels), self.spec.class_order)


def _preprocess(spec: OnnxTeacherSpec, io: ModelIO) -> Any:
    """Return what brings a batch to the file; of a picture or a series that it says nothing of, nothing is normalised."""
    stated = spec.input
    wide = {k: v * io.channels for k in ("mean", "std") if (v := getattr(stated, k, None)) is not None and len(v) == 1}
    plain = DataStats((0.0,) * io.channels, (1.0,) * io.channels)
    return stated.model_copy(update=wide).resolved(io, plain).preprocess(io)
