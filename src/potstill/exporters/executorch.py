"""ExecuTorch (.pte) with XNNPACK, one row at a time. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field

from potstill.core import atomic
from potstill.core.errors import ExportError
from potstill.core.extras import require
from potstill.core.runtimes.executorch import MARK
from potstill.exporters._base import Artifact, ExporterSpec, registry
from potstill.exporters._told import culprit, float_only, quiet

if TYPE_CHECKING:
    from torch import nn

    from potstill.quant.spec import QuantSpec


@registry.register
class ExecuTorchSpec(ExporterSpec):
    """ExecuTorch with XNNPACK: one .pte file that takes one row, in float32; what XNNPACK has no kernel for runs on portable ones."""

    suffix: ClassVar[str] = ".pte"
    runtime: ClassVar[str] = "potstill.core.runtimes.executorch"
    runs_in: ClassVar[tuple[str, ...]] = ("ExecuTorch XNNPACK", "XNNPACK")
    packages: ClassVar[tuple[str, ...]] = ("executorch",)
    kind: Literal["executorch"] = "executorch"
    tolerance: float = Field(default=1e-4, gt=0)
    """Largest difference of a logit from the module's, absolute plus relative to the largest logit."""

    def export(
        self, module: nn.Module, example_BX: NDArray[Any], out: Path, quant: QuantSpec | None = None
    ) -> Artifact:
        import torch

        float_only(self.kind, quant)
        require("executorch.exir", "runtimes", "export.executorch")
        example = torch.from_numpy(example_BX[:1].copy())
        try:
            with quiet(), torch.no_grad():
                data = _lowered(torch.export.export(module, (example,)))
        except Exception as err:
            raise ExportError(
                f"export.executorch: the model must be expressible in ExecuTorch at batch 1; got {culprit(err, module)}. "
                "Replace it in the model's forward, or use kind: onnx."
            ) from err
        atomic.write_bytes(out / "student.pte", data)
        return self.load(out / "student.pte")


def _lowered(program: Any) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods={MARK: 1})
    data: bytes = edge.to_executorch().buffer
    return data
