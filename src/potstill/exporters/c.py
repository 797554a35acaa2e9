"""Plain C for microcontrollers, one row at a time. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field

from potstill.core.errors import ExportError
from potstill.core.extras import require
from potstill.core.generated import by_host, compiler
from potstill.core.runtimes._base import SAMPLES
from potstill.exporters._base import Artifact, ExporterSpec, registry
from potstill.exporters._told import culprit, quiet
from potstill.quant.spec import STATIC

if TYPE_CHECKING:
    from torch import nn

    from potstill.quant.spec import QuantSpec

FOLDER = "c"
_GOLDEN = 4


@registry.register
class CSpec(ExporterSpec):
    """C99 without a heap or an interpreter, in a folder of its own: the model of integers with its weights, a static plan of its memory,
    the kernels it uses, golden vectors that check it, start-up code for a Cortex-M. It gives TensorFlow Lite Micro's codes to the last
    one. Takes a student quantised in int8_static_per_channel, or in int4_conv, whose codes take a byte each here. A log-mel spectrogram is
    left to the host, by the numbers in report.json and the card: this reads its codes."""

    suffix: ClassVar[str] = ".c"
    runtime: ClassVar[str] = "potstill.core.runtimes.c"
    runs_in: ClassVar[tuple[str, ...]] = ("potstill C",)
    packages: ClassVar[tuple[str, ...]] = ("litert_torch", "ai_edge_litert", "tflite_micro")
    program: ClassVar[bool] = True
    integers: ClassVar[bool] = True
    kind: Literal["c"] = "c"
    tolerance: float = Field(default=2.0, gt=0)
    """Largest difference of a code from the model that rounds once, in float32, in codes, of 99 % of them: TensorFlow Lite Micro rounds
    twice in every layer."""

    def modules(self) -> Iterator[str]:
        yield from super().modules()
        yield "potstill.mcu.export"

    def check_tools(self) -> None:
        compiler()

    def parts(self, path: Path) -> list[Path]:
        return sorted(p for p in path.parent.iterdir() if p.is_file())

    def export(
        self, module: nn.Module, example_BX: NDArray[Any], out: Path, quant: QuantSpec | None = None
    ) -> Artifact:
        from potstill.mcu.export import generate, write_files
        from potstill.mcu.rows import as_inputs

        self.check_tools()
        data, host = self.tflite(module, example_BX, quant)
        given = by_host(host)(example_BX[:_GOLDEN])
        made = generate(data, "student.tflite", lambda model: as_inputs(model, given), SAMPLES, host)
        return self.load(write_files(made, out / FOLDER))

    def tflite(
        self, module: nn.Module, example_BX: NDArray[Any], quant: QuantSpec | None
    ) -> tuple[bytes, dict[str, Any] | None]:
        """Return (the .tflite file that becomes C, what it leaves to the host); arguments and errors as those of `export`."""
        with quiet():  # some of what it imports complains of what it does not need
            require("litert_torch", "runtimes", "export.c")
        import torch

        from potstill.exporters import _litert_convert as litert

        if quant is None or quant.scheme not in STATIC:
            got = "float32" if quant is None else f"scheme {quant.scheme!r}"
            raise ExportError(
                f"export.c: the model must be in integers throughout; got {got}. Add a step: kind: quantize, scheme: int8_static_per_channel"
            )
        example = torch.from_numpy(example_BX[:2].copy())
        try:
            with quiet():
                ready = litert.prepared(module, quant, example, leaves="log-mel")
                return litert.converted(ready.module, ready.example_1X, quant), ready.host
        except ExportError:
            raise
        except Exception as err:
            raise ExportError(f"export.c: the model must be expressible at batch 1; got {culprit(err, module)}. Replace it in the model's forward, or "
                              "use kind: onnx.") from err  # fmt: skip
