"""A .tflite file as a graph of costs, read by the offsets of its FlatBuffer; nothing in it is run.

Fields are named by their place in the schema of TensorFlow Lite (schema.fbs, version 3); only what costs need is read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

from potstill.core.errors import DeviceError
from potstill.core.flatbuffer import Table, root
from potstill.devices.graph import Graph, Op, Tensor

_MODEL_CODES, _MODEL_GRAPHS, _MODEL_BUFFERS = 1, 2, 4
_CODE_OLD, _CODE_NEW = 0, 3
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPS = 0, 1, 2, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER = 0, 1, 2
_OP_CODE, _OP_INPUTS, _OP_OUTPUTS = 0, 1, 2
_ITEMSIZES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 9: 1, 10: 8, 17: 0.5}
"""Type of a tensor -> bytes of an element."""
_INT64 = 4
_KINDS = {0: "Add", 1: "AveragePool", 2: "Concat", 3: "Conv", 4: "Depthwise", 9: "Gemm", 14: "Sigmoid", 17: "MaxPool", 18: "Mul",
          19: "Relu", 21: "Clip", 22: "Reshape", 25: "Softmax", 28: "Tanh", 34: "Pad", 40: "ReduceMean", 41: "Sub", 43: "Squeeze",
          67: "ConvTranspose", 117: "HardSwish", 126: "MatMul"}  # fmt: skip
"""Builtin operators by what they are in ONNX; others cost no MACs, save _UNCOUNTED."""
_UNCOUNTED = {
    16: "LSTM",
    15: "LSH_PROJECTION",
    27: "SVDF",
    24: "RNN",
    35: "RNN",
    44: "LSTM",
    46: "RNN",
    52: "LSTM",
    118: "IF",
    119: "WHILE",
}
_CUSTOM = 32


def read_tflite(data: bytes, where: str, dims: dict[str, int]) -> Graph:
    """Return the graph of a model file; raises DeviceError where it is no such file, is damaged, or has what cannot be counted."""
    if data[4:8] != b"TFL3":
        raise DeviceError(f"{where}: must be a .tflite file; got no mark TFL3 at its fifth byte.")
    try:
        return _graph(data, where)
    except (struct.error, IndexError, ValueError, OverflowError, TypeError) as err:
        if isinstance(err, DeviceError):
            raise
        raise DeviceError(
            f"{where}: must be a whole .tflite file; got an offset or a size that leads nowhere ({err})."
        ) from err


def _graph(data: bytes, where: str) -> Graph:
    model = root(data)
    codes = [max(c.number(_CODE_OLD, "b"), c.number(_CODE_NEW, "i")) for c in model.tables(_MODEL_CODES)]
    held = [b.length(0) > 0 for b in model.tables(_MODEL_BUFFERS)]
    graphs = list(model.tables(_MODEL_GRAPHS))
    if len(graphs) != 1:
        raise DeviceError(f"{where}: must have one graph; got {len(graphs)}.")
    graph = graphs[0]
    tensors = list(graph.tables(_GRAPH_TENSORS))
    shapes = [tuple(abs(s) for s in t.numbers(_TENSOR_SHAPE)) for t in tensors]
    types = [t.number(_TENSOR_TYPE, "b") for t in tensors]
    constant = {i for i, t in enumerate(tensors) if held[t.number(_TENSOR_BUFFER, "I")]}
    ops = tuple(_ops(graph, codes, shapes, constant, where))
    live = {n for op in ops for n in (*op.reads, *op.gives)} | {str(i) for i in graph.numbers(_GRAPH_INPUTS)}
    sizes = {n: Tensor(math.prod(shapes[int(n)]), _ITEMSIZES.get(types[int(n)], 4)) for n in live}
    names = tuple(tuple(map(str, graph.numbers(f))) for f in (_GRAPH_INPUTS, _GRAPH_OUTPUTS))
    return Graph(ops, names[0], names[1], sizes, *_weighed(graph, shapes, types, constant, codes))


def _ops(graph: Table, codes: list[int], shapes: list[tuple[int, ...]], constant: set[int], where: str) -> Iterator[Op]:
    for op in graph.tables(_GRAPH_OPS):
        code, reads, gives = codes[op.number(_OP_CODE, "I")], op.numbers(_OP_INPUTS), op.numbers(_OP_OUTPUTS)
        if code in _UNCOUNTED or code == _CUSTOM:
            raise DeviceError(
                f"{where}: must be a model whose operators can be counted; got {_UNCOUNTED.get(code, 'a custom one')}."
            )
        kind = _KINDS.get(code, f"builtin {code}")
        macs, macs_class = _macs(
            kind, [shapes[i] for i in reads if i >= 0], shapes[gives[0]], len(reads) > 1 and reads[1] in constant
        )
        live = tuple(str(i) for i in reads if i >= 0 and i not in constant)
        yield Op("Conv" if kind == "Depthwise" else kind, live, tuple(map(str, gives)), macs, macs_class)


def _macs(kind: str, reads: list[tuple[int, ...]], made: tuple[int, ...], weighted: bool) -> tuple[int, str]:
    size = math.prod(made)
    if kind == "Conv":
        _, high, wide, channels = reads[1]
        return size * high * wide * channels, "pw" if high == wide == 1 else "conv"
    if kind == "Depthwise":
        _, high, wide, _ = reads[1]
        return size * high * wide, "dw" if reads[0][-1] > 1 else "conv"
    if kind == "Gemm":
        return size * reads[1][-1], "fc"
    if kind == "MatMul":
        return size * reads[0][-1], "fc" if weighted else "attention"
    if kind == "ConvTranspose":
        out, high, wide, _ = reads[1]
        return math.prod(reads[2]) * high * wide * out, "conv"
    return 0, ""


def _weighed(
    graph: Table, shapes: list[tuple[int, ...]], types: list[int], constant: set[int], codes: list[int]
) -> tuple[int, int, int, str]:
    """Return (params, those of vectors, bytes, dtype) of weights: constants of operators with MACs, and any of two dimensions or more."""
    used: dict[int, None] = {}
    for op in graph.tables(_GRAPH_OPS):
        heavy = _KINDS.get(codes[op.number(_OP_CODE, "I")]) in ("Conv", "Depthwise", "Gemm", "MatMul", "ConvTranspose")
        for i in op.numbers(_OP_INPUTS):
            if i in constant and types[i] != _INT64 and (heavy or sum(d > 1 for d in shapes[i]) > 1):
                used[i] = None
    params = {i: math.prod(shapes[i]) for i in used}
    vectors = sum(n for i, n in params.items() if sum(d > 1 for d in shapes[i]) <= 1)
    size = sum(n * _ITEMSIZES.get(types[i], 4) for i, n in params.items())
    most: Any = max(params, key=lambda i: params[i], default=None)
    width = 4 if most is None else _ITEMSIZES.get(types[most], 4)
    return sum(params.values()), vectors, int(size), "int8" if width <= 1 else "float16" if width == 2 else "float32"
