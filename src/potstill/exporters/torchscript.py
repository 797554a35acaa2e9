"""TorchScript, the older of PyTorch's formats, kept because people ask. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field

from potstill.core import atomic
from potstill.core.errors import ExportError
from potstill.core.runtimes._torch import card
from potstill.core.runtimes.torchscript import CARD
from potstill.exporters._base import Artifact, ExporterSpec, registry
from potstill.exporters._told import culprit, float_only, quiet

if TYPE_CHECKING:
    from torch import nn

    from potstill.quant.spec import QuantSpec


@registry.register
class TorchScriptSpec(ExporterSpec):
    """TorchScript with an open batch: scripted, or traced where the module's source cannot be; one .ts file, in float32. It is a
    program, and PyTorch calls the format deprecated."""

    suffix: ClassVar[str] = ".ts"
    runtime: ClassVar[str] = "potstill.core.runtimes.torchscript"
    runs_in: ClassVar[tuple[str, ...]] = ("PyTorch",)
    program: ClassVar[bool] = True
    kind: Literal["torchscript"] = "torchscript"
    tolerance: float = Field(default=1e-4, gt=0)
    """Largest difference of a logit from the module's, absolute plus relative to the largest logit."""

    def export(
        self, module: nn.Module, example_BX: NDArray[Any], out: Path, quant: QuantSpec | None = None
    ) -> Artifact:
        import torch

        float_only(self.kind, quant)
        example = torch.from_numpy(example_BX[:2].copy())
        with quiet(), torch.no_grad():
            try:
                found: Any = torch.jit.script(module)
            except Exception:  # source that is no TorchScript, such as a type that it does not know
                try:
                    found = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
                except Exception as err:
                    raise ExportError(
                        f"export.torchscript: the model must be expressible in TorchScript; got {culprit(err, module)}. "
                        "Replace it in the model's forward, or use kind: onnx."
                    ) from err
            held = io.BytesIO()  # a file's name would be written into it
            torch.jit.save(found, held, _extra_files={CARD: card(example_BX)})
        atomic.write_bytes(out / "student.ts", held.getvalue())
        return self.load(out / "student.ts")
