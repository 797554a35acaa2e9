"""From the bytes of a .tflite file to a Model; nothing in it is run. Fields are those of TensorFlow Lite's schema, version 3."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from potstill.core.errors import ExportError
from potstill.core.flatbuffer import Table, root
from potstill.mcu.model import Model, Op, Tensor

TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
KINDS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE", 7: "EMBEDDING_LOOKUP",
    9: "FULLY_CONNECTED", 14: "LOGISTIC", 16: "LSTM", 17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 20: "RELU_N1_TO_1", 21: "RELU6",
    22: "RESHAPE", 23: "RESIZE_BILINEAR", 25: "SOFTMAX", 28: "TANH", 34: "PAD", 36: "GATHER", 39: "TRANSPOSE", 40: "MEAN", 41: "SUB",
    42: "DIV", 43: "SQUEEZE", 44: "UNIDIRECTIONAL_SEQUENCE_LSTM", 45: "STRIDED_SLICE", 47: "EXP", 49: "SPLIT", 53: "CAST", 54: "PRELU",
    55: "MAXIMUM", 56: "ARG_MAX", 57: "MINIMUM", 58: "LESS", 59: "NEG", 60: "PADV2", 61: "GREATER", 62: "GREATER_EQUAL", 63: "LESS_EQUAL",
    64: "SELECT", 65: "SLICE", 67: "TRANSPOSE_CONV", 70: "EXPAND_DIMS", 71: "EQUAL", 72: "NOT_EQUAL", 73: "LOG", 74: "SUM", 75: "SQRT",
    76: "RSQRT", 78: "POW", 82: "REDUCE_MAX", 83: "PACK", 84: "LOGICAL_OR", 86: "LOGICAL_AND", 87: "LOGICAL_NOT", 88: "UNPACK",
    89: "REDUCE_MIN", 92: "SQUARE", 94: "FILL", 97: "RESIZE_NEAREST_NEIGHBOR", 98: "LEAKY_RELU", 99: "SQUARED_DIFFERENCE",
    100: "MIRROR_PAD", 101: "ABS", 102: "SPLIT_V", 111: "ELU", 114: "QUANTIZE", 117: "HARD_SWISH", 118: "IF", 119: "WHILE",
    123: "SELECT_V2", 126: "BATCH_MATMUL", 128: "CUMSUM", 130: "BROADCAST_TO", 150: "GELU",
}  # fmt: skip
"""Builtin operators by number."""
_CUSTOM = 32
_OPTIONS: dict[str, dict[str, tuple[int, str, float]]] = {
    "CONV_2D": {"padding": (0, "b", 0), "stride_w": (1, "i", 1), "stride_h": (2, "i", 1), "activation": (3, "b", 0),
                "dilation_w": (4, "i", 1), "dilation_h": (5, "i", 1)},
    "DEPTHWISE_CONV_2D": {"padding": (0, "b", 0), "stride_w": (1, "i", 1), "stride_h": (2, "i", 1), "activation": (4, "b", 0),
                          "dilation_w": (5, "i", 1), "dilation_h": (6, "i", 1)},
    "AVERAGE_POOL_2D": {"padding": (0, "b", 0), "stride_w": (1, "i", 1), "stride_h": (2, "i", 1), "filter_w": (3, "i", 1),
                        "filter_h": (4, "i", 1), "activation": (5, "b", 0)},
    "FULLY_CONNECTED": {"activation": (0, "b", 0), "format": (1, "b", 0)},
    "SOFTMAX": {"beta": (0, "f", 0)},
    "CONCATENATION": {"axis": (0, "i", 0), "activation": (1, "b", 0)},
    "ADD": {"activation": (0, "b", 0)},
    "MEAN": {"keep": (0, "b", 0)},
    "STRIDED_SLICE": {"begin_mask": (0, "i", 0), "end_mask": (1, "i", 0), "ellipsis_mask": (2, "i", 0), "new_axis_mask": (3, "i", 0),
                      "shrink_axis_mask": (4, "i", 0)},
    "RESIZE_NEAREST_NEIGHBOR": {"align_corners": (0, "b", 0), "half_pixel_centers": (1, "b", 0)},
    "LEAKY_RELU": {"alpha": (0, "f", 0)},
}  # fmt: skip
"""Operator -> its settings: field, type as in struct, value where the file is silent."""
_OPTIONS |= {"MAX_POOL_2D": _OPTIONS["AVERAGE_POOL_2D"], **dict.fromkeys(("SUB", "MUL", "DIV"), _OPTIONS["ADD"])}
_MAX_BYTES = 64 << 20


def read_model(path: Path) -> Model:
    """Return the graph of a file.

    Raises:
        ExportError: it is no .tflite file, is damaged, or has what no operator of one graph has.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= _MAX_BYTES else b""
    except OSError as err:
        raise ExportError(f"{path}: must be a .tflite file that can be read; got {err.strerror}.") from err
    if data[4:8] != b"TFL3":
        raise ExportError(
            f"{path}: must be a .tflite file of at most {_MAX_BYTES} bytes; got {size} bytes without the mark TFL3."
        )
    return parse(data, path.name)


