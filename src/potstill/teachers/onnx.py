"""A black box in an ONNX file. Shapes: B rows, C channels, H, W pixels, K classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from potstill.core.spec import InputPath
from potstill.models import InputSpec, ModelIO
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
    input: InputSpec = Field(default_factory=lambda: InputSpec(mean=(0.0,), std=(1.0,)))
    """Size and normalisation it reads; the default normalises nothing. One number serves every channel."""
    scale: float = Field(default=1.0, gt=0)
    """Its pixel range before normalisation: 1 for [0, 1], 255 for [0, 255]."""
    channels: Literal["rgb", "bgr"] = "rgb"
    """Order of the colours it reads."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Order of the dimensions it reads."""
    class_order: tuple[int, ...] | None = None
    """Its output column for each class of the data; None: the same order."""

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        return {"model": self.path.name, "file_bytes": self.path.stat().st_size}

    def load(self, folder: Path, io: ModelIO, mean: tuple[float, ...], std: tuple[float, ...]) -> Labeller:
        return OnnxLabeller(self, io)


class OnnxLabeller:
    """The file as a function of pixels in [0, 1]."""

    def __init__(self, spec: OnnxTeacherSpec, io: ModelIO) -> None:
        import torch

        from potstill.core.onnx_session import OnnxSession
        from potstill.models.tools.preprocess import Preprocess, resolve_input

        self.output: OutputKind = spec.output
        self.num_classes = io.num_classes
        self.spec = spec
        self.session = OnnxSession(spec.path, torch.get_num_threads(), spec.output_name)
        wide = {
            k: v * io.channels for k in ("mean", "std") if (v := getattr(spec.input, k)) is not None and len(v) == 1
        }
        stated = spec.input.model_copy(update=wide)
        zero, one = (0.0,) * io.channels, (1.0,) * io.channels
        self._resize = Preprocess(*resolve_input(stated, zero, one, (io.height, io.width)))
        self._mean = np.array(self._resize.normalise.mean.numpy())
        self._std = np.array(self._resize.normalise.std.numpy())

    def __call__(self, pixels_BCHW: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float32."""
        from potstill.teachers._torch import reorder

        pixels = self._resize.resize_numpy(pixels_BCHW)
        if self.spec.channels == "bgr":
            pixels = pixels[:, ::-1]
        pixels = (pixels * np.float32(self.spec.scale) - self._mean) / self._std
        if self.spec.layout == "nhwc":
            pixels = pixels.transpose(0, 2, 3, 1)
        return reorder(self.session(pixels), self.spec.class_order)
