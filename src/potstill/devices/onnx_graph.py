"""An ONNX file as a graph of costs: shapes are inferred for one sample, nothing is run and no file beside it is opened."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.core.errors import DeviceError
from potstill.devices.graph import Graph, Op, Tensor

_CONTROL = frozenset({"If", "Loop", "Scan"})
_UNCOUNTED = frozenset({"Attention", "DeformConv", "MultiHeadAttention", "GroupQueryAttention", "RoiAlign", "QGemm"})
_SHAPES = frozenset({"Shape", "Size", "ConstantOfShape"})
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Operator -> place of its weights."""
_PRODUCTS = {"Gemm": (0, 1), "MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}
"""Operator -> places of its two factors."""
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_SCALES = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class _Known:
    """What inference says of every tensor."""

    shapes: Mapping[str, tuple[int, ...]]
    itemsizes: Mapping[str, float]
    where: str

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a shape; raises DeviceError where it is not known."""
        found = self.shapes.get(name)
        if found is None:
            raise DeviceError(
                f"{self.where}: every shape must follow from the inputs; got none for {name!r}. Export the model with fixed sizes."
            )
        return found


def read_onnx(data: bytes, where: str, dims: dict[str, int]) -> Graph:
    """Return the graph of a model file.

    Args:
        data: its bytes.
        where: its name, for errors.
        dims: sizes of open dimensions by name.

    Raises:
        DeviceError: it is no ONNX model, has control flow, or a size does not follow from the inputs.
    """
    model = _loaded(data, where)
    _fix_inputs(model, where, dims)
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    bad = sorted({n.op_type for n in nodes} & (_CONTROL | _UNCOUNTED))
    if bad:
        raise DeviceError(f"{where}: must be a model whose operators can be counted; got {', '.join(bad)}.")
    weights = {t.name: t for t in _constants(model)}
    known = _inferred(model, weights, where)
    inputs = tuple(i.name for i in model.graph.input if i.name not in weights)
    ops = tuple(_ops(nodes, inputs, known))
    tensors = {n: Tensor(math.prod(known.shape(n)), known.itemsizes.get(n, 4)) for n in inputs}
    for op in ops:
        tensors.update({n: Tensor(math.prod(known.shape(n)), known.itemsizes.get(n, 4)) for n in op.gives})
    return Graph(ops, inputs, tuple(o.name for o in model.graph.output), tensors, *_weighed(nodes, weights))


def _loaded(data: bytes, where: str) -> Any:
    import onnx
    import onnx.inliner

    try:
        model = onnx.load_model_from_string(data)
        if not model.graph.node:
            raise ValueError("no operators")
        return onnx.inliner.inline_local_functions(model) if model.functions else model
    except Exception as err:  # protobuf's own, or of the inliner
        said = (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
        raise DeviceError(f"{where}: must be an ONNX model; got {said}.") from err


def _fix_inputs(model: Any, where: str, dims: dict[str, int]) -> None:
    """Write sizes into the inputs: 1 for the first dimension of each if it is open, `dims` for others."""
    named, open_dims = {t.name for t in model.graph.initializer}, []
    batch = ""
    for entry in model.graph.input:
        if entry.name in named:
            continue
        for place, dim in enumerate(entry.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            name = dim.dim_param
            if name in dims:
                dim.dim_value = dims[name]
            elif place == 0 or (name and name == batch):
                batch, dim.dim_value = name or batch, 1
            else:
                open_dims.append(f"{entry.name}[{place}]={name or '?'}")
    if open_dims:
        raise DeviceError(
            f"{where}: every size but the batch must be known; got open {', '.join(open_dims)}. Give them: --dim NAME=N"
        )


def _constants(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    attribute.t.name = node.output[0]
                    yield attribute.t


def _inferred(model: Any, weights: Mapping[str, Any], where: str) -> _Known:
    import onnx

    del model.graph.value_info[:]
    for out in model.graph.output:
        out.type.tensor_type.ClearField("shape")
    try:
        found = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as err:  # its errors share no class
        said = (str(err).strip().splitlines() or ["it"])[0][:200]
        raise DeviceError(f"{where}: its shapes must follow from its inputs; got {said}.") from err
    shapes = {name: tuple(t.dims) for name, t in weights.items()}
    sizes = {name: _itemsize(t.data_type) for name, t in weights.items()}
    for value in (*found.graph.input, *found.graph.value_info, *found.graph.output):
        tensor = value.type.tensor_type
        sizes[value.name] = _itemsize(tensor.elem_type)
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
    return _Known(shapes, sizes, where)


def _itemsize(data_type: int) -> float:
    import onnx

    if data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return 0.5
    try:
        return float(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)
    except (KeyError, TypeError):
        return 4.0


def _ops(nodes: Sequence[Any], inputs: Sequence[str], known: _Known) -> Iterator[Op]:
    """Yield what depends on the values of the inputs, not on their shapes alone."""
    live = set(inputs)
    for node in nodes:
        reads = tuple(n for n in node.input if n in live)
        if not reads or node.op_type in _SHAPES:
            continue
        gives = tuple(n for n in node.output if n)
        live.update(gives)
        macs, kind = _macs(node, live, known)
        gives = (
            tuple(n for n in gives if n in known.shapes) or gives
        )  # of outputs that nobody reads no shape is inferred
        yield Op(node.op_type, reads, gives, macs, kind)


def _macs(node: Any, live: set[str], known: _Known) -> tuple[int, str]:
    kind = node.op_type
    if kind in _CONVOLUTIONS:
        return _convolution(node, known)
    if kind in _PRODUCTS:
        left, right = (node.input[i] for i in _PRODUCTS[kind])
        a = known.shape(left)
        first = _attribute(node, "transA", 0) if kind == "Gemm" else 0
        inner = a[-2] if first and len(a) > 1 else a[-1]
        return math.prod(known.shape(node.output[0])) * inner, "attention" if {left, right} <= live else "fc"
    if kind in _RECURRENT:
        steps, batch = known.shape(node.input[0])[:2]
        return steps * batch * sum(math.prod(known.shape(n)) for n in node.input[1:3]), "recurrent"
    if kind == "Einsum":
        return _einsum(node, live, known)
    return 0, ""


def _convolution(node: Any, known: _Known) -> tuple[int, str]:
    weights = known.shape(node.input[_CONVOLUTIONS[node.op_type]])
    groups = _attribute(node, "group", 1)
    read, made = known.shape(node.input[0]), known.shape(node.output[0])
    if node.op_type == "ConvTranspose":
        return math.prod(read) * math.prod(weights[1:]), "conv"
    kernel = math.prod(weights[2:])
    depthwise = groups == read[1] and groups > 1
    kind = "dw" if depthwise else "pw" if kernel == 1 else "conv"
    return math.prod(made) * math.prod(weights[1:]), kind


def _einsum(node: Any, live: set[str], known: _Known) -> tuple[int, str]:
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    letters = equation.split("->")[0].split(",")
    if "." in equation or len(letters) != 2:
        raise DeviceError(
            f"{known.where}: Einsum must be a product of two tensors that can be counted; got {equation!r}."
        )
    sizes = {
        c: s
        for word, name in zip(letters, node.input, strict=True)
        for c, s in zip(word, known.shape(name), strict=True)
    }
    return math.prod(sizes.values()), "attention" if set(node.input) <= live else "fc"


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _weighed(nodes: Sequence[Any], weights: Mapping[str, Any]) -> tuple[int, int, int, str]:
    """Return (params, those of vectors, bytes, dtype) of weights; shapes, scales and lone numbers are none."""
    import onnx

    whole = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING}
    used = {n for node in nodes for i, n in enumerate(node.input) if i == 0 or node.op_type not in _SCALES}
    found = [t for name, t in weights.items() if name in used and t.data_type not in whole and math.prod(t.dims) > 1]
    params = sum(math.prod(t.dims) for t in found)
    vectors = sum(math.prod(t.dims) for t in found if sum(d > 1 for d in t.dims) <= 1)
    size = sum(math.prod(t.dims) * _itemsize(t.data_type) for t in found)
    widths: dict[float, int] = {}
    for tensor in found:
        if sum(d > 1 for d in tensor.dims) > 1:
            widths[_itemsize(tensor.data_type)] = widths.get(_itemsize(tensor.data_type), 0) + math.prod(tensor.dims)
    width = max(widths, key=lambda w: widths[w]) if widths else 4
    return params, vectors, int(size), "int8" if width <= 1 else "float16" if width == 2 else "float32"
