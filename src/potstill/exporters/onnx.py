"""ONNX with a dynamic batch. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field

from potstill.core import atomic
from potstill.core.errors import ExportError
from potstill.core.onnx_writer import CARD, card_of, opened
from potstill.core.writing import Writing
from potstill.exporters._base import Artifact, ExporterSpec, Part, registry
from potstill.exporters._told import culprit, quiet

if TYPE_CHECKING:
    from torch import nn

    from potstill.quant.spec import QuantSpec

_PAGE = 4096


@registry.register
class OnnxSpec(ExporterSpec):
    """ONNX with a dynamic batch, input "inputs" (pixels in [0, 1]), output "outputs" (logits); one file. A translator is two, one that
    reads and one that writes a token, with what both hold in a third (`core.onnx_writer` says how they are run)."""

    suffix: ClassVar[str] = ".onnx"
    runtime: ClassVar[str] = "potstill.core.onnx_writer"
    runs_in: ClassVar[tuple[str, ...]] = ("onnxruntime", "X-CUBE-AI", "OpenVINO", "OpenCV DNN", "TensorRT")
    kind: Literal["onnx"] = "onnx"
    tolerance: float = Field(default=1e-4, gt=0)
    """Largest difference of a logit from the module's, absolute plus relative to the largest logit."""
    opset: int = Field(default=18, ge=18, le=23)
    """ONNX operator set."""

    def export(
        self, module: nn.Module, example_BX: NDArray[Any], out: Path, quant: QuantSpec | None = None
    ) -> Artifact:
        import torch

        example = torch.from_numpy(example_BX[:2].copy())
        batch = ({0: torch.export.Dim("batch", min=1)},)
        proto = self._proto(module, (example,), ["inputs"], ["outputs"], batch, quant)
        _check_signature(proto)
        _finish(proto, {}, quant)
        atomic.write_bytes(out / "student.onnx", proto.SerializeToString(deterministic=True))
        return self.load(out / "student.onnx")

    def export_parts(self, parts: Sequence[Part], writing: Writing, out: Path) -> Artifact:
        import torch

        paths = [out / f"student{part.suffix}.onnx" for part in parts]
        protos = []
        for part in parts:
            dims = {n: torch.export.Dim(n, min=low, max=high) for n, (low, high) in part.bounds.items()}
            protos.append(
                self._proto(part.module, part.example, part.inputs, part.outputs, _dimensions(part.open, dims))
            )
        says = {CARD: card_of(writing, paths[1].name if len(paths) > 1 else None)}
        for proto in protos:
            _finish(proto, says if proto is protos[0] else {})
        _share(protos, out / "student.shared.bin")
        for proto, path in zip(protos, paths, strict=True):
            atomic.write_bytes(path, proto.SerializeToString(deterministic=True))
        return self.load(paths[0])

    def _proto(
        self,
        module: nn.Module,
        example: tuple[Any, ...],
        inputs: list[str],
        outputs: list[str],
        dims: Any,
        quant: QuantSpec | None = None,
    ) -> Any:
        """Return the graph, whose `dims` are open. Raises ExportError."""
        import onnxscript  # noqa: F401 - torch's exporter translates through it; imported, its version is in the key
        import torch

        more: dict[str, Any] = {}
        if quant is not None:
            from potstill.exporters import _onnx_integers as integers

            module = integers.whole(module, quant, example[0])
            more = {"custom_translation_table": integers.table(), "optimize": False}
        try:
            with quiet():
                program = torch.onnx.export(
                    module.eval(), example, dynamo=True, opset_version=self.opset, input_names=inputs, output_names=outputs,
                    dynamic_shapes=dims, verbose=False, **more,
                )  # fmt: skip
                if quant is not None and program is not None:
                    integers.optimise(program)
        except Exception as err:
            raise ExportError(
                f"export.onnx: the model must be expressible in ONNX with an open batch; got {culprit(err, module)}. "
                "Replace it in the model's forward."
            ) from err
        assert program is not None
        return program.model_proto

    def load(self, path: Path, threads: int = 1) -> Artifact:
        return opened(path, threads)


def _dimensions(named: Any, dims: Mapping[str, Any]) -> Any:
    """Return the open dimensions of a part with its names replaced by those of torch."""
    if isinstance(named, dict):
        return {number: dims[name] for number, name in named.items()}
    return type(named)(_dimensions(part, dims) for part in named)


def _finish(proto: Any, says: Mapping[str, str], quant: QuantSpec | None = None) -> None:
    """Check a graph, and leave in its metadata whose it is and what it `says`."""
    import onnx

    _strip(proto)
    for key, value in says.items():
        proto.metadata_props.add(key=key, value=value)
    if quant is not None:
        from potstill.exporters import _onnx_integers as integers

        integers.shorten(proto)
    onnx.checker.check_model(proto)


def _share(protos: Sequence[Any], path: Path) -> None:
    """Move what several graphs hold alike, such as an embedding, into one file beside them; no file where that is nothing."""
    from onnx import TensorProto

    held: dict[tuple[Any, ...], list[Any]] = {}
    for proto in protos:
        for tensor in proto.graph.initializer:
            if len(tensor.raw_data) >= _PAGE:
                held.setdefault((tensor.data_type, tuple(tensor.dims), tensor.raw_data), []).append(tensor)
    data = bytearray()
    for (_, _, raw), tensors in held.items():
        if len(tensors) > 1:
            data.extend(bytes(-len(data) % _PAGE))  # a runtime maps it
            for tensor in tensors:
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                for key, value in (("location", path.name), ("offset", len(data)), ("length", len(raw))):
                    tensor.external_data.add(key=key, value=str(value))
            data.extend(raw)
    if data:
        atomic.write_bytes(path, bytes(data))


def _check_signature(proto: Any) -> None:
    """Raise ExportError unless the model has one output, and its batch is open."""
    inputs, outputs = proto.graph.input, proto.graph.output
    if len(outputs) != 1:
        raise ExportError(
            f"export.onnx: the model must have one output; got {len(outputs)}. Wrap it so that forward returns logits only."
        )
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (inputs[0], outputs[0])]
    if len(shapes[1]) < 2 or not isinstance(shapes[0][0], str) or shapes[0][0] != shapes[1][0]:
        raise ExportError(
            f"export.onnx: the model must turn [batch, ...] into [batch, ...]; got {shapes[0]} into {shapes[1]}. A batch "
            "size written into a view or reshape holds for one batch size only. Use x.shape[0] or flatten there."
        )


def _strip(proto: Any) -> None:
    """Leave out stack traces and file names: they say where a model was exported, not what it is."""
    proto.doc_string = ""
    del proto.metadata_props[:]
    meta = proto.metadata_props.add()
    meta.key, meta.value = "potstill", "samples as potstill gives them (pixels in [0, 1]), normalisation inside"
    graphs = [proto.graph, *proto.functions]
    for graph in graphs:  # grows as branches and loop bodies are met
        graph.doc_string = ""
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else attribute.graphs
        for value in (*getattr(graph, "value_info", ()), *getattr(graph, "input", ()), *getattr(graph, "output", ())):
            if hasattr(value, "metadata_props"):
                del value.metadata_props[:]
                value.doc_string = ""
        for tensor in getattr(graph, "initializer", ()):
            del tensor.metadata_props[:]
