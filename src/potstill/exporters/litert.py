"""LiteRT (.tflite), one row at a time. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field

from potstill.core import atomic
from potstill.core.errors import ExportError
from potstill.core.extras import require
from potstill.core.runtimes._base import SAMPLES
from potstill.core.runtimes.litert import MARK
from potstill.exporters._base import Artifact, ExporterSpec, registry
from potstill.exporters._told import culprit, quiet

if TYPE_CHECKING:
    from torch import nn

    from potstill.quant.spec import QuantSpec


@registry.register
class LiteRTSpec(ExporterSpec):
    """LiteRT, formerly TensorFlow Lite: one .tflite file that takes one row, input "inputs" (pixels in [0, 1], channels first; tokens
    as int32), output "outputs". A quantised student is written with the numbers of its quant.json: in integers throughout, codes in and
    out, but for what stands before the student, such as normalisation, which stays in float and then reads float. Four bits take a byte each here."""

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
        require("litert_torch", "runtimes", "export.litert")
        import torch

        from potstill.exporters import _litert_convert as litert

        example = torch.from_numpy(example_BX[:2].copy())
        try:
            with quiet():
                whole = module if quant is None else litert.whole(module, quant, example)
                data = litert.converted(whole.eval(), example[:1], quant)
        except ExportError:
            raise
        except Exception as err:
            raise ExportError(
                f"export.litert: the model must be expressible in LiteRT at batch 1; got {culprit(err, module)}. "
                "Replace it in the model's forward, or use kind: onnx."
            ) from err
        atomic.write_bytes(out / "student.tflite", _described(data))
        return self.load(out / "student.tflite")


def _described(data: bytes) -> bytes:
    """Return the file with what it is in its description."""
    import flatbuffers

    schema = require("ai_edge_litert.schema_py_generated", "runtimes", "export.litert")
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    model.description = MARK + SAMPLES
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
