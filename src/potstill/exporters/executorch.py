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
from potstill.exporters._told import contiguous, culprit, quiet, split
from potstill.quant.spec import STATIC

if TYPE_CHECKING:
    from torch import nn

    from potstill.quant.spec import QuantSpec


@registry.register
class ExecuTorchSpec(ExporterSpec):
    """ExecuTorch with XNNPACK: one .pte file that takes one row, float in and out; what XNNPACK has no kernel for runs on portable ones.
    A student of static integers is written with the numbers of its quant.json; between XNNPACK's operators and portable ones its values
    are float, rounded to these codes."""

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

        if quant is not None and quant.scheme not in STATIC:
            raise ExportError(
                f"export.executorch: the model must be in float32 or of {' or '.join(STATIC)}; got scheme {quant.scheme!r}. Use kind: onnx "
                "or kind: litert."
            )
        require("executorch.exir", "runtimes", "export.executorch")
        example = torch.from_numpy(example_BX[:2].copy())
        try:
            with quiet(), torch.no_grad():
                ready = contiguous(module) if quant is None else _integers(module, quant, example)
                program = torch.export.export(ready, (example[:1],))
                if quant is not None:
                    _set_apart(program.graph_module)
                data = _lowered(program)
        except ExportError:
            raise
        except Exception as err:
            raise ExportError(
                f"export.executorch: the model must be expressible in ExecuTorch at batch 1; got {culprit(err, module)}. "
                "Replace it in the model's forward, or use kind: onnx."
            ) from err
        atomic.write_bytes(out / "student.pte", data)
        return self.load(out / "student.pte")


def _integers(module: nn.Module, quant: QuantSpec, example_BX: Any) -> nn.Module:
    from torch import nn

    from potstill.quant.decomposed import decomposed

    before, model, read = split(module, example_BX)
    return nn.Sequential(before, decomposed(model, quant, read, codes=True)).eval()


def _set_apart(graph_module: Any) -> None:
    """Bring the graph to what XNNPACK's partitioner takes: each reader of codes widens them itself, or parts of the graph would need one
    another; and what is joined has the codes of the whole, which is what joining rounds it to anyhow."""
    import torch

    ours: Any = torch.ops.quantized_decomposed
    round_, widens = ours.quantize_per_tensor.default, ours.dequantize_per_tensor.default
    graph = graph_module.graph
    for cat in [n for n in graph.nodes if n.target is torch.ops.aten.cat.default]:
        codes: Any = next((user.args[1:] for user in cat.users if user.target is round_), None)
        for part in cat.args[0] if codes is not None else ():
            if part.target is widens and part.args[1:] != codes:
                with graph.inserting_before(cat):
                    rounded = graph.call_function(round_, (part, *codes))
                    cat.replace_input_with(part, graph.call_function(widens, (rounded, *codes)))
    for wide in [n for n in graph.nodes if n.target is widens]:
        for user in list(wide.users)[1:]:
            with graph.inserting_before(user):
                user.replace_input_with(wide, graph.node_copy(wide))
    graph_module.recompile()


def _lowered(program: Any) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods={MARK: 1})
    data: bytes = edge.to_executorch().buffer
    return data
