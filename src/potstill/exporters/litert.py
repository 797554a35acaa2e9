"""LiteRT (.tflite), one row at a time. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from potstill.core import atomic
from potstill.core.errors import ExportError
from potstill.core.extras import require
from potstill.core.runtimes._base import NORMALISED, SAMPLES
from potstill.core.runtimes.litert import MARK
from potstill.exporters._base import Artifact, ExporterSpec, registry
from potstill.exporters._told import contiguous, culprit, quiet

if TYPE_CHECKING:
    from torch import nn

    from potstill.quant.spec import QuantSpec


@registry.register
class LiteRTSpec(ExporterSpec):
    """LiteRT, formerly TensorFlow Lite: one .tflite file that takes one row, input "inputs" (pixels in [0, 1], channels first; tokens
    as int32), output "outputs". A quantised student is written with the numbers of its quant.json: in integers throughout, codes in and
    out. The host normalises by channel then, by the numbers in the file's description and card; anything else before the student, such as a
    log-mel spectrogram, stays in float and reads float. Four bits take a byte each here."""

    suffix: ClassVar[str] = ".tflite"
    runtime: ClassVar[str] = "potstill.core.runtimes.litert"
    runs_in: ClassVar[tuple[str, ...]] = (
        "TFLite", "TFLM", "XNNPACK", "X-CUBE-AI", "Bosch HALE", "Plumerai", "microTVM", "Skymizer ONNC", "TinyEngine",
    )  # fmt: skip
    packages: ClassVar[tuple[str, ...]] = ("litert_torch", "ai_edge_litert")
    kind: Literal["litert"] = "litert"
    tolerance: float = Field(default=1e-4, gt=0)
    """Largest difference of a logit from the module's, absolute plus relative to the largest logit."""

    def export(
        self, module: nn.Module, example_BX: NDArray[Any], out: Path, quant: QuantSpec | None = None
    ) -> Artifact:
        with quiet():  # some of what it imports complains of what it does not need
            require("litert_torch", "runtimes", "export.litert")
        import torch

        from potstill.exporters import _litert_convert as litert

        example = torch.from_numpy(example_BX[:2].copy())
        try:
            with quiet():
                if quant is None:
                    ready = litert.Prepared(contiguous(module).eval(), example[:1])
                else:
                    ready = litert.prepared(module, quant, example)
                data = litert.converted(ready.module, ready.example_1X, quant)
        except ExportError:
            raise
        except Exception as err:
            raise ExportError(
                f"export.litert: the model must be expressible in LiteRT at batch 1; got {culprit(err, module)}. "
                "Replace it in the model's forward, or use kind: onnx."
            ) from err
        atomic.write_bytes(out / "student.tflite", _described(data, ready.host))
        return self.load(out / "student.tflite")


def _described(data: bytes, host: dict[str, Any] | None) -> bytes:
    """Return the file with what it is in its description, and what is left to the host."""
    import flatbuffers

    schema = require("ai_edge_litert.schema_py_generated", "runtimes", "export.litert")
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for buffer in (
        model.buffers
    ):  # some writers leave weights behind the model, at places that would be others once it is written anew
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    numbers = "" if host is None else json.dumps({name: host[name] for name in ("mean", "std")})
    model.description = MARK + (f"{NORMALISED}\n{numbers}" if numbers else SAMPLES)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