def parse(data: bytes, name: str) -> Model:
    """Return the graph of a file's bytes; raises ExportError as `read_model`."""
    try:
        return _model(root(data), name)
    except (struct.error, IndexError, ValueError, OverflowError, TypeError, KeyError) as err:
        raise ExportError(
            f"{name}: must be a whole .tflite file; got an offset, type or size that leads nowhere ({err})."
        ) from err


def _model(model: Table, name: str) -> Model:
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    buffers = list(model.tables(4))
    graphs = list(model.tables(2))
    if len(graphs) != 1:
        raise ExportError(f"{name}: must have one graph; got {len(graphs)}. Control flow is not expressed in C.")
    graph = graphs[0]
    tensors = tuple(_tensor(table, buffers) for table in graph.tables(0))
    ops = tuple(_op(i, table, codes) for i, table in enumerate(graph.tables(3)))
    inputs, outputs = tuple(graph.numbers(1)), tuple(graph.numbers(2))
    known = {i for i, t in enumerate(tensors) if t.data is not None} | set(inputs) | {-1}
    for op in ops:
        if not set(op.inputs) <= known or not op.outputs:
            raise ExportError(
                f"{name} operator {op.index} ({op.kind}): must read what is made before it; got tensors {op.inputs}."
            )
        known |= set(op.outputs)
    if not inputs or not outputs or not set(outputs) <= known or max(known) >= len(tensors):
        raise ExportError(f"{name}: must have inputs and outputs that are computed; got {inputs} and {outputs}.")
    return Model(name, tensors, ops, inputs, outputs)


def _tensor(table: Table, buffers: list[Table]) -> Tensor:
    shape = tuple(table.numbers(0))
    if any(d <= 0 for d in shape) or math.prod(shape) > _MAX_BYTES:
        raise ValueError(f"tensor {table.text(3)!r} of shape {shape}")
    dtype = TYPES.get(table.number(1, "b"), "")
    raw = buffers[table.number(2, "I")].array(0, "u1") if dtype else np.zeros(0, "u1")
    data = None
    if len(raw):
        data = np.frombuffer(raw.tobytes(), np.dtype(dtype).newbyteorder("<")).reshape(shape)
    quant = table.table(4)
    if quant is None or not quant.length(2):
        return Tensor(table.text(3), shape, dtype or f"type {table.number(1, 'b')}", data=data)
    scales, zeros, axis = quant.array(2, "<f4"), quant.array(3, "<i8"), quant.number(6, "i")
    if not np.isfinite(scales).all() or (scales < 0).any():
        raise ValueError(f"scales of tensor {table.text(3)!r}")
    zeros = zeros if len(zeros) else np.zeros(len(scales), np.int64)
    return Tensor(table.text(3), shape, dtype, scales, zeros, axis, data)


def _op(index: int, table: Table, codes: list[int]) -> Op:
    code = codes[table.number(0, "I")]
    kind = "CUSTOM" if code == _CUSTOM else KINDS.get(code, f"BUILTIN_{code}")
    said = table.table(4)
    options: dict[str, float] = {}
    for name, (field, letter, default) in _OPTIONS.get(kind, {}).items():
        # A field at its default is not stored, so 0 stands for it.
        found = 0.0 if said is None else said.real(field) if letter == "f" else said.number(field, letter)
        options[name] = found or default
    return Op(index, kind, tuple(table.numbers(1)), tuple(table.numbers(2)), options)
